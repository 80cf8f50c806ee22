#!lua
-- put_schema: register a schema as the next version of its name.
--
-- keys: gate ledger schema schemas
-- args: @call name hash content version
-- gives: written ref | known ref | stale | refused
--
-- `schemas` maps every `name@version` to its hash, and `name` to its latest version. A version never changes; content
-- that the name had before is the version it was then, and is put back if it was lost. `version` is empty but where
-- mending puts back a lost version by the ledger's word: that is no new registration, and no entry.
local stop = stopped_at_gate('operating')
-- guard: put_schema at the gate
if stop then return stop end
local latest = tonumber(redis.call('HGET', schemas, name) or '0')
-- guard: a version that is put back
if version ~= '' then
  local ref = name .. '@' .. version
  -- guard: a version never changes
  if redis.call('HGET', schemas, ref) then return answer('known', { 'ref', ref }) end
  redis.call('HSET', schemas, name, text(math.max(latest, tonumber(version))), ref, hash)
  return answer('written', { 'ref', ref })
end
for number = latest, 1, -1 do
  local ref = name .. '@' .. text(number)
  -- guard: content that the name has already
  if redis.call('HGET', schemas, ref) == hash then
    redis.call('SET', schema, content, 'NX')
    return answer('known', { 'ref', ref })
  end
end
sound('stream', ledger)
local ref = name .. '@' .. text(latest + 1)
local entry = write_entry('put_schema', { 'schema', hash, 'reason', ref })
redis.call('SET', schema, content)
redis.call('HSET', schemas, name, text(latest + 1), ref, hash)
return answer('written', { 'ref', ref }, entry)
