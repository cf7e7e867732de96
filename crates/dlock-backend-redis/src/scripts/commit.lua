-- Compare-and-swaps of records that have one hash tag, each with its own verdict.
--
-- KEYS: epoch, index, then of each guard: record, absence, then of each write: record, absence
-- ARGV: the epoch's value as the caller knows it, the command to publish with, the channel, the length of what stands
--       before a record's name in its key, the longest payload that is announced (-1: none, names only), the number of
--       guards, and the version of each guard;
--       then of each write: operation (P or D), expected version, new version, payload (a value, or a deletion's
--       floor), how many guards it has, and which: the numbers of these guards
--
-- Versions and floors are 8 bytes, big-endian: Lua's numbers have 53 bits. Nothing is written before it is certain
-- that the whole script can be: what Redis refuses (no memory, no disk, a replica), it refuses at the first write.
--
-- Answers nil if the epoch is another, else of each write: 1 (committed), the version (a committed deletion),
-- {record, absence} (a conflict, and what is there), or the negative place of the guard that failed among the write's.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return false
end

local VERSION = 8
-- As text: Redis prints each number that a script gives it, which takes longer than the rest of a look-up.
local FIRST, LAST, SCORE = '0', tostring(VERSION - 1), '0'
local NEVER = string.rep('\0', VERSION)
local name_start = tonumber(ARGV[4]) + 1
local announced_max = tonumber(ARGV[5])

-- The version of a record or of its absence, and whether it is present.
local function version_of(record, absence)
  local version = redis.call('GETRANGE', record, FIRST, LAST)
  if version ~= '' then
    return version, true
  end
  version = redis.call('GETRANGE', absence, FIRST, LAST)
  if version ~= '' then
    return version, false
  end
  return NEVER, false
end

-- Not Lua's own comparison: that follows the locale.
local function less(a, b)
  for i = 1, VERSION do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then
      return x < y
    end
  end
  return false
end

local function successor(version)
  for i = VERSION, 1, -1 do
    local byte = string.byte(version, i)
    if byte < 255 then
      return string.sub(version, 1, i - 1) .. string.char(byte + 1) .. string.rep('\0', VERSION - i)
    end
  end
  error('no version is left')
end

local events = {}

local function announce(kind, record, version, payload)
  local name = string.sub(record, name_start)
  if announced_max < #payload then
    kind, payload = 'K', ''
  end
  events[#events + 1] = struct.pack('>c1I2I4', kind, #name, #payload) .. version .. name .. payload
end

-- Many writes have the same guard: it is looked up once, and again only if a write of this script was to it.
local versions = {}

local function guard_holds(number)
  local record = KEYS[1 + 2 * number]
  local version = versions[record]
  if not version then
    version = version_of(record, KEYS[2 + 2 * number])
    versions[record] = version
  end
  return version == ARGV[6 + number]
end

local guards_of_all = tonumber(ARGV[6])
local answers = {}
local key, arg = 3 + 2 * guards_of_all, 7 + guards_of_all
while key <= #KEYS do
  local record, absence = KEYS[key], KEYS[key + 1]
  local operation, expected, new, payload = ARGV[arg], ARGV[arg + 1], ARGV[arg + 2], ARGV[arg + 3]
  local guards = tonumber(ARGV[arg + 4])
  key, arg = key + 2, arg + 5
  local answer = nil
  for place = 1, guards do
    if not answer and not guard_holds(tonumber(ARGV[arg])) then
      answer = -place
    end
    arg = arg + 1
  end
  if not answer then
    local version, present = version_of(record, absence)
    if version ~= expected then
      if announced_max < 0 then
        answer = 0
      else
        answer = {redis.call('GET', record), redis.call('GET', absence)}
      end
    elseif operation == 'P' then
      redis.call('SET', record, new .. payload)
      if not present then
        redis.call('ZADD', KEYS[2], SCORE, string.sub(record, name_start))
      end
      versions[record] = nil
      announce('P', record, new, payload)
      answer = 1
    else
      -- Removed before anything is set: a full server still takes it, and then the rest.
      if present then
        redis.call('DEL', record)
        redis.call('ZREM', KEYS[2], string.sub(record, name_start))
      end
      local before = redis.call('GET', absence)
      if before then
        if not less(before, new) then
          new = successor(string.sub(before, 1, VERSION))
        end
        local floor = string.sub(before, VERSION + 1)
        if less(payload, floor) then
          payload = floor
        end
      end
      redis.call('SET', absence, new .. payload)
      versions[record] = nil
      announce('A', record, new, payload)
      answer = new
    end
  end
  answers[#answers + 1] = answer
end

if #events > 0 then
  redis.call(ARGV[2], ARGV[3], table.concat(events))
end
return answers
