#!lua flags=allow-oom
-- gate: let this partition know an agent's standing; from now on every step of the agent is judged by it.
--
-- keys: gate ledger beat recalls holds record
-- args: @call agent agent_rev agent_standing reason
-- gives: changed | known | behind | stale | refused
--
-- The only writer of the gate. It takes only a higher revision, so that two brokers that finish the same half-done
-- change, or one that comes late with an old one, do no harm; where the gate has lost its words, the agent's record
-- still tells an old one. The agent '*' is everybody at once.
-- `behind`: the gate's word is above the record's own. Mending has closed the gate for a lost record, and meanwhile
-- somebody made it anew; the record is the truth, and whoever hears this puts it again, above that word.
-- Who is revoked and holds something is noted in `recalls`, where upkeep finds it.
local stop = stopped_at_gate('operating')
-- guard: gate at the gate
if stop then return stop end
local says = redis.call('HGET', gate, agent)
-- guard: not older than the record
if tonumber(redis.call('HGET', record, 'rev') or 0) > tonumber(agent_rev) then return answer('known') end
-- guard: said already
if says == agent_rev .. ' ' .. agent_standing then return answer('known') end
-- guard: only ever a higher revision
if rev_in(says) >= tonumber(agent_rev) then return answer('behind') end
sound('stream', ledger)
sound('hash', beat)
sound('set', recalls)
local holds_some = redis.call('ZCARD', holds) > 0
local was = standing_in(says) -- nil where the gate has lost its words: then it may have been stopped
local entry = write_entry('gate', { 'agent', agent, 'rev', agent_rev, 'standing', agent_standing, 'reason', reason })
redis.call('HSET', gate, agent, agent_rev .. ' ' .. agent_standing)
-- guard: a thaw gives time
if agent_standing == 'active' and was ~= 'active' and (was or holds_some) then redis.call('HSET', beat, agent, text(NOW)) end
redis.call('SREM', recalls, agent) -- who stands again keeps what it takes from now on
-- guard: what a revoked agent holds is recalled
if agent_standing == 'revoked' and holds_some then redis.call('SADD', recalls, agent) end
return answer('changed', {}, entry)
