#!lua flags=allow-oom
-- changed: every gate knows an agent's record of this revision, so nobody has to finish the change.
--
-- keys: changing
-- args: @call agent agent_rev
-- gives: done | nothing
-- guard: not a newer change
if redis.call('HGET', changing, agent) ~= agent_rev then return answer('nothing') end
redis.call('HDEL', changing, agent)
return answer('done')
