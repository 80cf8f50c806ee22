#!lua
-- drop_off: put one new handoff into its queue, once.
--
-- keys: @queue handoff pickers
-- args: @call @queue id queue config_rev payload salt digest content note delay_ms resubmit_of
-- gives: dropped_off ahead pickers | repeated ahead pickers | stale | refused
--
-- The record itself is the memory of the request: its id is derived from the request key (`dropped_before`).
-- A handoff has a parent where a completion drops it off (`forward`); who else holds what meanwhile is not looked at yet.
local stop = stopped_at_gate()
-- guard: drop_off at the gate
if stop then return stop end

local h = load(handoff)
local before = dropped_before(h, pickers)
-- guard: heard before
if before then return before end

h.queue = queue
local refusal, settings = admitted(h, config_rev)
-- guard: not admitted
if refusal then return refusal end
local pickers_now = standing(h, pickers) -- read before the first write, so that a key of another type is found in time
local plan = dropped(h, settings, { id = id, queue = queue, payload = payload, salt = salt, digest = digest,
  content = content, note = note, delay_ms = delay_ms, parent = '', resubmit_of = resubmit_of })
local entry = written(plan)
announced(plan)
pickers_now[2] = h.state
return answer('dropped_off', pickers_now, entry)
