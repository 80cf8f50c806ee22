#!lua flags=allow-oom
-- recall: a lease ends whose holder cannot go on: it was revoked, or its client left before it had the answer.
--
-- keys: @queue handoff
-- args: @call @queue fence reason
-- gives: recalled | nothing
--
-- Uncounted, and bound to the lease: heard twice, or too late, it finds nothing to do.
local h = load(handoff)
-- guard: the lease that is recalled
if h.state ~= 'leased' or h.fence ~= fence then return answer('nothing') end
return answer('recalled', {}, freed(h, 'recall', reason, {}))
