-- Words that every step shares. A step is: its arguments by name (bound from its header), TRANSITIONS (the table of
-- the lifecycle), LIMITS, this page, and its own file.
--
-- Order inside a step: the gate; every read and every refusal; the ledger; the writes; PUBLISH last. Scripts are not
-- rolled back, so nothing may fail once the first write is done.
--
-- Replies are { word, facts, entry }: facts and entry are flat lists of names and values, all of them text. Lua in Redis
-- prints a number above 14 digits as 1.7e+15, so numbers become text by `text`, and by nothing else.

local function text(number) return string.format('%.0f', number) end

-- The store's clock decides. A test brings its own, and only a test does.
local function clock()
  if clock_ms ~= '' then return tonumber(clock_ms) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local NOW = clock()

local function answer(word, facts, entry) return { word, facts or {}, entry or {} } end
local function refused(code, facts) return { 'refused', { 'code', code, unpack(facts or {}) }, {} } end

-- ---- the gate --------------------------------------------------------------------------------------------------

-- Nil if the caller may go on; otherwise what to answer. `stale`: the caller was decided upon at another revision than
-- the gate knows, or the gate does not know it at all; missing must never mean free. Upkeep is not a caller.
local function stopped_at_gate()
  if caller == 'upkeep' then return nil end
  local says = redis.call('HMGET', gate, '*', caller)
  local everyone, mine = says[1], says[2]
  if everyone and not string.find(everyone, ' active', 1, true) then return refused('frozen', { 'what', 'Everything' }) end
  if not mine or string.match(mine, '^%d+') ~= rev then return answer('stale') end
  local standing = string.match(mine, ' (%a+)$')
  if standing ~= 'active' then return refused(standing, { 'what', "Agent '" .. caller .. "'" }) end
  return nil
end

-- ---- the ledger ------------------------------------------------------------------------------------------------

-- Appends an entry made of `facts` (a flat list) and returns it as the reply carries it: its id, then its fields.
-- Empty facts are left out, so that an entry says only what there is to say.
local function write_entry(step, facts)
  local entry = { 'step', step, 'at', text(NOW), 'actor', caller }
  if credential ~= '' then entry[#entry + 1] = 'credential' entry[#entry + 1] = credential end
  if caller ~= 'upkeep' then entry[#entry + 1] = 'revs' entry[#entry + 1] = caller .. '=' .. rev end
  for i = 1, #facts, 2 do
    if facts[i + 1] and facts[i + 1] ~= '' then entry[#entry + 1] = facts[i] entry[#entry + 1] = facts[i + 1] end
  end
  if trace ~= '' then entry[#entry + 1] = 'trace' entry[#entry + 1] = trace end
  local id = redis.call('XADD', ledger, '*', unpack(entry))
  return { 'id', id, unpack(entry) }
end

-- An entry that an earlier step wrote, for the answer to a call that is heard again.
local function read_entry(id)
  local found = redis.call('XRANGE', ledger, id, id)[1]
  return { 'id', id, unpack(found and found[2] or {}) }
end
