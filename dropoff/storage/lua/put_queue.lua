#!lua flags=allow-oom
-- put_queue: make a queue, or change its settings over the revision they were made from.
--
-- keys: gate ledger config queues
-- args: @call queue expected content wake schema schema_hash result_schema_hash version lease_ms attempts_max waiting_max state approval expires_ms retention_ms reason
-- gives: written rev | exists rev content | stale | refused
--
-- `content` is the whole of the settings, for brokers; the single fields are those that steps read. The index of all
-- queues carries the content too, so that either can be made again from the other. `expected` is 0 for a new queue.
-- Heard again it finds its own settings under a newer revision, and answers with that.
local stop = stopped_at_gate('operating')
-- guard: put_queue at the gate
if stop then return stop end
local before = redis.call('HMGET', config, 'rev', 'content')
local rev_before = before[1] or '0'
-- guard: made from the settings of now
if rev_before ~= expected then
  -- guard: there is a queue of this name
  if before[1] and (expected == '0' or before[2] == content) then
    return answer('exists', { 'rev', before[1], 'content', before[2] })
  end
  return answer('stale')
end
sound('stream', ledger)
sound('hash', queues)
local now = text(math.max(rev_before + 1, NOW))
local entry = write_entry('put_queue', { 'queue', queue, 'schema', schema_hash, 'rev', now, 'standing', state,
  'reason', reason })
redis.call('HSET', config, 'rev', now, 'content', content, 'schema', schema, 'schema_hash', schema_hash,
  'result_schema_hash', result_schema_hash, 'version', version, 'lease_ms', lease_ms, 'attempts_max', attempts_max,
  'waiting_max', waiting_max, 'state', state, 'approval', approval, 'expires_ms', expires_ms,
  'retention_ms', retention_ms, 'reason', reason)
redis.call('HSET', queues, queue, now .. ' ' .. content)
redis.pcall('PUBLISH', wake, queue) -- who waits looks again: it may be open now
return answer('written', { 'rev', now }, entry)
