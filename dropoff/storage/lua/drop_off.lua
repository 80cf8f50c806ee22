#!lua
-- drop_off: put one new handoff into its queue, once.
--
-- keys: @queue handoff
-- args: @call @queue id queue config_rev payload salt digest content note delay_ms
-- gives: dropped_off ahead pickers | repeated ahead pickers | stale | refused
--
-- The record itself is the memory of the request: its id is derived from the request key. The content tells whether
-- the same work is heard twice or other work came under the same key, which is a mistake that nobody should guess about.
-- The queue's settings must be those the payload was judged by: another revision is `stale`, and it is judged again.
local stop = stopped_at_gate()
if stop then return stop end

local function standing(h)
  local waiting = redis.call('XLEN', ready_of(h))
  local seen_since = text(NOW - LIMITS.picker_seen_ms)
  return { 'state', h.state, 'ahead', text(math.max(waiting - (h.state == 'waiting' and 1 or 0), 0)),
    'pickers', text(redis.call('ZCOUNT', pickers, seen_since, '+inf')) }
end

local h = load(handoff)
if h.state ~= 'absent' then
  if h.sender ~= caller or h.content ~= content then return refused('request_conflict', { 'handoff', id }) end
  return answer('repeated', standing(h), read_entry(h.first))
end

local settings = redis.call('HMGET', config, 'rev', 'schema', 'schema_hash', 'version', 'attempts_max', 'waiting_max')
if settings[1] ~= config_rev then return answer('stale') end
h.id, h.queue, h.version, h.schema_hash, h.digest = id, queue, settings[4], settings[3], digest
if redis.call('XLEN', ready_of(h)) + redis.call('ZCARD', timers) >= tonumber(settings[6]) then
  return refused('queue_full', { 'waiting_max', settings[6] })
end

local entry = move(h, 'drop_off', delay_ms == '0' and 'waiting' or 'scheduled', {
  id = id, queue = queue, sender = caller, dropped = text(NOW), payload = payload, salt = salt, digest = digest,
  content = content, note = note, schema = settings[2], schema_hash = settings[3], version = settings[4],
  attempts_max = settings[5], deliveries = '0', failures = '0', fence = '0', due = text(NOW + delay_ms), first = ENTRY })
return answer('dropped_off', standing(h), entry)
