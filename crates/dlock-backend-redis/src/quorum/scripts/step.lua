-- What an acceptor does: many registers' preparations, acceptances and reads, each with its own answer.
--
-- KEYS: marker, epoch, rows, floors, names, dead, sequence
-- ARGV: the marker as the caller knows it, the channel, the longest state that is announced with more than its
--       version; then of each operation:
--       R(ead), P(repare), A(ccept), (re)T(ire) or D(elete), the register's name, its bucket; for all but R the ballot;
--       for A the ballot that is promised next, and the state
--
-- A row is the ballot promised (24 bytes), the ballot accepted (24, zero if none), and the state: version, floor (8 each),
-- its kind (1: odd if there is a value), and more that is of no interest here. Floors are version, floor and round (8 each).
-- Everything is big-endian: Lua's numbers have 53 bits, and bytes compare as the numbers do.
--
-- Answers the number of the node's changes, then of each operation: {row, floors}; {accepted part of the row, floors};
-- 1, done; 'N' and the ballot that stands against it; 'E' and the node's epoch.
local marker = redis.call('GET', KEYS[1])
if marker ~= ARGV[1] then
  return redis.error_reply('DLOCKOUT the node has not joined, or anew: ' .. (marker or 'no marker'))
end

local byte, sub = string.byte, string.sub
local NUMBER, BALLOT, KIND = 8, 24, 65
local ZERO = string.rep('\0', BALLOT)
local epoch = redis.call('GET', KEYS[2])
local announced_max = tonumber(ARGV[3])
local events = {}
local changes = 0

-- Of strings of one length. Not Lua's own comparison: that follows the locale.
local function less(a, b)
  if a == b then
    return false
  end
  for i = 1, #a do
    local x, y = byte(a, i), byte(b, i)
    if x ~= y then
      return x < y
    end
  end
  return false
end

local function max(a, b)
  if less(a, b) then
    return b
  end
  return a
end

local function is_present(row)
  return row and #row >= KIND and byte(row, KIND) % 2 == 1
end

-- Why the operation can't take part in the ballot; nil if it can.
local function bar(row, bucket, ballot, strictly)
  if sub(ballot, 1, NUMBER) ~= epoch then
    return 'E' .. epoch
  end
  if row then
    local promised = sub(row, 1, BALLOT)
    if less(ballot, promised) or (strictly and ballot == promised) then
      return 'N' .. promised
    end
    return nil
  end
  local floors = redis.call('HGET', KEYS[4], bucket)
  if floors and not less(sub(floors, 2 * NUMBER + 1), sub(ballot, NUMBER + 1, 2 * NUMBER)) then
    return 'N' .. sub(ZERO, 1, NUMBER) .. sub(floors, 2 * NUMBER + 1) .. sub(ZERO, 1, NUMBER)
  end
  return nil
end

local function prepare(name, bucket, ballot)
  local row = redis.call('HGET', KEYS[3], name)
  local barred = bar(row, bucket, ballot, true)
  if barred then
    return barred
  end
  local accepted = row and sub(row, BALLOT + 1) or ZERO
  redis.call('HSET', KEYS[3], name, ballot .. accepted)
  if not row then
    redis.call('ZADD', KEYS[5], 0, name)
    redis.call('SADD', KEYS[6], name)
  end
  changes = changes + 1
  return {accepted, redis.call('HGET', KEYS[4], bucket)}
end

local function accept(name, bucket, ballot, following, state)
  local row = redis.call('HGET', KEYS[3], name)
  local barred = bar(row, bucket, ballot, false)
  if barred then
    return barred
  end
  local new = following .. ballot .. state
  redis.call('HSET', KEYS[3], name, new)
  if not row then
    redis.call('ZADD', KEYS[5], 0, name)
  end
  if not is_present(new) then
    if not row or is_present(row) then
      redis.call('SADD', KEYS[6], name)
    end
  elseif row and not is_present(row) then
    redis.call('SREM', KEYS[6], name)
  end
  if #state > announced_max then
    state = sub(state, 1, NUMBER)
  end
  events[#events + 1] = struct.pack('>I2I4', #name, #state) .. ballot .. name .. state
  changes = changes + 1
  return 1
end

-- The tombstone's version, floor and round are what remains of the register.
local function retire(name, bucket, ballot, remove)
  local row = redis.call('HGET', KEYS[3], name)
  if not row or #row < KIND or is_present(row) then
    return 'N' .. ZERO
  end
  if sub(row, 1, BALLOT) ~= ballot or sub(row, BALLOT + 1, 2 * BALLOT) ~= ballot then
    return 'N' .. sub(row, 1, BALLOT)
  end
  local state = 2 * BALLOT
  local version = sub(row, state + 1, state + NUMBER)
  local floor = sub(row, state + NUMBER + 1, state + 2 * NUMBER)
  local round = sub(ballot, NUMBER + 1, 2 * NUMBER)
  local floors = redis.call('HGET', KEYS[4], bucket)
  if floors then
    version = max(version, sub(floors, 1, NUMBER))
    floor = max(floor, sub(floors, NUMBER + 1, 2 * NUMBER))
    round = max(round, sub(floors, 2 * NUMBER + 1))
  end
  redis.call('HSET', KEYS[4], bucket, version .. floor .. round)
  if remove then
    redis.call('HDEL', KEYS[3], name)
    redis.call('ZREM', KEYS[5], name)
    redis.call('SREM', KEYS[6], name)
  end
  changes = changes + 1
  return 1
end

local answers = {0}
local arg = 4
while arg <= #ARGV do
  local operation, name, bucket = ARGV[arg], ARGV[arg + 1], ARGV[arg + 2]
  local answer
  if operation == 'R' then
    answer = {redis.call('HGET', KEYS[3], name), redis.call('HGET', KEYS[4], bucket)}
    arg = arg + 3
  elseif operation == 'P' then
    answer = prepare(name, bucket, ARGV[arg + 3])
    arg = arg + 4
  elseif operation == 'A' then
    answer = accept(name, bucket, ARGV[arg + 3], ARGV[arg + 4], ARGV[arg + 5])
    arg = arg + 6
  else
    answer = retire(name, bucket, ARGV[arg + 3], operation == 'D')
    arg = arg + 4
  end
  answers[#answers + 1] = answer
end

if changes > 0 then
  answers[1] = redis.call('INCRBY', KEYS[7], changes)
end
if #events > 0 then
  redis.call('PUBLISH', ARGV[2], table.concat(events))
end
return answers
