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
return refusal or answer('held', { 'until', h.lease_ends })
