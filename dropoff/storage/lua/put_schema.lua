#!lua
-- put_schema: register a schema as the next version of its name.
--
-- keys: gate ledger schema schemas
-- args: @call name hash content
-- gives: written ref | known ref | stale | refused
--
-- `schemas` maps every `name@version` to its hash, and `name` to its latest version. A version never changes; content
-- that the name had before is the version it was then, and is put back if it was lost.
local stop = stopped_at_gate('operating')
-- guard: put_schema at the gate
if stop then return stop end
local latest = tonumber(redis.call('HGET', schemas, name) or '0')
for version = latest, 1, -1 do
  local ref = name .. '@' .. text(version)
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
