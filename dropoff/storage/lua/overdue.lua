#!lua flags=no-writes
-- overdue: what the clock has to end or to start in one queue, the longest overdue first.
--
-- keys: @queue
-- args: @call @queue at_most
-- gives: overdue leases timers expiries ended          (each a list of ids, joined by spaces)
local function late(index, kept)
  return redis.call('ZRANGEBYSCORE', index, '-inf', text(NOW - kept), 'LIMIT', 0, at_most)
end
local function joined(...)
  local all = {}
  for _, ids in ipairs({ ... }) do
    for _, id in ipairs(ids) do all[#all + 1] = id end
  end
  return table.concat(all, ' ')
end
local kept = tonumber(redis.call('HGET', config, 'retention_ms') or LIMITS.retention_ms)
return answer('overdue', { 'leases', joined(late(leases, 0)), 'timers', joined(late(timers, 0)),
  'expiries', joined(late(expiries, 0)), 'ended', joined(late(final, kept), late(dead, kept)) })
