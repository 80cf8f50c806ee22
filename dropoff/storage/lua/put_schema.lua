#!lua
-- put_schema: register a schema as the next version of its name.
--
-- keys: gate ledger schema schemas
-- args: @call name hash content
-- gives: written ref | known ref | stale | refused
--
-- `schemas` maps every `name@version` to its hash, and `name` to its latest version. A version never changes; content
-- that the name had before is the version it was then.
local stop = stopped_at_gate()
if stop then return stop end
local latest = tonumber(redis.call('HGET', schemas, name) or '0')
for version = latest, 1, -1 do
  local ref = name .. '@' .. text(version)
  if redis.call('HGET', schemas, ref) == hash then return answer('known', { 'ref', ref }) end
end
local ref = name .. '@' .. text(latest + 1)
local entry = write_entry('put_schema', { 'schema', hash, 'reason', ref })
redis.call('SET', schema, content)
redis.call('HSET', schemas, name, text(latest + 1), ref, hash)
return answer('written', { 'ref', ref }, entry)
