#!lua flags=allow-oom
-- mend: put one handoff back into just the indexes that its record demands.
--
-- keys: @queue handoff versions holds ready
-- args: @call @queue id entry
-- gives: mended what | sound
--
-- The record is the truth, so this is no step of the handoff's life, and no entry of the ledger: it puts back what a lost
-- key took, and takes out what no record knows. `holds` are the leases of the agent where the id was found (else its
-- holder's), `entry` is the entry of the stream `ready` where it was found, if it was.
local h = load(handoff)
h.id = id
for _, index in ipairs({ timers, held, expiries, leases, final, dead, holds }) do sound('zset', index) end
sound('stream', ready)
sound('set', versions)
sound_places(places_of(h))
local mended, demanded = {}, {}
local function note(what) mended[#mended + 1] = what end
for _, place in ipairs(places_of(h)) do demanded[place.name] = place end
h.dropped = redis.call('HGET', handoff, 'dropped') or '0'

for _, name in ipairs({ 'timers', 'held', 'expiries', 'leases', 'final', 'dead' }) do
  local score, wanted = redis.call('ZSCORE', here[name], id), demanded[name]
  -- guard: missing, or with another score
  if wanted and tonumber(score or -1) ~= tonumber(h[SCORE[name]]) then
    enter(h, wanted)
    note(name)
  end
  -- guard: there, and not demanded
  if score and not wanted then
    redis.call('ZREM', here[name], id)
    note(name)
  end
end

-- guard: among the leases of one who does not hold it
if redis.call('ZSCORE', holds, id) and not (demanded.holds and holds == holds_of(h.holder)) then
  redis.call('ZREM', holds, id)
  note('holds')
end
local fence = demanded.holds and tonumber(redis.call('ZSCORE', holds_of(h.holder), id) or -1)
-- guard: not among its holder's leases
if demanded.holds and fence ~= tonumber(h.fence) then
  enter(h, demanded.holds)
  note('holds')
end

-- guard: an entry of the stream that the record does not know
if entry ~= '' and not (demanded.ready and h.entry == entry) and redis.call('XDEL', ready, entry) == 1 then
  note('ready')
end
-- guard: waiting, and its version is not known to wait
if demanded.versions and redis.call('SADD', versions, h.version) == 1 then note('versions') end
-- A stream that began anew may have given the same entry id to another handoff.
local mine = demanded.ready and redis.call('XRANGE', ready_of(h), h.entry, h.entry)[1]
-- guard: waiting, and not in the stream
if demanded.ready and not (mine and mine[2][2] == h.id) then
  enter(h, demanded.ready)
  note('ready')
  redis.pcall('PUBLISH', wake, h.queue .. ' ' .. h.schema)
end
-- guard: nothing was wrong
if #mended == 0 then return answer('sound') end
return answer('mended', { 'what', table.concat(mended, ' ') })
