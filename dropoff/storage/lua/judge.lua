#!lua flags=allow-oom
-- judge: an operator approves or denies a held handoff, for the payload that it has seen.
--
-- keys: @queue handoff
-- args: @call @queue verb seen_digest reason
-- gives: judged | repeated | stale | refused
--
-- The verb is approve or deny. Who dropped it off cannot approve it, whatever its grants.
local stop = stopped_at_gate('operating')
-- guard: judge at the gate
if stop then return stop end
local h = load(handoff)
-- guard: no such handoff to judge
if h.state == 'absent' then return refused('handoff_unknown') end
-- guard: a different principal
if h.sender == caller then return refused('approval_needs_another') end
-- guard: bound to the payload that was seen
if h.digest ~= seen_digest then return refused('digest_differs', { 'digest', h.digest }) end
local before = redis.call('HMGET', handoff, 'judged', 'judged_entry')
-- guard: judged by the same before
if before[1] == caller .. ' ' .. verb then return answer('repeated', {}, read_entry(before[2], h)) end
-- guard: only what is held is judged
if h.state ~= 'held' then return refused('handoff_moved', { 'state', h.state, 'was', 'held' }) end

local change = { judged = caller .. ' ' .. verb, judged_entry = ENTRY }
local to = tonumber(h.due) > NOW and 'scheduled' or 'waiting'
-- guard: denied is rejected
if verb == 'deny' then to, change.reason = 'rejected', reason end
return answer('judged', {}, move(h, verb, to, change, reason))
