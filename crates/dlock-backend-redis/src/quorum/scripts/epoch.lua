-- Makes a node join an epoch, unless it is in a later one. Answers the epoch that it is in then.
--
-- KEYS: marker, epoch
-- ARGV: the marker as the caller knows it, the epoch
local marker = redis.call('GET', KEYS[1])
if marker ~= ARGV[1] then
  return redis.error_reply('DLOCKOUT the node has not joined, or anew: ' .. (marker or 'no marker'))
end
local epoch = redis.call('GET', KEYS[2])
-- Not Lua's own comparison: that follows the locale.
for i = 1, #ARGV[2] do
  local own, other = string.byte(epoch, i), string.byte(ARGV[2], i)
  if own > other then
    return epoch
  end
  if own < other then
    redis.call('SET', KEYS[2], ARGV[2])
    return ARGV[2]
  end
end
return epoch
