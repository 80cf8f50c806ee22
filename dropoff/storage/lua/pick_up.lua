#!lua flags=allow-oom
-- pick_up: lease the oldest waiting handoff to one agent.
--
-- keys: @queue pickers pick
-- args: @call @queue version this_call
-- gives: picked_up … | repeated … | empty | paused | stale | refused          (…: the whole record, and how many wait)
--
-- `pick` remembers, as long as the lease goes on, which one this request got and which call was told: its broker or its
-- caller asks again and has it back, whatever queue is asked first this time. Once it is over, the key takes new work.
local stop = stopped_at_gate()
-- guard: pick_up at the gate
if stop then return stop end

local function base_of(id) return partition_keys .. 'q:' .. string.match(id, '^(.*)%-') .. ':' end -- ids carry the queue
local function record_of(id) return load(base_of(id) .. 'h:' .. id) end
local function whole(word, h, entry)
  local facts = redis.call('HGETALL', h.key)
  facts[#facts + 1], facts[#facts + 2] = 'waiting', text(redis.call('XLEN', base_of(h.id) .. 'ready:' .. h.version))
  return answer(word, facts, entry)
end

local before = redis.call('GET', pick)
-- guard: this request has a lease
if before then
  local id, fence, told = string.match(before, '^(%S+) (%d+) ?(%S*)')
  local h = record_of(id)
  -- guard: and the lease goes on
  if h.state == 'leased' and h.fence == fence then -- a fence is given once, so this is the lease of then
    -- guard: this very call, whose answer its broker has lost
    if told == this_call then return whole('picked_up', h, read_entry(h.picked, h)) end
    local repeated = whole('repeated', h, read_entry(h.picked, h))
    redis.call('SET', pick, id .. ' ' .. fence .. ' again', 'KEEPTTL') -- the first answer is not the only one: `recall`
    return repeated
  end
end

local settings = redis.call('HMGET', config, 'rev', 'lease_ms', 'state')
-- guard: a queue without settings
if not settings[1] then return answer('stale') end
-- guard: a paused queue gives nothing
if settings[3] == 'paused' then return answer('paused') end

-- Who asks for work is a picker. Written now and then only: an empty queue must not fill the disk.
local function noted()
  local seen = redis.call('ZSCORE', pickers, caller)
  -- guard: a picker is noted now and then
  if not seen or NOW - seen > LIMITS.picker_noted_ms or NOW < tonumber(seen) then
    redis.call('ZADD', pickers, text(NOW), caller)
    redis.call('ZREMRANGEBYSCORE', pickers, '-inf', text(NOW - LIMITS.picker_kept_ms))
  end
end

-- The oldest that may be given out. What has expired is passed over, and ended by upkeep; what its record does not
-- know is taken out of the stream at the end, for the record is the truth.
local unknown = {}
local function oldest(stream)
  local heads = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)
  for _ = 1, LIMITS.passed_over do
    local head = heads[1]
    -- guard: nothing waits
    if not head then return nil end
    local h = record_of(head[2][2])
    local waits = h.state == 'waiting' and h.entry == head[1]
    -- guard: an index entry that its record does not know
    if not waits then unknown[#unknown + 1] = head[1] end
    -- guard: what has expired is not given out
    if waits and (h.expires == '' or tonumber(h.expires) > NOW) then return h end
    heads = redis.call('XRANGE', stream, '(' .. head[1], '+', 'COUNT', 1)
  end
end

local function tidied(stream)
  for _, entry in ipairs(unknown) do redis.call('XDEL', stream, entry) end
  noted()
end

sound('zset', pickers)
local stream = ready_of({ place = here, version = version })
local h = oldest(stream)
-- guard: nothing to pick up
if not h then tidied(stream) return answer('empty') end
local fence = text(math.max((tonumber(h.fence) or 0) + 1, NOW))
local plan = planned(h, 'pick_up', 'leased', { holder = caller, fence = fence, leased_at = text(NOW),
  lease_ends = text(NOW + settings[2]), deliveries = text(h.deliveries + 1), progress = '', picked = ENTRY, pick = pick })
local entry = written(plan)
redis.call('SET', pick, h.id .. ' ' .. fence .. ' ' .. this_call, 'PX', memory_ms(h.lease_ends))
tidied(stream)
return whole('picked_up', h, entry)
