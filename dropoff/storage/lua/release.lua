#!lua flags=allow-oom
-- release: an operator takes work from a holder that hangs; it counts as nothing.
--
-- keys: @queue handoff
-- args: @call @queue seen_fence reason
-- gives: released | repeated | stale | refused
--
-- Bound to the lease that the operator has seen: who holds it under a newer one is not disturbed.
local stop = stopped_at_gate('operating')
-- guard: release at the gate
if stop then return stop end
local h = load(handoff)
-- guard: no such handoff to release
if h.state == 'absent' then return refused('handoff_unknown') end
local before = redis.call('HMGET', handoff, 'released', 'released_entry')
-- guard: released by the same before
if before[1] == caller .. ' ' .. seen_fence then return answer('repeated', {}, read_entry(before[2], h)) end
-- guard: the lease that was seen
if h.state ~= 'leased' or h.fence ~= seen_fence then
  return refused('handoff_moved', { 'state', h.state, 'was', 'leased' })
end
local change = { released = caller .. ' ' .. seen_fence, released_entry = ENTRY }
return answer('released', {}, freed(h, 'release', reason, change))
