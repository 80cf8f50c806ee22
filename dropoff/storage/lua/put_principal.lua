#!lua flags=allow-oom
-- put_principal: write an agent's record over the revision it was made from.
--
-- keys: gate ledger record agents bearers changing
-- args: @call agent expected content bearers_now
-- gives: written rev | stale | refused
--
-- `content` is the record without its revision, which is made here: it rises, also where the store comes back older.
-- `bearers_now` are the hashes of its bearers, joined by spaces; the index from hash to agent follows the record.
-- `changing` keeps the revision until every gate knows it: whoever dies in between leaves the rest to upkeep.
local stop = stopped_at_gate('operating')
-- guard: put_principal at the gate
if stop then return stop end
local before = redis.call('HMGET', record, 'rev', 'bearers')
-- guard: made from the record of now
if (before[1] or '0') ~= expected then return answer('stale') end
sound('stream', ledger)
sound('set', agents)
sound('hash', bearers)
sound('hash', changing)
local now = text(math.max((tonumber(before[1]) or 0) + 1, NOW))
local entry = write_entry('put_principal', { 'agent', agent, 'rev', now })
for hash in string.gmatch(before[2] or '', '%S+') do redis.call('HDEL', bearers, hash) end
for hash in string.gmatch(bearers_now, '%S+') do redis.call('HSET', bearers, hash, agent) end
redis.call('HSET', record, 'rev', now, 'content', content, 'bearers', bearers_now)
redis.call('SADD', agents, agent)
redis.call('HSET', changing, agent, now)
return answer('written', { 'rev', now }, entry)
