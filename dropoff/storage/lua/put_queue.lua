#!lua
-- put_queue: make a queue.
--
-- keys: gate ledger config queues
-- args: @call queue partition content schema schema_hash version lease_ms attempts_max waiting_max
-- gives: written rev | exists rev content | stale | refused
--
-- `content` is the whole of the settings, for brokers; the single fields are those that steps read.
local stop = stopped_at_gate()
if stop then return stop end
local before = redis.call('HMGET', config, 'rev', 'content')
if before[1] then return answer('exists', { 'rev', before[1], 'content', before[2] }) end
local entry = write_entry('put_queue', { 'queue', queue, 'schema', schema_hash, 'rev', text(NOW) })
redis.call('HSET', config, 'rev', text(NOW), 'content', content, 'schema', schema, 'schema_hash', schema_hash,
  'version', version, 'lease_ms', lease_ms, 'attempts_max', attempts_max, 'waiting_max', waiting_max)
redis.call('HSET', queues, queue, partition)
return answer('written', { 'rev', text(NOW) }, entry)
