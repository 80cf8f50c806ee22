#!lua flags=allow-oom
-- revoked: the leases of revoked agents, a few at a time.
--
-- keys: recalls
-- args: @call at_most partition_keys
-- gives: revoked leases          (a list of "id fence", joined by commas)
--
-- Who is revoked gets no new lease, so an agent that holds nothing any more is struck from the list.
local found, done = {}, {}
for _, agent in ipairs(redis.call('SMEMBERS', recalls)) do
  local held = redis.call('ZRANGE', partition_keys .. 'holds:' .. agent, 0, at_most - #found - 1, 'WITHSCORES')
  for i = 1, #held, 2 do found[#found + 1] = held[i] .. ' ' .. text(held[i + 1]) end
  -- guard: holds nothing any more
  if #held == 0 then done[#done + 1] = agent end
  -- guard: a few at a time
  if #found >= tonumber(at_most) then break end
end
for _, agent in ipairs(done) do redis.call('SREM', recalls, agent) end
return answer('revoked', { 'leases', table.concat(found, ',') })
