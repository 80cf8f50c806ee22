-- Words of the steps that change a handoff: its record, its indexes, and `move`, the only place that sets a state.

-- A record can be 256 kB; what steps decide by is a handful of short fields.
local FIELDS = { 'state', 'id', 'queue', 'schema', 'version', 'sender', 'holder', 'fence', 'lease_ends', 'leased_at', 'entry',
  'deliveries', 'failures', 'attempts_max', 'n', 'last', 'digest', 'schema_hash', 'ended', 'due', 'expires',
  'withdrawal_asked', 'attempts', 'content', 'first', 'picked', 'pick', 'asked', 'asked_content', 'asked_entry' }

-- The keys of the queue that the step is about. Each handoff knows those of its own queue, as `place`.
local here = { base = queue_keys, config = config, leases = leases, timers = timers, held = held, expiries = expiries,
  final = final, dead = dead }

local function load(key, place)
  local values, h = redis.call('HMGET', key, unpack(FIELDS)), { key = key, place = place or here }
  for i, field in ipairs(FIELDS) do h[field] = values[i] or '' end
  -- guard: what is not there is absent
  if h.state == '' then h.state = 'absent' end
  return h
end

-- ---- indexes ---------------------------------------------------------------------------------------------------

-- Each state keeps its handoffs in just these indexes of its queue. `ready` is a stream, in order of arrival, one for
-- each schema version; `versions` is the set of those of which something may wait; the others are sorted by a field of
-- the record. `holds` are the leases of one agent, in whatever queue.
local STANDS_IN = { absent = {}, held = { 'held', 'expiries' }, scheduled = { 'timers', 'expiries' },
  waiting = { 'ready', 'versions', 'expiries' }, leased = { 'leases', 'holds' }, dead = { 'dead' } }
local FINAL_STANDS_IN = { 'final' }
local KIND = { ready = 'stream', versions = 'set' } -- all others are sorted
local SCORE = { held = 'dropped', timers = 'due', expiries = 'expires', leases = 'lease_ends', holds = 'fence',
  dead = 'ended', final = 'ended' }

-- Two keys are known only by the record: which stream of the queue (by the schema version the handoff is pinned to),
-- and whose leases (by the holder). Both carry this partition's tag, so they lie on this node.
local function ready_of(h) return stream_of(h.place.base, h.version) end
local function holds_of(agent) return partition_keys .. 'holds:' .. agent end

-- Where the handoff stands by its state: in each index, under its key.
local function places_of(h)
  local found = {}
  for _, name in ipairs(STANDS_IN[h.state] or FINAL_STANDS_IN) do
    local key = h.place[name] or name == 'ready' and ready_of(h) or name == 'versions' and versions_of(h.place.base)
      or holds_of(h.holder)
    -- guard: only what expires stands among the expiries
    if name ~= 'expiries' or h.expires ~= '' then found[#found + 1] = { name = name, key = key, entry = h.entry } end
  end
  return found
end

-- In the stream a handoff has the id of the ledger's entry that made it wait: so the streams of all versions are in one
-- order. Where a stream is ahead of the ledger, for one of the two was lost or mended, it comes last.
local function line_up(h, stream)
  local entry = redis.pcall('XADD', stream, h.last, 'id', h.id)
  -- guard: a stream that is ahead of the ledger
  if type(entry) == 'table' then entry = redis.call('XADD', stream, '*', 'id', h.id) end
  return entry
end
local function enter(h, place)
  -- guard: the stream knows the entry that it made
  if place.name == 'ready' then return redis.call('HSET', h.key, 'entry', line_up(h, place.key)) end
  -- guard: a version of which something waits
  if place.name == 'versions' then return redis.call('SADD', place.key, h.version) end
  redis.call('ZADD', place.key, h[SCORE[place.name]], h.id)
end
local function leave(h, place)
  -- guard: out of the stream
  if place.name == 'ready' then return redis.call('XDEL', place.key, place.entry) end
  -- guard: others of its version may wait
  if place.name == 'versions' then return end
  redis.call('ZREM', place.key, h.id)
end
local function sound_places(places)
  for _, place in ipairs(places) do sound(KIND[place.name] or 'zset', place.key) end
end

-- ---- changes ---------------------------------------------------------------------------------------------------

local function minute_of(place) return place.base .. 'minute:' .. text(math.floor(NOW / 60000)) end

-- Per-minute counters, for rates.
local function count(place, what)
  local minute = minute_of(place)
  -- guard: a minute's counters end
  if redis.call('HINCRBY', minute, what, 1) == 1 then redis.call('PEXPIRE', minute, LIMITS.minute_kept_ms) end
end

-- Stands in a change for the id of the entry that the change writes, which is not known before. A function stands for
-- what it makes of that id.
local ENTRY = {}
local function known(value, entry_id)
  -- guard: what is made of the entry's id
  if type(value) == 'function' then return value(entry_id) end
  return value == ENTRY and entry_id or value
end

-- A change of a handoff, judged and not yet made: by a verb, along an arrow of the table. `change` is what else becomes
-- different in the record (name → text). Whatever could fail, fails in here.
local function planned(h, verb, to, change, reason)
  -- guard: only along an arrow
  if not (TRANSITIONS[h.state][verb] or {})[to] then
    error('no arrow: ' .. h.state .. ' ' .. verb .. ' ' .. to) -- our mistake; nothing is written yet
  end
  local plan = { h = h, verb = verb, from = h.state, left = places_of(h), change = change, reason = reason or '',
    is_final = next(TRANSITIONS[to]) == nil }
  for name, value in pairs(change) do h[name] = value end
  h.state, h.n = to, text((tonumber(h.n) or 0) + 1)
  h.ended = plan.is_final and text(NOW) or ''
  plan.entered = places_of(h)
  sound('stream', ledger)
  sound('hash', minute_of(h.place))
  sound_places(plan.left)
  sound_places(plan.entered)
  return plan
end

-- The entry first, then the record, then its indexes. Returns the entry.
local function written(plan)
  local h, verb, change = plan.h, plan.verb, plan.change
  local entry = write_entry(verb, { 'handoff', h.id, 'queue', h.queue, 'from', plan.from, 'to', h.state, 'n', h.n,
    'prev', h.last, 'fence', h.fence, 'lease_ends', h.state == 'leased' and h.lease_ends or '', 'digest', h.digest,
    'schema', h.schema_hash, 'failures', h.failures, 'reason', plan.reason,
    'parent', change.parent or '', 'resubmit_of', change.resubmit_of or '' })
  h.last = entry[2]

  local fields = { 'state', h.state, 'n', h.n, 'last', h.last, 'ended', h.ended }
  for name, value in pairs(change) do
    h[name] = known(value, h.last)
    fields[#fields + 1] = name
    fields[#fields + 1] = h[name]
  end
  -- guard: a new state is another place
  if plan.from ~= h.state then
    for _, place in ipairs(plan.left) do leave(h, place) end
  end
  redis.call('HSET', h.key, unpack(fields))
  for _, place in ipairs(plan.entered) do enter(h, place) end
  -- guard: what comes in is counted
  if verb == 'drop_off' then count(h.place, 'in') end
  -- guard: what ends is counted
  if plan.is_final then count(h.place, 'out') end
  return entry
end

-- Who waits for work in this queue and can read it, or for this outcome, is woken. Last, and under pcall: a wake that is
-- lost is found within a second, a step that failed here would be half done.
local function announced(plan)
  -- guard: work wakes a picker
  if plan.h.state == 'waiting' then redis.pcall('PUBLISH', wake, plan.h.queue .. ' ' .. plan.h.schema) end
  -- guard: an outcome wakes its waiters
  if plan.is_final then redis.pcall('PUBLISH', wake, plan.h.id) end
end

-- The one way to change a handoff.
local function move(h, verb, to, change, reason)
  local plan = planned(h, verb, to, change, reason)
  local entry = written(plan)
  announced(plan)
  return entry
end

-- ---- new handoffs ----------------------------------------------------------------------------------------------

-- How it stands among the others of its queue, as who drops it off is told.
local function standing(h, pickers)
  local ahead = waiting_in(h.place.base) - (h.state == 'waiting' and 1 or 0)
  return { 'state', h.state, 'ahead', text(math.max(ahead, 0)),
    'pickers', text(redis.call('ZCOUNT', pickers, text(NOW - LIMITS.picker_seen_ms), '+inf')) }
end

-- What to answer to a drop_off whose handoff is there; nil if it is not. The content tells whether the same work is
-- heard twice or other work came under the same key, which is a mistake that nobody should guess about. What is put
-- back (`resubmit_of`) is put back once, whoever says it: its id is made of the old one's, and so is the same work.
local function dropped_before(h, pickers)
  -- guard: no such drop_off before
  if h.state == 'absent' then return nil end
  -- guard: the same sender and the same work
  if resubmit_of == '' and (h.sender ~= caller or h.content ~= content) then
    return refused('request_conflict', { 'handoff', id })
  end
  return answer('repeated', standing(h, pickers), read_entry(h.first, h))
end

-- What the queue's settings say to a new handoff: what to answer instead, or the settings. They must be those that the
-- payload was judged by: another revision is `stale`, and it is judged again.
local function admitted(h, settings_rev)
  local found = redis.call('HMGET', h.place.config, 'rev', 'schema', 'schema_hash', 'version', 'attempts_max',
    'waiting_max', 'state', 'approval', 'expires_ms', 'reason')
  local settings = { rev = found[1], schema = found[2], schema_hash = found[3], version = found[4],
    attempts_max = found[5], waiting_max = found[6], approval = found[8], expires_ms = tonumber(found[9] or '0') }
  -- guard: judged by the settings of now
  if settings.rev ~= settings_rev then return answer('stale') end
  -- guard: a draining queue takes no new work
  if found[7] == 'draining' then return refused('queue_draining', { 'queue', h.queue, 'reason', found[10] or '' }) end
  h.version = settings.version
  local there = waiting_in(h.place.base) + redis.call('ZCARD', h.place.timers) + redis.call('ZCARD', h.place.held)
  -- guard: a full queue takes no new work
  if there >= tonumber(settings.waiting_max) then
    return refused('queue_full', { 'queue', h.queue, 'waiting_max', settings.waiting_max })
  end
  return nil, settings
end

-- The change that makes `h` a new handoff. `new` holds what its sender brought.
local function dropped(h, settings, new)
  h.id, h.queue, h.digest, h.schema_hash = new.id, new.queue, new.digest, settings.schema_hash
  local to = settings.approval == '1' and 'held' or new.delay_ms ~= '0' and 'scheduled' or 'waiting'
  return planned(h, 'drop_off', to, {
    id = new.id, queue = new.queue, sender = caller, dropped = text(NOW), payload = new.payload, salt = new.salt,
    digest = new.digest, content = new.content, note = new.note, schema = settings.schema,
    schema_hash = settings.schema_hash, version = settings.version, attempts_max = settings.attempts_max,
    deliveries = '0', failures = '0', fence = '0', due = text(NOW + new.delay_ms), parent = new.parent,
    resubmit_of = new.resubmit_of, first = ENTRY,
    expires = settings.expires_ms > 0 and text(NOW + settings.expires_ms) or '' })
end

-- ---- leases ----------------------------------------------------------------------------------------------------

-- How long a lease of this queue is. A queue whose settings are lost must not hold its leases for ever.
local function term_of(place) return tonumber(redis.call('HGET', place.config, 'lease_ms') or LIMITS.lease_ms) end

-- By which schema, as its hash, results of this queue are judged now; none: any object is a result. The broker judges by
-- what it remembers, so a completion that was judged by another one is `stale`, and is judged again.
local function result_schema_of(place) return redis.call('HGET', place.config, 'result_schema_hash') or '' end

-- How long the memory of a pick_up lives: until its lease has lapsed, which upkeep sees to a little after its end.
local function memory_ms(lease_ends) return text(math.max(lease_ends - NOW, 0) + LIMITS.outage_ms) end

local function attempts_of(h) return h.attempts == '' and {} or cjson.decode(h.attempts) end

-- When the caller's lease of this handoff ended, how, and by which entry if by a call of its own; nil if it never had
-- it. The last few that ended without a result stay in the attempts, the one with the result in the record itself.
local function ending_of_mine(h)
  for _, attempt in ipairs(attempts_of(h)) do
    -- guard: an attempt of mine
    if attempt.agent == caller and attempt.fence == fence then
      return attempt.at_ms, attempt.request and attempt.entry or nil
    end
  end
  -- guard: the last lease was mine
  if h.holder == caller and h.fence == fence then return h.ended, h.state == 'completed' and h.last or nil end
  return nil
end

-- The record, and what to answer if the caller does not hold it. The authority is: caller = holder, and fence = current.
-- A stranger who borrowed a lease id hears that it is not his; a holder who is too late, what became of the handoff.
local function lease()
  local h = load(handoff)
  -- guard: the holder, under the current fence
  if h.state == 'leased' and h.holder == caller and h.fence == fence then return h, nil end
  local ended, by_mine = ending_of_mine(h)
  -- guard: never the caller's lease
  if not ended then return h, refused('lease_unknown') end
  -- guard: settled by the caller itself
  if h.ended ~= '' and by_mine == h.last then
    return h, refused('already_settled', { 'state', h.state, 'at', h.ended })
  end
  return h, refused('lease_lost', { 'state', h.state, 'fence', h.fence, 'ended', ended, 'by_mine', by_mine and '1' or '',
    'again_by', h.holder == caller and 'you' or 'another', 'now', text(NOW) })
end

-- A call that keeps the lease or completes it leaves its memory in the record: the same call on the same lease, heard
-- again, gets the entry that the first one wrote. Only the last one is kept: who repeats an older one has gone on since.
local function asking() return caller .. ' ' .. fence .. ' ' .. request end
local function remembered(change)
  change.asked, change.asked_content, change.asked_entry = asking(), content, ENTRY
  return change
end

-- What to answer to the holder that completes as it has completed before; nil if it has not.
local function completed_before(h)
  -- guard: no such completion before
  if h.state ~= 'completed' or h.asked ~= asking() or h.asked_content ~= content then return nil end
  return answer('repeated', { 'next', redis.call('HGET', h.key, 'next') or '' }, read_entry(h.asked_entry, h))
end

-- How this lease ended, for the next holder and for a caller that asks again: the last few. `by_call`: the holder's own
-- hand_back, with its request.
local function with_attempt(h, outcome, reason, by_call)
  local attempts = attempts_of(h)
  local attempt = { agent = h.holder, outcome = outcome, reason = reason, fence = h.fence, at_ms = text(NOW),
    request = by_call and request or nil, content = by_call and content or nil }
  attempts[#attempts + 1] = attempt
  while #attempts > LIMITS.attempts_kept do table.remove(attempts, 1) end
  return function(entry_id)
    attempt.entry = entry_id
    return cjson.encode(attempts)
  end
end

-- Where a handoff goes when a lease ends without a result, if not `onward`: withdrawn if that was asked for, dead if
-- it has failed too often, or was handed out too often.
local function after_lease(h, failures, onward)
  -- guard: withdrawn as was asked
  if h.withdrawal_asked ~= '' then return 'withdrawn' end
  local attempts_max = tonumber(h.attempts_max)
  local often = tonumber(h.deliveries) >= LIMITS.deliveries_per_attempt * attempts_max
  -- guard: dead of failures or of deliveries
  if failures >= attempts_max or often then return 'dead', failures < attempts_max and 'handed out too often' or nil end
  return onward
end

-- A lease ends that nobody is to blame for: released by an operator, or recalled. Nothing is counted.
local function freed(h, verb, reason, change)
  local to, cause = after_lease(h, tonumber(h.failures), 'waiting')
  change.attempts = with_attempt(h, verb, reason)
  -- guard: the cause of a death is kept
  if to == 'dead' then change.reason = cause end
  return move(h, verb, to, change, to == 'dead' and cause or reason)
end
