#!lua flags=allow-oom
-- extend: the holder keeps its lease for another term, and may save how far it has come.
--
-- keys: @queue handoff
-- args: @call @queue fence request content progress checkpoint
-- gives: extended withdrawal_asked | repeated withdrawal_asked | stale | refused
--
-- Heard again it answers what it answered, as long as the lease goes on: an old answer must not say that a lost lease
-- is still held.
local stop = stopped_at_gate()
-- guard: extend at the gate
if stop then return stop end
local h, refusal = lease()
-- guard: only the holder extends
if refusal then return refusal end
-- guard: this extension was heard before
if h.asked == asking() then
  -- guard: and it was the same
  if h.asked_content ~= content then return refused('request_conflict', { 'handoff', h.id }) end
  return answer('repeated', { 'withdrawal_asked', h.withdrawal_asked }, read_entry(h.asked_entry, h))
end

local lease_ends = text(math.min(NOW + term_of(here), h.leased_at + LIMITS.lease_ms_max))
local change = remembered({ lease_ends = lease_ends })
-- guard: progress, if any
if progress ~= '' then change.progress = progress end
-- guard: a checkpoint, if any
if checkpoint ~= '' then change.checkpoint = checkpoint end
local entry = move(h, 'extend', 'leased', change)
-- The pick_up's memory lives as long as its lease; its key is in the record.
redis.call('PEXPIRE', h.pick, memory_ms(lease_ends))
return answer('extended', { 'withdrawal_asked', h.withdrawal_asked }, entry)
