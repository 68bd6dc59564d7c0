-- Remember answers unless their keys have one; tell the earlier ones.
-- KEYS: the bucket of each entry in this generation, then the same in each of the others.
-- ARGV: entries of 8 bytes field and 20 bytes value, in one string; seconds that buckets live.
local entries, seconds = ARGV[1], ARGV[2]
local count = #entries / 28
local earlier = {}
for i = 1, count do
  local at = (i - 1) * 28
  local field = string.sub(entries, at + 1, at + 8)
  local known = redis.call('HGET', KEYS[count + i], field)
  for other = 2 * count + i, #KEYS, count do
    known = known or redis.call('HGET', KEYS[other], field)
  end
  if not known then
    local bucket = KEYS[i]
    if redis.call('HSETNX', bucket, field, string.sub(entries, at + 9, at + 28)) == 0 then
      known = redis.call('HGET', bucket, field)
    elseif redis.call('HLEN', bucket) == 1 then
      redis.call('EXPIRE', bucket, seconds)
    end
  end
  earlier[i] = known
end
return earlier
