#!lua flags=allow-oom
-- lapse: a lease whose time is over ends, and the handoff goes on.
--
-- keys: @queue handoff
-- args: @call @queue
-- gives: lapsed | nothing
--
-- Nobody else ends a lease by the clock: until this step has run, a late completion still counts.
local h = load(handoff)
if h.state ~= 'leased' or tonumber(h.lease_ends) > NOW then return answer('nothing') end
local failures = tonumber(h.failures) + 1
local to = after_lease(h, failures, 'waiting')
local reason = 'the lease ran out'
local change = { failures = text(failures), attempts = with_attempt(h, 'lapse', reason) }
if to == 'dead' then change.reason = reason end
return answer('lapsed', {}, move(h, 'lapse', to, change, reason))
