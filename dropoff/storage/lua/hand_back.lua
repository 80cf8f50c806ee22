#!lua flags=allow-oom
-- hand_back: the holder ends its lease without a result: release (not for me), retry, or reject (impossible).
--
-- keys: @queue handoff
-- args: @call @queue fence request content verb reason delay_ms checkpoint
-- gives: handed_back attempts_max | repeated attempts_max | stale | refused
--
-- Only a retry counts as a failure. It waits 5 s, 10 s, 20 s … at most 5 min, unless told otherwise. The memory of the
-- call stands with its attempt: it gets its first answer also when another agent has the handoff by now.
local stop = stopped_at_gate()
-- guard: hand_back at the gate
if stop then return stop end
local h, refusal = lease()
for _, attempt in ipairs(attempts_of(h)) do
  -- guard: this hand_back was heard before
  if attempt.agent == caller and attempt.fence == fence and attempt.request == request then
    -- guard: and it said the same
    if attempt.content ~= content then return refused('request_conflict', { 'handoff', h.id }) end
    return answer('repeated', { 'attempts_max', h.attempts_max }, read_entry(attempt.entry, h))
  end
end
-- guard: only the holder hands back
if refusal then return refusal end

local failures = tonumber(h.failures) + (verb == 'retry' and 1 or 0)
local backoff = math.min(LIMITS.retry_ms_base * 2 ^ (failures - 1), LIMITS.retry_ms_max)
local change = { failures = text(failures), attempts = with_attempt(h, verb, reason, true) }
local to, cause = after_lease(h, failures, verb == 'release' and 'waiting' or 'scheduled')
-- guard: impossible is impossible
if verb == 'reject' then to, cause = 'rejected', nil end
-- guard: a retry waits
if to == 'scheduled' then change.due = text(NOW + (delay_ms == '' and backoff or delay_ms)) end
-- guard: an end without a reason says its cause
if to == 'dead' and reason == '' then reason = cause or '' end
-- guard: the reason of an end is kept
if to == 'dead' or to == 'rejected' then change.reason = reason end -- of a withdrawal the sender's own reason stays
-- guard: a checkpoint for the next holder
if checkpoint ~= '' then change.checkpoint = checkpoint end
return answer('handed_back', { 'attempts_max', h.attempts_max }, move(h, verb, to, change, reason))
