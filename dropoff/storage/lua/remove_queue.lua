#!lua flags=allow-oom
-- remove_queue: remove a queue in which nothing is left.
--
-- keys: @queue versions pickers queues rejected
-- args: @call @queue queue expected
-- gives: removed | absent | stale | refused
local stop = stopped_at_gate('operating')
-- guard: remove_queue at the gate
if stop then return stop end
local rev = redis.call('HGET', config, 'rev')
-- guard: removed before
if not rev then return answer('absent') end
-- guard: the queue that was seen
if rev ~= expected then return answer('stale') end
local left, streams = waiting_in(queue_keys), {}
for i, version in ipairs(redis.call('SMEMBERS', versions)) do streams[i] = stream_of(queue_keys, version) end
for _, index in ipairs({ leases, timers, held, final, dead }) do left = left + redis.call('ZCARD', index) end
-- guard: nothing is left in it
if left > 0 then return refused('queue_not_empty', { 'queue', queue, 'left', text(left) }) end
sound('stream', ledger)
sound('hash', queues)
local entry = write_entry('remove_queue', { 'queue', queue, 'rev', rev })
redis.call('HDEL', queues, queue)
redis.call('DEL', config, versions, pickers, expiries, rejected, unpack(streams))
return answer('removed', {}, entry)
