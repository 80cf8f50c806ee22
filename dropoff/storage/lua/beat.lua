#!lua flags=allow-oom
-- beat: upkeep's heartbeat, and a look at what format the store is in.
--
-- keys: beat format
-- args: @call my_format
-- gives: beaten | early | newer format
--
-- `beat` holds '@', the last beat; '*', when everything last came out of a freeze or an outage; and for each agent that
-- was ever thawed, when. A gap between two beats is an outage: nobody could extend, so no lease lapses for it (`lapse`).
-- Of several brokers one beat a second is enough.
local found = redis.call('GET', format)
-- guard: a store that a newer release has written
if tonumber(found or my_format) > tonumber(my_format) then return answer('newer', { 'format', found }) end
local last = tonumber(redis.call('HGET', beat, '@') or 0)
-- guard: once a second is enough
if found and NOW >= last and NOW - last < LIMITS.beat_ms then return answer('early') end
-- guard: after a gap everything has just come back
if NOW < last or NOW - last > LIMITS.outage_ms then redis.call('HSET', beat, '*', text(NOW)) end
redis.call('HSET', beat, '@', text(NOW))
-- guard: the format is written once
if not found then redis.call('SET', format, my_format) end
return answer('beaten')
