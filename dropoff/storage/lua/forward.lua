#!lua
-- forward: the holder completes, and drops off what comes next, in one step: both or neither.
--
-- keys: @queue handoff @next next_handoff
-- args: @call @queue fence request content result judged_by next_base @next
-- gives: completed next | repeated next | stale | refused
--
-- `complete` with `next`, where both queues lie in this partition. A refusal of what comes next says `of = next`: the
-- lease goes on, and its holder may mend it, or complete without.
local stop = stopped_at_gate()
-- guard: forward at the gate
if stop then return stop end
local h, refusal = lease()
local before = completed_before(h)
-- guard: the same result and the same next again
if before then return before end
-- guard: only the holder forwards
if refusal then return refusal end
-- guard: forward by the result schema of now
if judged_by ~= result_schema_of(here) then return answer('stale') end

local there = { base = next_base, config = next_config, leases = next_leases, timers = next_timers, held = next_held,
  expiries = next_expiries, final = next_final, dead = next_dead }
local onward = load(next_handoff, there)
onward.queue = next_queue
local refused_next, settings = admitted(onward, next_rev)
-- guard: what comes next is not admitted
if refused_next then
  table.insert(refused_next[2], 'of')
  table.insert(refused_next[2], 'next')
  return refused_next
end
local dropping = dropped(onward, settings, { id = next_id, queue = next_queue, payload = next_payload,
  salt = next_salt, digest = next_digest, content = next_content, note = next_note, delay_ms = '0', parent = h.id,
  resubmit_of = '' })
local completing = planned(h, 'complete', 'completed', remembered({ result = result, next = next_id }))
local entry = written(completing)
written(dropping)
announced(completing)
announced(dropping)
return answer('completed', { 'next', next_id, 'next_state', onward.state }, entry)
