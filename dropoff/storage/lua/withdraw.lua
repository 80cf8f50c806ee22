#!lua flags=allow-oom
-- withdraw: the sender takes its handoff back; while somebody holds it, the holder is asked.
--
-- keys: @queue handoff
-- args: @call @queue reason may_operate
-- gives: withdrawn | asked | repeated | stale | refused
local stop = stopped_at_gate()
if stop then return stop end
local h = load(handoff)
if h.state == 'absent' or (h.sender ~= caller and may_operate ~= '1') then return refused('handoff_unknown') end
if h.state == 'withdrawn' then return answer('repeated', {}, read_entry(h.last)) end
if h.ended ~= '' then return refused('handoff_settled', { 'state', h.state, 'at', h.ended }) end
if h.state ~= 'leased' then
  return answer('withdrawn', {}, move(h, 'withdraw', 'withdrawn', { reason = reason }, reason))
end
if h.withdrawal_asked ~= '' then return answer('repeated', {}, read_entry(h.withdrawal_asked)) end
return answer('asked', {}, move(h, 'withdraw', 'leased', { withdrawal_asked = ENTRY, reason = reason }, reason))
