#!lua flags=no-writes
-- lease: whether the caller holds this lease and until when, or has completed just so.
--
-- keys: @queue handoff
-- args: @call @queue fence request content
-- gives: held until | repeated next | stale | refused
local stop = stopped_at_gate('reading')
-- guard: lease at the gate
if stop then return stop end
local h, refusal = lease()
local before = completed_before(h)
-- guard: completed just so
if before then return before end
-- guard: only the holder hears until when
if refusal then return refusal end
return answer('held', { 'until', h.lease_ends })
