#!lua flags=allow-oom
-- expire: a handoff that nobody has taken in its queue's time ends.
--
-- keys: @queue handoff
-- args: @call @queue
-- gives: expired | nothing
--
-- What is leased does not expire: somebody is working on it. If it comes back, its time may be over.
local h = load(handoff)
-- guard: only what may expire, and has
if not TRANSITIONS[h.state].expire or h.expires == '' or tonumber(h.expires) > NOW then return answer('nothing') end
local reason = 'nobody took it in time'
return answer('expired', {}, move(h, 'expire', 'expired', { reason = reason }, reason))
