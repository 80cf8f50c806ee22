#!lua flags=allow-oom
-- erase: what ended long ago is forgotten: payload, salt, results, checkpoints and the record that held them.
--
-- keys: @queue handoff
-- args: @call @queue
-- gives: erased | nothing | stale | refused
--
-- The ledger goes on saying what happened, and now that the contents are gone: without its salt a digest tells nothing.
local stop = stopped_at_gate('operating')
-- guard: erase at the gate
if stop then return stop end
local h = load(handoff)
local kept = tonumber(redis.call('HGET', config, 'retention_ms') or LIMITS.retention_ms)
-- guard: only what has ended, and long ago
if h.ended == '' or h.ended + kept > NOW then return answer('nothing') end
sound('stream', ledger)
local places = places_of(h)
sound_places(places)
local entry = write_entry('erased', { 'handoff', h.id, 'queue', h.queue, 'from', h.state, 'n', text(h.n + 1),
  'prev', h.last, 'digest', h.digest })
for _, place in ipairs(places) do leave(h, place) end
redis.call('DEL', h.key)
return answer('erased', {}, entry)
