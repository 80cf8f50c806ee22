#!lua flags=allow-oom
-- gate: let this partition know an agent's standing; from now on every step of the agent is judged by it.
--
-- keys: gate ledger
-- args: @call agent agent_rev agent_standing reason
-- gives: changed | known | stale | refused
--
-- The only writer of the gate. It takes only a higher revision, so that two brokers that finish the same half-done
-- change, or one that comes late with an old one, do no harm.
local stop = stopped_at_gate()
if stop then return stop end
local says = redis.call('HGET', gate, agent)
if says and tonumber(string.match(says, '^%d+')) >= tonumber(agent_rev) then return answer('known') end
local entry = write_entry('gate', { 'agent', agent, 'rev', agent_rev, 'standing', agent_standing, 'reason', reason })
redis.call('HSET', gate, agent, agent_rev .. ' ' .. agent_standing)
return answer('changed', {}, entry)
