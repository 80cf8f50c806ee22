#!lua flags=allow-oom
-- withdraw: the sender takes its handoff back; while somebody holds it, the holder is asked.
--
-- keys: @queue handoff
-- args: @call @queue reason may_operate
-- gives: withdrawn | asked | repeated | stale | refused
local stop = stopped_at_gate(may_operate == '1')
-- guard: withdraw at the gate
if stop then return stop end
local h = load(handoff)
-- guard: its sender, or who may operate the queue
if h.state == 'absent' or (h.sender ~= caller and may_operate ~= '1') then return refused('handoff_unknown') end
-- guard: withdrawn before
if h.state == 'withdrawn' then return answer('repeated', {}, read_entry(h.last, h)) end
-- guard: final is final
if h.ended ~= '' then return refused('handoff_settled', { 'state', h.state, 'at', h.ended }) end
-- guard: nobody holds it
if h.state ~= 'leased' then
  return answer('withdrawn', {}, move(h, 'withdraw', 'withdrawn', { reason = reason }, reason))
end
-- guard: the holder was asked before
if h.withdrawal_asked ~= '' then return answer('repeated', {}, read_entry(h.withdrawal_asked, h)) end
return answer('asked', {}, move(h, 'withdraw', 'leased', { withdrawal_asked = ENTRY, reason = reason }, reason))
