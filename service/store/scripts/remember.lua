-- Remember answers unless their keys have one; tell the earlier ones.
-- KEYS: the bucket of each entry in this generation, then the same in the one before.
-- ARGV: entries of 8 bytes field and 20 bytes value, in one string; seconds that buckets live.
local count, entries, seconds = #KEYS / 2, ARGV[1], ARGV[2]
local earlier = {}
for i = 1, count do
  local at = (i - 1) * 28
  local field = string.sub(entries, at + 1, at + 8)
  local known = redis.call('HGET', KEYS[count + i], field)
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
