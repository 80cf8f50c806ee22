#!lua flags=no-writes
-- overdue: what the clock has to end or to start in one queue, the longest overdue first.
--
-- keys: @queue
-- args: @call @queue at_most
-- gives: overdue leases timers          (each a list of ids, joined by spaces)
local function late(index)
  return table.concat(redis.call('ZRANGEBYSCORE', index, '-inf', text(NOW), 'LIMIT', 0, at_most), ' ')
end
return answer('overdue', { 'leases', late(leases), 'timers', late(timers) })
