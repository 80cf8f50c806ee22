#!lua flags=allow-oom
-- picked_before: the lease that this request of an agent brought, if it goes on; and if not, nothing comes of it.
--
-- keys: gate ledger pick
-- args: @call partition_keys
-- gives: repeated … | unheard | stale | refused          (…: the whole record, and how many wait)
--
-- Asked where a pick_up is refused without its step: for a grant, or a queue that is not there any more. Whoever hears
-- it has the lease by this answer as by that of `pick_up`, and keeps it: see `recall`.
local stop = stopped_at_gate('reading')
-- guard: picked_before at the gate
if stop then return stop end
local before = redis.call('GET', pick)
-- guard: nothing was picked by this request
if not before then return answer('unheard') end
local id, fence = string.match(before, '^(%S+) (%d+)')
local facts, h = redis.call('HGETALL', base_of(id) .. 'h:' .. id), {}
for i = 1, #facts, 2 do h[facts[i]] = facts[i + 1] end
-- guard: the lease of then is over
if h.state ~= 'leased' or h.fence ~= fence then return answer('unheard') end
facts[#facts + 1], facts[#facts + 2] = 'waiting', text(waiting_in(base_of(id)))
local entry = read_entry(h.picked, h)
redis.call('SET', pick, id .. ' ' .. fence .. ' again', 'KEEPTTL')
return answer('repeated', facts, entry)
