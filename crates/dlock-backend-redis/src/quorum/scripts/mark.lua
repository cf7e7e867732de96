-- Changes what a node is: at one instant, if it is what the caller thinks.
--
-- KEYS: marker, run, epoch
-- ARGV: marker and run as they must be ('' if there is none), the new marker, the new run, the new epoch ('': as it is)
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] or (redis.call('GET', KEYS[2]) or '') ~= ARGV[2] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[3])
redis.call('SET', KEYS[2], ARGV[4])
if ARGV[5] ~= '' then
  redis.call('SET', KEYS[3], ARGV[5])
end
return 1
