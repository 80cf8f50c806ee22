#!lua flags=allow-oom
-- revoked: the leases of revoked agents, a few at a time.
--
-- keys: recalls
-- args: @call at_most partition_keys
-- gives: revoked leases unread          (a list of "id fence", joined by commas; of agents, by spaces)
--
-- Who is revoked gets no new lease, so an agent that holds nothing any more is struck from the list. One whose leases
-- cannot be read stays on it, holds up no other, and is named in `unread`.
local found, done, unread = {}, {}, {}
for _, agent in ipairs(redis.call('SMEMBERS', recalls)) do
  local held = redis.pcall('ZRANGE', partition_keys .. 'holds:' .. agent, 0, at_most - #found - 1, 'WITHSCORES')
  for i = 1, #held, 2 do found[#found + 1] = held[i] .. ' ' .. text(held[i + 1]) end
  -- guard: leases that cannot be read
  if held.err then unread[#unread + 1] = agent end
  -- guard: holds nothing any more
  if #held == 0 and not held.err then done[#done + 1] = agent end
  -- guard: a few at a time
  if #found >= tonumber(at_most) then break end
end
for _, agent in ipairs(done) do redis.call('SREM', recalls, agent) end
return answer('revoked', { 'leases', table.concat(found, ','), 'unread', table.concat(unread, ' ') })
