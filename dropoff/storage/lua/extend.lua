#!lua flags=allow-oom
-- extend: the holder keeps its lease for another term, and may save how far it has come.
--
-- keys: @queue handoff
-- args: @call @queue fence request content progress checkpoint
-- gives: extended withdrawal_asked | repeated withdrawal_asked | stale | refused
local stop = stopped_at_gate()
if stop then return stop end
local h, refusal = lease()
local again = heard_before(h)
if again then return again end
if refusal then return refusal end

local term = tonumber(redis.call('HGET', config, 'lease_ms'))
local lease_ends = text(math.min(NOW + term, h.leased_at + LIMITS.lease_ms_max))
local change = remembered({ lease_ends = lease_ends })
if progress ~= '' then change.progress = progress end
if checkpoint ~= '' then change.checkpoint = checkpoint end
redis.call('PEXPIRE', h.pick, term) -- the pick_up's memory lives as long as its lease; its key is in the record
local entry = move(h, 'extend', 'leased', change)
return answer('extended', { 'withdrawal_asked', h.withdrawal_asked }, entry)
