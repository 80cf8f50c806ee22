#!lua flags=allow-oom
-- lapse: a lease whose time is over ends, and the handoff goes on.
--
-- keys: @queue handoff
-- args: @call @queue
-- gives: lapsed | postponed | recalled | nothing
--
-- Nobody else ends a lease by the clock: until this step has run, a late completion still counts.
--
-- A holder that could not extend is not to blame. `beat` says when the holder, or everything, came out of a freeze, and
-- when an outage ended (upkeep's heartbeat had a gap): from then on each lease has one whole term. That is this one
-- comparison, made when the lease would lapse; so a thaw touches no lease, and nothing about it can be half done. While
-- the freeze lasts, it ends "now". Without a fresh heartbeat nothing lapses: whether there was an outage is not known.
-- Nor does anything where the gate has lost a word, which upkeep puts back: whether there is a freeze is not known.
--
-- Otherwise than DESIGN says, a freeze does not keep a lease for as long as it lasts, nor does outage upon outage: like an
-- extended one it ends a day after its pick_up, or a dead holder would have the handoff for ever; and nothing is counted.
local h = load(handoff)
-- guard: only a lease that is over lapses
if h.state ~= 'leased' or tonumber(h.lease_ends) > NOW then return answer('nothing') end
local resumed = redis.call('HMGET', beat, '@', '*', h.holder)
-- guard: a fresh heartbeat
if NOW - (resumed[1] or 0) > LIMITS.outage_ms then return answer('nothing') end

local says = redis.call('HMGET', gate, '*', h.holder)
-- guard: the gate knows everything and the holder
if not says[1] or not says[2] then return answer('nothing') end
local standing = standing_in(says[2])
-- guard: a revoked holder's lease is recalled
if standing == 'revoked' then return answer('recalled', {}, freed(h, 'recall', 'the holder is revoked', {})) end
local function past(moment) return tonumber(moment or 0) <= NOW and tonumber(moment or 0) or 0 end -- a clock may go back
local last = math.max(past(resumed[2]), past(resumed[3]))
-- guard: while the holder is frozen, or everything
if standing == 'frozen' or standing_in(says[1]) == 'frozen' then last = NOW end
local lease_ends, longest = last + term_of(here), h.leased_at + LIMITS.lease_ms_max
-- guard: one whole term after a freeze or an outage
if last > tonumber(h.leased_at) and tonumber(h.lease_ends) < lease_ends and NOW < lease_ends then
  -- guard: within the longest lease
  if NOW >= longest then
    return answer('recalled', {}, freed(h, 'recall', 'a freeze or an outage outlasted the longest lease', {}))
  end
  lease_ends = math.min(lease_ends, longest) -- as `extend` has it
  local memory = redis.call('GET', h.pick) or h.id .. ' ' .. h.fence -- it may have ended with the lease's first time
  local entry = move(h, 'postpone', 'leased', { lease_ends = text(lease_ends) }, 'a freeze or an outage')
  redis.call('SET', h.pick, memory, 'PX', memory_ms(lease_ends))
  return answer('postponed', {}, entry)
end

local failures = tonumber(h.failures) + 1
local to = after_lease(h, failures, 'waiting')
local reason = 'the lease ran out'
local change = { failures = text(failures), attempts = with_attempt(h, 'lapse', reason) }
-- guard: dead of a lapse says so
if to == 'dead' then change.reason = reason end
return answer('lapsed', {}, move(h, 'lapse', to, change, reason))
