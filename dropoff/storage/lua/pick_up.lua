#!lua flags=allow-oom
-- pick_up: lease the oldest waiting handoff to one agent.
--
-- keys: @queue pick
-- args: @call @queue version
-- gives: picked_up … | repeated … | empty | stale | refused          (…: the whole record, and how many wait)
--
-- `pick` remembers which lease this request got, for as long as the lease goes on: a lost reply asked for again brings
-- the same lease, also where another queue is asked first this time. Once the lease is over the agent has nothing from
-- it, and the same key takes new work.
-- Which handoff it will be is known only here, so its key is made here; it carries this partition's tag.
local stop = stopped_at_gate()
if stop then return stop end

local function keys_of_queue(id) return partition_keys .. 'q:' .. string.match(id, '^(.*)%-') .. ':' end -- ids carry it
local function record_of(id) return keys_of_queue(id) .. 'h:' .. id end
local function whole(word, h, entry)
  local facts = redis.call('HGETALL', h.key)
  facts[#facts + 1] = 'waiting'
  facts[#facts + 1] = text(redis.call('XLEN', keys_of_queue(h.id) .. 'ready:' .. h.version))
  return answer(word, facts, entry)
end

local before = redis.call('GET', pick)
if before then
  local id, fence = string.match(before, '^(.*) (%d+)$')
  local h = load(record_of(id))
  if h.state == 'leased' and h.fence == fence then -- a fence is given once, so this is the lease of then
    return whole('repeated', h, read_entry(h.picked))
  end
end

local settings = redis.call('HMGET', config, 'rev', 'lease_ms')
if not settings[1] then return answer('stale') end

-- Who asks for work is a picker. Written now and then only: an empty queue must not fill the disk.
local seen = redis.call('ZSCORE', pickers, caller)
if not seen or NOW - seen > LIMITS.picker_noted_ms or NOW < tonumber(seen) then
  redis.call('ZADD', pickers, text(NOW), caller)
  redis.call('ZREMRANGEBYSCORE', pickers, '-inf', text(NOW - LIMITS.picker_kept_ms))
end

local stream = ready_of({ version = version })
while true do
  local head = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  if not head then return answer('empty') end
  local h = load(record_of(head[2][2]))
  if h.state == 'waiting' and h.entry == head[1] then
    local fence = text(math.max((tonumber(h.fence) or 0) + 1, NOW))
    local lease_ends = text(NOW + settings[2])
    local entry = move(h, 'pick_up', 'leased', { holder = caller, fence = fence, leased_at = text(NOW),
      lease_ends = lease_ends, deliveries = text(h.deliveries + 1), progress = '', picked = ENTRY, pick = pick })
    redis.call('SET', pick, h.id .. ' ' .. fence, 'PX', settings[2])
    return whole('picked_up', h, entry)
  end
  redis.call('XDEL', stream, head[1]) -- an index entry that its record does not know: the record is the truth
end
