-- Write answers over whatever is remembered; arguments as of remember.lua.
local entries, seconds = ARGV[1], ARGV[2]
local count = #entries / 28
for i = 1, count do
  local at = (i - 1) * 28
  local field = string.sub(entries, at + 1, at + 8)
  redis.call('HSET', KEYS[i], field, string.sub(entries, at + 9, at + 28))
  if redis.call('HLEN', KEYS[i]) == 1 then
    redis.call('EXPIRE', KEYS[i], seconds)
  end
  -- The other generations are looked up first: another answer there would hide this one.
  for other = count + i, #KEYS, count do
    redis.call('HDEL', KEYS[other], field)
  end
end
return {}
