#!lua flags=no-writes
-- lease: whether the caller holds this lease, and until when.
--
-- keys: @queue handoff
-- args: @call @queue fence
-- gives: held until | stale | refused
local stop = stopped_at_gate('reading')
-- guard: lease at the gate
if stop then return stop end
local h, refusal = lease()
-- guard: only the holder hears until when
if refusal then return refusal end
return answer('held', { 'until', h.lease_ends })
