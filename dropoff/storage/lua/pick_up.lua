#!lua flags=allow-oom
-- pick_up: lease the oldest waiting handoff that the caller can read.
--
-- keys: @queue @waiting pick
-- args: @call @queue accepts this_call
-- gives: picked_up … | repeated … | empty | paused | stale | refused          (…: the whole record, and how many wait)
--
-- `accepts` names the schemas that the caller can read, each between spaces; empty, it reads all. Each version waits in a
-- stream of its own, so what it cannot read is not looked at; the oldest of the first ones is the oldest of all.
-- `pick` remembers, as long as the lease goes on, which one this request got and which call was told: its broker or its
-- caller asks again and has it back, whatever queue is asked first this time. Once it is over, the key takes new work.
local stop = stopped_at_gate()
-- guard: pick_up at the gate
if stop then return stop end

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

local settings = redis.call('HMGET', config, 'rev', 'lease_ms', 'state', 'schema')
-- guard: a queue without settings
if not settings[1] then return answer('stale') end
-- guard: a paused queue gives nothing
if settings[3] == 'paused' then return answer('paused') end

sound('zset', pickers)
local h = oldest(settings[4])
-- guard: nothing to pick up
if not h then tidied() return answer('empty') end
local fence = text(math.max((tonumber(h.fence) or 0) + 1, NOW))
local plan = planned(h, 'pick_up', 'leased', { holder = caller, fence = fence, leased_at = text(NOW),
  lease_ends = text(NOW + settings[2]), deliveries = text(h.deliveries + 1), progress = '', picked = ENTRY, pick = pick })
local entry = written(plan)
redis.call('SET', pick, h.id .. ' ' .. fence .. ' ' .. this_call, 'PX', memory_ms(h.lease_ends))
tidied()
return whole('picked_up', h, entry)
