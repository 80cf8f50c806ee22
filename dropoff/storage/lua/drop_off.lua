#!lua
-- drop_off: put one new handoff into its queue, once.
--
-- keys: @queue handoff pickers
-- args: @call @queue id queue config_rev payload salt digest content note delay_ms resubmit_of
-- gives: dropped_off ahead pickers | repeated ahead pickers | stale | refused
--
-- The record itself is the memory of the request: its id is derived from the request key. The content tells whether
-- the same work is heard twice or other work came under the same key, which is a mistake that nobody should guess about.
-- What is put back (`resubmit_of`) is put back once, whoever says it: its content names the old one.
-- A handoff has a parent where a completion drops it off (`forward`); who else holds what meanwhile is not looked at yet.
local stop = stopped_at_gate()
-- guard: drop_off at the gate
if stop then return stop end

local function standing(h)
  local ahead = redis.call('XLEN', ready_of(h)) - (h.state == 'waiting' and 1 or 0)
  return { 'state', h.state, 'ahead', text(math.max(ahead, 0)),
    'pickers', text(redis.call('ZCOUNT', pickers, text(NOW - LIMITS.picker_seen_ms), '+inf')) }
end

local h = load(handoff)
-- guard: heard before
if h.state ~= 'absent' then
  local mine = h.sender == caller or resubmit_of ~= ''
  -- guard: the same sender and the same work
  if not mine or h.content ~= content then return refused('request_conflict', { 'handoff', id }) end
  return answer('repeated', standing(h), read_entry(h.first, h))
end

h.queue = queue
local refusal, settings = admitted(h, config_rev)
-- guard: not admitted
if refusal then return refusal end
local pickers_now = standing(h) -- read before the first write, so that a key of another type is found in time
local plan = dropped(h, settings, { id = id, queue = queue, payload = payload, salt = salt, digest = digest,
  content = content, note = note, delay_ms = delay_ms, parent = '', resubmit_of = resubmit_of })
local entry = written(plan)
announced(plan)
pickers_now[2] = h.state
return answer('dropped_off', pickers_now, entry)
