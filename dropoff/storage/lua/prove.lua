#!lua flags=allow-oom
-- prove: run every command that steps use, on keys that nothing else uses, and leave nothing behind.
--
-- keys: a_hash a_stream a_zset a_set a_string
-- args: @call wake
-- gives: proven | lacking why
--
-- A right that is missing shows here, at start. In a step it would show in the middle, and leave half of it done.
-- DEL comes first and last: who may not delete fails before anything is written.
local function clean() redis.call('DEL', a_hash, a_stream, a_zset, a_set, a_string) end
clean()
local why
for _, command in ipairs({
  { 'HSET', a_hash, 'n', '1' }, { 'HGET', a_hash, 'n' }, { 'HMGET', a_hash, 'n' }, { 'HGETALL', a_hash },
  { 'HINCRBY', a_hash, 'n', 1 }, { 'HLEN', a_hash }, { 'HDEL', a_hash, 'n' }, { 'PEXPIRE', a_hash, 1000 },
  { 'XADD', a_stream, '*', 'n', '1' }, { 'XRANGE', a_stream, '-', '+' }, { 'XLEN', a_stream }, { 'XDEL', a_stream, '0-1' },
  { 'ZADD', a_zset, 1, 'n' }, { 'ZSCORE', a_zset, 'n' }, { 'ZCARD', a_zset }, { 'ZCOUNT', a_zset, 1, 1 },
  { 'ZRANGE', a_zset, 0, 0 }, { 'ZRANGEBYSCORE', a_zset, 1, 1 },
  { 'ZREM', a_zset, 'none' }, { 'ZREMRANGEBYSCORE', a_zset, 1, 1 },
  { 'SADD', a_set, 'n' }, { 'SCARD', a_set }, { 'SMEMBERS', a_set }, { 'SREM', a_set, 'none' },
  { 'SET', a_string, 'n', 'PX', 1000 }, { 'GET', a_string },
  { 'PUBLISH', wake, '' }, -- nobody waits for the empty name
}) do
  local reply = redis.pcall(unpack(command))
  -- guard: a right that is lacking
  if type(reply) == 'table' and reply.err then why = why or command[1] .. ': ' .. reply.err end
end
clean()
-- guard: something is lacking
if why then return answer('lacking', { 'why', why }) end
return answer('proven')
