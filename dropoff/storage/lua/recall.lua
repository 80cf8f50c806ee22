#!lua flags=allow-oom
-- recall: a lease ends whose holder cannot go on: it was revoked, or its client left before it had the answer.
--
-- keys: @queue handoff
-- args: @call @queue fence reason unheard
-- gives: recalled | nothing
--
-- Uncounted, and bound to the lease: heard twice, or too late, it finds nothing to do. `unheard`: nobody has been told
-- of the lease; if its pick_up was asked again meanwhile, its picker has it by that answer, and keeps it.
local h = load(handoff)
-- guard: the lease that is recalled
if h.state ~= 'leased' or h.fence ~= fence then return answer('nothing') end
-- guard: its picker was told when it asked again
if unheard ~= '' and string.find(redis.call('GET', h.pick) or '', ' again$') then return answer('nothing') end
return answer('recalled', {}, freed(h, 'recall', reason, {}))
