#!lua flags=no-writes
-- check: read one handoff, for its sender, its last holder, or one who may inspect its queue.
--
-- keys: @queue handoff
-- args: @call @queue may_inspect
-- gives: found … | stale | refused          (…: the whole record)
--
-- A read passes the gate as a change does: a revoked caller must not go on reading. A freeze of everything stops no read.
local stop = stopped_at_gate('reading')
-- guard: check at the gate
if stop then return stop end
local h = load(handoff)
-- guard: its sender, its last holder, or who may inspect the queue
if h.state == 'absent' or (h.sender ~= caller and h.holder ~= caller and may_inspect ~= '1') then
  return refused('handoff_unknown')
end
return answer('found', redis.call('HGETALL', handoff))
