#!lua flags=allow-oom
-- put_principal: write an agent's record over the revision it was made from.
--
-- keys: gate ledger record agents admins bearers changing
-- args: @call partition_keys agent expected content bearers_now governs
-- gives: written rev | stale | refused
--
-- `content` is the record without its revision, which is made here: it rises, also where the store comes back older, and
-- above the gate's word, which is newer where the record was lost.
-- `bearers_now` are the hashes of its bearers, joined by spaces; the index from hash to agent follows the record.
-- `governs` is '1' for an active admin. Only here is it seen at once who else is one: two who end each other's authority
-- at the same moment come one after the other, and the second is refused.
-- `changing` keeps the revision until every gate knows it: whoever dies in between leaves the rest to upkeep.
local stop = stopped_at_gate('operating')
-- guard: put_principal at the gate
if stop then return stop end
local before = redis.call('HMGET', record, 'rev', 'bearers', 'governs')
-- guard: made from the record of now
if (before[1] or '0') ~= expected then return answer('stale') end

-- The records say who governs; `admins` is an index of them, and their keys are known only by it. Where it is lost there
-- is nobody else.
local function another_governs()
  for _, admin in ipairs(redis.call('SMEMBERS', admins)) do
    -- guard: another whose record says so
    if admin ~= agent and redis.call('HGET', partition_keys .. 'agent:' .. admin, 'governs') == '1' then return true end
  end
  return false
end
-- guard: an admin is left
if before[3] == '1' and governs == '' and not another_governs() then
  return refused('last_admin', { 'by', caller, 'agent', agent })
end
sound('stream', ledger)
sound('set', agents)
sound('set', admins)
sound('hash', bearers)
sound('hash', changing)
local now = text(math.max((tonumber(before[1]) or 0) + 1, rev_in(redis.call('HGET', gate, agent)) + 1, NOW))
local entry = write_entry('put_principal', { 'agent', agent, 'rev', now })
for hash in string.gmatch(before[2] or '', '%S+') do redis.call('HDEL', bearers, hash) end
for hash in string.gmatch(bearers_now, '%S+') do redis.call('HSET', bearers, hash, agent) end
redis.call('HSET', record, 'rev', now, 'content', content, 'bearers', bearers_now, 'governs', governs)
redis.call('SADD', agents, agent)
redis.call('SREM', admins, agent)
-- guard: who governs is an admin
if governs == '1' then redis.call('SADD', admins, agent) end
redis.call('HSET', changing, agent, now)
return answer('written', { 'rev', now }, entry)
