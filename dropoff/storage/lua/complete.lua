#!lua flags=allow-oom
-- complete: the holder ends its lease and records the result.
--
-- keys: @queue handoff
-- args: @call @queue fence request content result judged_by
-- gives: completed | repeated | stale | refused
--
-- The same result from the same holder is the same success, without any key: `request` is the word "complete" for all.
local stop = stopped_at_gate()
-- guard: complete at the gate
if stop then return stop end
local h, refusal = lease()
local before = completed_before(h)
-- guard: the same result again
if before then return before end
-- guard: only the holder completes
if refusal then return refusal end
-- guard: complete by the result schema of now
if judged_by ~= result_schema_of(here) then return answer('stale') end
return answer('completed', {}, move(h, 'complete', 'completed', remembered({ result = result })))
