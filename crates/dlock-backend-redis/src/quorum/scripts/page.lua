-- A page of what a node has, for one that rejoins.
--
-- KEYS: marker, the hash
-- ARGV: the marker as the caller knows it, the cursor, about how many
local marker = redis.call('GET', KEYS[1])
if marker ~= ARGV[1] then
  return redis.error_reply('DLOCKOUT the node has not joined, or anew: ' .. (marker or 'no marker'))
end
return redis.call('HSCAN', KEYS[2], ARGV[2], 'COUNT', ARGV[3])
