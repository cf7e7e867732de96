-- Takes a page of another node's rows or floors into a node that rejoins.
--
-- KEYS: marker, rows, floors, names, dead
-- ARGV: the marker as the caller knows it, rows or floors, then names and rows, or buckets and floors
--
-- Of two rows the one accepted in the later ballot stays, marked as a copy: this node has not voted for it. A row that
-- was only promised is taken, too: that there is no row means that nothing is under way. Of floors the greatest of
-- each part stays.
local marker = redis.call('GET', KEYS[1])
if marker ~= ARGV[1] then
  return redis.error_reply('DLOCKOUT the node rejoins otherwise: ' .. (marker or 'no marker'))
end

local NUMBER, BALLOT, KIND, COPIED = 8, 24, 65, 2

-- Of strings of one length. Not Lua's own comparison: that follows the locale.
local function less(a, b)
  for i = 1, #a do
    local x, y = string.byte(a, i), string.byte(b, i)
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

for arg = 3, #ARGV, 2 do
  local name, theirs = ARGV[arg], ARGV[arg + 1]
  if ARGV[2] == 'rows' then
    local own = redis.call('HGET', KEYS[2], name)
    local ballot = string.sub(theirs, BALLOT + 1, 2 * BALLOT)
    if not own or less(string.sub(own, BALLOT + 1, 2 * BALLOT), ballot) then
      local present = false
      if #theirs >= KIND then
        local kind = string.byte(theirs, KIND) % 2
        present = kind == 1
        theirs = ballot .. string.sub(theirs, BALLOT + 1, KIND - 1) .. string.char(kind + COPIED)
          .. string.sub(theirs, KIND + 1)
      end
      redis.call('HSET', KEYS[2], name, theirs)
      redis.call('ZADD', KEYS[4], 0, name)
      if present then
        redis.call('SREM', KEYS[5], name)
      else
        redis.call('SADD', KEYS[5], name)
      end
    end
  else
    local own = redis.call('HGET', KEYS[3], name)
    if own then
      local merged = {}
      for from = 1, #theirs, NUMBER do
        merged[#merged + 1] = max(string.sub(own, from, from + NUMBER - 1),
          string.sub(theirs, from, from + NUMBER - 1))
      end
      theirs = table.concat(merged)
    end
    redis.call('HSET', KEYS[3], name, theirs)
  end
end
return 1
