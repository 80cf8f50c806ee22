#!lua flags=allow-oom
-- hand_back: the holder ends its lease without a result: release (not for me), retry, or reject (impossible).
--
-- keys: @queue handoff
-- args: @call @queue fence request content verb reason delay_ms checkpoint
-- gives: handed_back attempts_max | repeated attempts_max | stale | refused
--
-- Only a retry counts as a failure. It waits 5 s, 10 s, 20 s … at most 5 min, unless told otherwise.
local stop = stopped_at_gate()
if stop then return stop end
local h, refusal = lease()
local again = heard_before(h)
if again then return again end
if refusal then return refusal end

local failures = tonumber(h.failures) + (verb == 'retry' and 1 or 0)
local backoff = math.min(LIMITS.retry_ms_base * 2 ^ (failures - 1), LIMITS.retry_ms_max)
local change = remembered({ failures = text(failures), attempts = with_attempt(h, verb, reason) })
local to = 'rejected'
if verb == 'release' then to = after_lease(h, failures, 'waiting') end
if verb == 'retry' then to = after_lease(h, failures, 'scheduled') end
if to == 'scheduled' then change.due = text(NOW + (delay_ms == '' and backoff or delay_ms)) end
if to == 'dead' and reason == '' then reason = 'handed out too often' end
if to == 'dead' or to == 'rejected' then change.reason = reason end -- of a withdrawal the sender's own reason stays
if checkpoint ~= '' then change.checkpoint = checkpoint end
return answer('handed_back', { 'attempts_max', h.attempts_max }, move(h, verb, to, change, reason))
