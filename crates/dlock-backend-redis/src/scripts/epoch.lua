-- The epoch of one hash tag: raised when the server that has it is not the one that had it before.
--
-- KEYS: epoch, index, probe
-- ARGV: who the server is (its run and its replication history), the highest epoch that the caller has ever seen,
--       the command to publish with, the channel
--
-- The epoch is a number of milliseconds, but only its growth counts: it is greater than the one that is stored, than
-- any that the caller has seen, and than the server's own clock says. So a server that has lost the newest epoch
-- together with the newest writes gives the same number only if its clock went back as well, and nobody remembers.
--
-- Answers the epoch's value: format, who, number.
--
-- Each command of the other script is tried here first, so that a user without the permission is found out before
-- anything was written by half.
redis.call('SET', KEYS[3], '1')
redis.call('GETRANGE', KEYS[3], 0, 7)
redis.call('DEL', KEYS[3])
redis.call('ZADD', KEYS[2], 0, '\0')
redis.call('ZREM', KEYS[2], '\0')
redis.call(ARGV[3], ARGV[4], '')

local stored = redis.call('GET', KEYS[1])
local highest = tonumber(ARGV[2])
if stored then
  local format, owner, epoch = string.match(stored, '^(%d+) (%S+) (%d+)$')
  if format ~= '1' then
    return redis.error_reply('DLOCKFORMAT ' .. stored)
  end
  epoch = tonumber(epoch)
  if owner == ARGV[1] and epoch >= highest then
    return stored
  end
  highest = math.max(highest, epoch)
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local value = string.format('1 %s %.0f', ARGV[1], math.max(highest, now) + 1)
redis.call('SET', KEYS[1], value)
return value
