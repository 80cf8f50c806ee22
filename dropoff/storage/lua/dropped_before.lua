#!lua flags=no-writes
-- dropped_before: what a drop_off is answered if it was heard before; and if not, nothing comes of it.
--
-- keys: @queue handoff pickers
-- args: @call @queue id content resubmit_of may_operate
-- gives: repeated ahead pickers | unheard | stale | refused
--
-- Asked where a new one is refused without its step: for a grant, a contract, or want of room. It writes nothing, so it
-- runs also where the server is at its memory limit.
local stop = stopped_at_gate('reading')
-- guard: dropped_before at the gate
if stop then return stop end
local h = load(handoff)
-- guard: what another has put back is known to operators
if resubmit_of ~= '' and may_operate ~= '1' and h.sender ~= caller then return answer('unheard') end
return dropped_before(h, pickers) or answer('unheard')
