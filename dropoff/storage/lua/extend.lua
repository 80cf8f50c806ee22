#!lua flags=allow-oom
-- extend: the holder keeps its lease for another term, and may save how far it has come.
--
-- keys: @queue handoff
-- args: @call @queue fence request content progress checkpoint lease_ms_max
-- gives: extended withdrawal_asked | repeated withdrawal_asked | stale | refused
local stop = stopped_at_gate()
if stop then return stop end
local h, refusal = lease()
local again = heard_before(h)
if again then return again end
if refusal then return refusal end

local term = tonumber(redis.call('HGET', config, 'lease_ms'))
local lease_ends = text(math.min(NOW + term, h.leased_at + lease_ms_max))
local change = remembered({ lease_ends = lease_ends, progress = progress })
if checkpoint ~= '' then change.checkpoint = checkpoint end
local entry = move(h, 'extend', 'leased', change)
return answer('extended', { 'withdrawal_asked', h.withdrawal_asked }, entry)
