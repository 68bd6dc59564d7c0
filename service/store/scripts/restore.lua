-- Write answers over whatever is remembered; arguments as of remember.lua.
local count, entries, seconds = #KEYS / 2, ARGV[1], ARGV[2]
for i = 1, count do
  local at = (i - 1) * 28
  local field = string.sub(entries, at + 1, at + 8)
  redis.call('HSET', KEYS[i], field, string.sub(entries, at + 9, at + 28))
  if redis.call('HLEN', KEYS[i]) == 1 then
    redis.call('EXPIRE', KEYS[i], seconds)
  end
  -- The generation before is looked up first: another answer there would hide this one.
  redis.call('HDEL', KEYS[count + i], field)
end
return {}
