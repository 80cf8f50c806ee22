-- Words of the step that gives work out: what waits in the queue, and who asked for it.

-- Who asks for work is a picker. Written now and then only: an empty queue must not fill the disk.
local function noted()
  local seen = redis.call('ZSCORE', pickers, caller)
  -- guard: a picker is noted now and then
  if not seen or NOW - seen > LIMITS.picker_noted_ms or NOW < tonumber(seen) then
    redis.call('ZADD', pickers, text(NOW), caller)
    redis.call('ZREMRANGEBYSCORE', pickers, '-inf', text(NOW - LIMITS.picker_kept_ms))
  end
end

local function record_of(id) return load(base_of(id) .. 'h:' .. id) end

-- What is found on the way and taken out at the end, when the picker is noted as well: entries that their record does
-- not know, for the record is the truth, and versions of which nothing waits any more, each with its stream.
local unknown, over = {}, {}
local function tidied()
  for _, one in ipairs(unknown) do redis.call('XDEL', one.stream, one.entry) end
  for version, stream in pairs(over) do
    redis.call('SREM', versions, version)
    redis.call('DEL', stream)
  end
  noted()
end

-- The oldest of one version that may be given out. What has expired is passed over, and ended by upkeep.
local function oldest_of(version)
  local stream = stream_of(queue_keys, version)
  local heads = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)
  -- guard: a version of which nothing waits
  if not heads[1] then over[version] = stream end
  for _ = 1, LIMITS.passed_over do
    local head = heads[1]
    -- guard: nothing waits
    if not head then return nil end
    local h = record_of(head[2][2])
    local waits = h.state == 'waiting' and h.entry == head[1]
    -- guard: an index entry that its record does not know
    if not waits then unknown[#unknown + 1] = { stream = stream, entry = head[1] } end
    -- guard: what has expired is not given out
    if waits and (h.expires == '' or tonumber(h.expires) > NOW) then return h end
    heads = redis.call('XRANGE', stream, '(' .. head[1], '+', 'COUNT', 1)
  end
end

-- Whether one entry of a stream came before another of any stream: its id is a time, and a number within that.
local function is_before(entry, other)
  local ms, number = string.match(entry, '(%d+)-(%d+)')
  local other_ms, other_number = string.match(other, '(%d+)-(%d+)')
  -- guard: within one millisecond the number tells
  if ms == other_ms then return tonumber(number) < tonumber(other_number) end
  return tonumber(ms) < tonumber(other_ms)
end

-- The oldest that the caller can read, of a queue with this schema.
local function oldest(schema)
  local name, found = string.match(schema, '^(.*)@'), nil
  for _, version in ipairs(redis.call('SMEMBERS', versions)) do
    local ref = ' ' .. name .. '@' .. version .. ' '
    -- guard: what the caller cannot read is not looked at
    if accepts == '' or string.find(accepts, ref, 1, true) then
      local h = oldest_of(version)
      -- guard: the oldest of all versions
      if h and (not found or is_before(h.entry, found.entry)) then found = h end
    end
  end
  return found
end

-- The answer to a picker: the whole record, and how many wait beside it.
local function whole(word, h, entry)
  local facts = redis.call('HGETALL', h.key)
  facts[#facts + 1], facts[#facts + 2] = 'waiting', text(waiting_in(base_of(h.id)))
  return answer(word, facts, entry)
end
