#!lua flags=no-writes
-- overdue: what the clock has to end or to start in one queue, the longest overdue first.
--
-- keys: @queue
-- args: @call @queue at_most
-- gives: overdue leases timers expiries ended unread          (each a list of ids, joined by spaces)
--
-- An index of another type holds up none of the others: it is named in `unread`.
local unread = {}
local function late(name, index, kept)
  local ids = redis.pcall('ZRANGEBYSCORE', index, '-inf', text(NOW - kept), 'LIMIT', 0, at_most)
  -- guard: an index that cannot be read
  if ids.err then unread[#unread + 1] = name end
  return ids
end
local function joined(...)
  local all = {}
  for _, ids in ipairs({ ... }) do
    for _, id in ipairs(ids) do all[#all + 1] = id end
  end
  return table.concat(all, ' ')
end
local kept = tonumber(redis.call('HGET', config, 'retention_ms') or LIMITS.retention_ms)
return answer('overdue', { 'leases', joined(late('leases', leases, 0)), 'timers', joined(late('timers', timers, 0)),
  'expiries', joined(late('expiries', expiries, 0)),
  'ended', joined(late('final', final, kept), late('dead', dead, kept)), 'unread', joined(unread) })
