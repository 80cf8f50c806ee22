#!lua flags=allow-oom
-- due: a scheduled handoff's time has come.
--
-- keys: @queue handoff
-- args: @call @queue
-- gives: waiting | nothing
local h = load(handoff)
-- guard: only what is due
if h.state ~= 'scheduled' or tonumber(h.due) > NOW then return answer('nothing') end
return answer('waiting', {}, move(h, 'due', 'waiting', {}))
