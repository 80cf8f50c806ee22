#!lua
-- count_rejections: add to what payloads for a queue were rejected for, by version and place of the schema.
--
-- keys: config rejected
-- args: @call schema counts request
-- gives: counted | repeated | absent
--
-- `rejected` holds '<schema> <what> <place>' = '<count> <when last>', and '@' = the requests that were heard last, by
-- which a write that is heard again counts nothing; of sixteen brokers each finds its own. What is bounded: the places
-- of one version, and the versions, of which those stay in which something was wrong last.
-- guard: nothing is counted for a queue that is gone
if not redis.call('HGET', config, 'rev') then return answer('absent') end
local heard = redis.call('HGET', rejected, '@') or ''
-- guard: counts that were heard before
if string.find(heard, request, 1, true) then return answer('repeated') end

-- What is there: each field's counts as `known`; of each version its `fields`, and when it was `last` counted. The one
-- that is counted now comes last, whatever the clock says.
local found, known, fields, last = redis.call('HGETALL', rejected), {}, { [schema] = {} }, { [schema] = math.huge }
for i = 1, #found, 2 do
  local field, says = found[i], found[i + 1]
  local of = string.match(field, '^(%S+) ')
  known[field] = says
  -- guard: the requests are of no schema
  if of then
    fields[of] = fields[of] or {}
    fields[of][#fields[of] + 1] = field
    last[of] = math.max(last[of] or 0, tonumber(string.match(says, '%d+$')))
  end
end
local versions = {} -- those counted last first
for of in pairs(last) do versions[#versions + 1] = of end
table.sort(versions, function(a, b) return last[a] > last[b] or last[a] == last[b] and a > b end)

-- What is added to it. 33 is a request and a space.
local changes, places = { '@', string.sub(request .. ' ' .. heard, 1, 16 * 33) }, #fields[schema]
for _, one in ipairs(cjson.decode(counts)) do
  local field = schema .. ' ' .. one[1]
  -- guard: a place beyond those that are counted apart
  if not known[field] and places >= LIMITS.rejected_places then field = schema .. ' more ' end
  places = places + (known[field] and 0 or 1)
  known[field] = text(tonumber(string.match(known[field] or '0', '^%d+')) + one[2]) .. ' ' .. text(NOW)
  changes[#changes + 1] = field
  changes[#changes + 1] = known[field]
end

for place = LIMITS.rejected_schemas + 1, #versions do
  redis.call('HDEL', rejected, unpack(fields[versions[place]]))
end
redis.call('HSET', rejected, unpack(changes))
return answer('counted')
