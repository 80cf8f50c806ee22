-- Words of the steps that change a handoff: its record, its indexes, and `move`, the only place that sets a state.

-- A record can be 256 kB; what steps decide by is a handful of short fields.
local FIELDS = { 'state', 'id', 'queue', 'version', 'sender', 'holder', 'fence', 'lease_ends', 'leased_at', 'entry',
  'deliveries', 'failures', 'attempts_max', 'n', 'last', 'digest', 'schema_hash', 'ended', 'due', 'withdrawal_asked',
  'attempts', 'content', 'first', 'picked', 'pick', 'asked', 'asked_content', 'asked_entry' }

local function load(key)
  local values, handoff = redis.call('HMGET', key, unpack(FIELDS)), { key = key }
  for i, field in ipairs(FIELDS) do handoff[field] = values[i] or '' end
  if handoff.state == '' then handoff.state = 'absent' end
  return handoff
end

-- Two keys are known only by the record: which stream of the queue (by the schema version the handoff is pinned to),
-- and whose leases (by the holder). Both carry this partition's tag, so they lie on this node.
local function ready_of(handoff) return queue_keys .. 'ready:' .. handoff.version end
local function holds_of(handoff) return partition_keys .. 'holds:' .. handoff.holder end

-- Each state keeps its handoffs in exactly one index. How to leave it, and how to enter it:
local LEAVE = {
  waiting = function(h) redis.call('XDEL', ready_of(h), h.entry) end,
  scheduled = function(h) redis.call('ZREM', timers, h.id) end,
  held = function(h) redis.call('ZREM', held, h.id) end,
  leased = function(h)
    redis.call('ZREM', leases, h.id)
    redis.call('ZREM', holds_of(h), h.id)
  end,
}
local ENTER = {
  waiting = function(h) redis.call('HSET', h.key, 'entry', redis.call('XADD', ready_of(h), '*', 'id', h.id)) end,
  scheduled = function(h) redis.call('ZADD', timers, h.due, h.id) end,
  held = function(h) redis.call('ZADD', held, text(NOW), h.id) end,
  leased = function(h)
    redis.call('ZADD', leases, h.lease_ends, h.id)
    redis.call('ZADD', holds_of(h), h.fence, h.id)
  end,
  dead = function(h) redis.call('ZADD', dead, text(NOW), h.id) end,
}
local function enter_final(h) redis.call('ZADD', final, text(NOW), h.id) end

-- Per-minute counters, for rates.
local function count(what)
  local minute = queue_keys .. 'minute:' .. text(math.floor(NOW / 60000))
  if redis.call('HINCRBY', minute, what, 1) == 1 then redis.call('PEXPIRE', minute, LIMITS.minute_kept_ms) end
end

-- Stands in a change for the id of the entry that the change writes, which is not known before.
local ENTRY = {}

-- The one way to change a handoff: by a verb, along an arrow of the table, with its ledger entry. `change` is what else
-- becomes different in the record (name → text), `reason` goes into the entry. Returns the entry.
local function move(h, verb, to, change, reason)
  if not (TRANSITIONS[h.state][verb] or {})[to] then
    error('no arrow: ' .. h.state .. ' ' .. verb .. ' ' .. to) -- our mistake; nothing is written yet
  end
  local before = {}
  for name, value in pairs(h) do before[name] = value end
  for name, value in pairs(change) do h[name] = value end
  h.state, h.n = to, text((tonumber(h.n) or 0) + 1)
  local ended = ENTER[to] == nil or to == 'dead'
  if ended then h.ended = text(NOW) end

  local entry = write_entry(verb, { 'handoff', h.id, 'queue', h.queue, 'from', before.state, 'to', to, 'n', h.n,
    'prev', h.last, 'fence', h.fence, 'lease_ends', to == 'leased' and h.lease_ends or '', 'digest', h.digest,
    'schema', h.schema_hash, 'failures', h.failures, 'reason', reason })
  h.last = entry[2]

  local fields = { 'state', to, 'n', h.n, 'last', h.last, 'ended', h.ended }
  for name, value in pairs(change) do
    fields[#fields + 1] = name
    fields[#fields + 1] = value == ENTRY and h.last or value
  end
  if LEAVE[before.state] then LEAVE[before.state](before) end
  redis.call('HSET', h.key, unpack(fields))
  if ENTER[to] then ENTER[to](h) else enter_final(h) end
  if verb == 'drop_off' then count('in') end
  if ended then count('out') end
  -- Last, and under pcall: a wake that is lost is found within a second, a step that fails here would be half done.
  if to == 'waiting' then redis.pcall('PUBLISH', wake, h.queue) end
  if ended then redis.pcall('PUBLISH', wake, h.id) end
  return entry
end

-- ---- leases ----------------------------------------------------------------------------------------------------

-- When the caller's lease of this handoff ended, and how; nil if it never had it. The last few that ended without an
-- outcome stay in the attempts, the one with the outcome in the record itself.
local function ending_of_mine(h)
  for _, attempt in ipairs(h.attempts == '' and {} or cjson.decode(h.attempts)) do
    if attempt.agent == caller and attempt.fence == fence then return attempt.at_ms, attempt.outcome end
  end
  if h.holder == caller and h.fence == fence then return h.ended, h.state end
  return nil
end

-- The record, and what to answer if the caller does not hold it. The authority is: caller = holder, and fence = current.
-- A stranger who borrowed a lease id hears that it is not his; a holder who is too late, what became of the handoff.
local function lease()
  local h = load(handoff)
  if h.state == 'leased' and h.holder == caller and h.fence == fence then return h, nil end
  local ended, how = ending_of_mine(h)
  if not ended then return h, refused('lease_unknown') end
  -- Settled by the caller: the handoff's last entry is the one that its call on its last lease wrote.
  if h.ended ~= '' and h.fence == fence and h.asked_entry == h.last then
    return h, refused('already_settled', { 'state', h.state, 'at', h.ended })
  end
  return h, refused('lease_lost', { 'state', h.state, 'fence', h.fence, 'ended', ended, 'how', how,
    'again_by', h.holder == caller and 'you' or 'another', 'now', text(NOW) })
end

-- The same call on the same lease heard again gets the entry that the first one wrote; `remembered` makes a change one
-- that can be heard again. Only the last call on a handoff is kept: who repeats an older one has gone on since.
local function asking() return caller .. ' ' .. fence .. ' ' .. request end
local function heard_before(h)
  if h.asked ~= asking() then return nil end
  if h.asked_content ~= content then return refused('request_conflict', { 'handoff', h.id }) end
  local facts = { 'attempts_max', h.attempts_max, 'withdrawal_asked', h.withdrawal_asked }
  return answer('repeated', facts, read_entry(h.asked_entry))
end
local function remembered(change)
  change.asked, change.asked_content, change.asked_entry = asking(), content, ENTRY
  return change
end

-- How this lease ended, for the next holder: the last few.
local function with_attempt(h, outcome, reason)
  local attempts = h.attempts == '' and {} or cjson.decode(h.attempts)
  attempts[#attempts + 1] = { agent = h.holder, outcome = outcome, reason = reason, fence = h.fence, at_ms = text(NOW) }
  while #attempts > LIMITS.attempts_kept do table.remove(attempts, 1) end
  return cjson.encode(attempts)
end

-- Where a handoff goes when a lease ends without an outcome, if not `onward`: withdrawn if that was asked for, dead if
-- it has failed too often, or was handed out too often.
local function after_lease(h, failures, onward)
  if h.withdrawal_asked ~= '' then return 'withdrawn' end
  local attempts_max = tonumber(h.attempts_max)
  if failures >= attempts_max or tonumber(h.deliveries) >= LIMITS.deliveries_per_attempt * attempts_max then return 'dead' end
  return onward
end
