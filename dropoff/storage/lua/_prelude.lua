-- Words that every step shares. A step is: its arguments by name (bound from its header), TRANSITIONS (the table of
-- the lifecycle), LIMITS, this page, `_handoff.lua` and `_waiting.lua` if its header names their keys, and its own file.
--
-- Order inside a step: the gate; every read and every refusal; the ledger; the writes; PUBLISH last. Scripts are not
-- rolled back, so nothing may fail once the first write is done. What could fail there is a key of another type: so
-- each key that will be written is read first by a command of its own type (`sound`), where a failure leaves nothing.
-- Memory is looked at by the server before it begins, as the shebang says; rights are proved at start (`prove`).
--
-- Each `if` stands under a line `-- guard: NAME`. The names are unique, a test reads them, and a script removes one
-- after the other and expects the tests to notice.
--
-- Replies are { word, facts, entry }: facts and entry are flat lists of names and values, all of them text. Lua in Redis
-- prints a number above 14 digits as 1.7e+15, so numbers become text by `text`, and by nothing else.

local function text(number) return string.format('%.0f', number) end

-- The store's clock decides. A test brings its own, and only a test does.
local function clock()
  -- guard: a test's clock
  if clock_ms ~= '' then return tonumber(clock_ms) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local NOW = clock()

local function answer(word, facts, entry) return { word, facts or {}, entry or {} } end
local function refused(code, facts) return { 'refused', { 'code', code, unpack(facts or {}) }, {} } end

-- Fails here, before anything is written, if a key that will be written is of another type. A missing key is sound.
local READ = { hash = 'HLEN', set = 'SCARD', stream = 'XLEN', zset = 'ZCARD' }
local function sound(kind, key) redis.call(READ[kind], key) end

-- ---- the gate --------------------------------------------------------------------------------------------------

-- What the gate says of an agent, or of all at once: "<rev> <standing>". Missing must never mean free.
local function standing_in(says) return string.match(says or '', ' (%a+)$') end
local function rev_in(says) return tonumber(string.match(says or '', '^%d+') or 0) end

-- Nil if the caller may go on; otherwise what to answer. `stale`: the caller was decided upon at another revision than
-- the gate knows, or the gate lacks a word. Upkeep is no caller. `through` is given by steps that a freeze of
-- everything does not stop: those of operators, who must be able to look, to tidy and to thaw, and reads.
local function stopped_at_gate(through)
  -- guard: upkeep passes the gate
  if caller == 'upkeep' then return nil end
  local says = redis.call('HMGET', gate, '*', caller)
  local everyone, mine = says[1], says[2]
  -- guard: the gate knows the caller at this revision
  if not everyone or not mine or string.match(mine, '^%d+') ~= rev then return answer('stale') end
  local standing = standing_in(mine)
  -- guard: the caller is frozen or revoked
  if standing ~= 'active' then return refused(standing, { 'agent', caller }) end
  -- guard: everything is frozen
  if standing_in(everyone) ~= 'active' and not through then return refused('frozen') end
  return nil
end

-- ---- the ledger ------------------------------------------------------------------------------------------------

-- Appends an entry made of `facts` (a flat list) and returns it as the reply carries it: its id, then its fields.
-- Empty facts are left out, so that an entry says only what there is to say.
local function write_entry(step, facts)
  local entry = { 'step', step, 'at', text(NOW), 'actor', caller }
  local function add(name, value)
    -- guard: empty facts are left out
    if value ~= '' then entry[#entry + 1] = name entry[#entry + 1] = value end
  end
  add('credential', credential)
  add('revs', caller == 'upkeep' and '' or caller .. '=' .. rev)
  for i = 1, #facts, 2 do add(facts[i], facts[i + 1]) end
  add('trace', trace)
  local id = redis.call('XADD', ledger, '*', unpack(entry))
  return { 'id', id, unpack(entry) }
end

-- An entry that an earlier step wrote, for the answer to a call that is heard again. Where the ledger has lost it the
-- answer says how the handoff stands now, and is no entry.
local function read_entry(id, h)
  local found = redis.call('XRANGE', ledger, id, id)[1]
  local now = { 'to', h.state, 'lease_ends', h.lease_ends, 'failures', h.failures }
  return { 'id', id, unpack(found and found[2] or now) }
end

-- ---- what waits ------------------------------------------------------------------------------------------------

-- By what the keys of a queue begin with (`base`): the streams of what waits, one for each schema version, and the set
-- of the versions of which something may wait.
local function base_of(id) return partition_keys .. 'q:' .. string.match(id, '^(.*)%-') .. ':' end -- ids carry the queue
local function versions_of(base) return base .. 'versions' end
local function stream_of(base, version) return base .. 'ready:' .. version end
local function waiting_in(base)
  local sum = 0
  for _, version in ipairs(redis.call('SMEMBERS', versions_of(base))) do
    sum = sum + redis.call('XLEN', stream_of(base, version))
  end
  return sum
end
