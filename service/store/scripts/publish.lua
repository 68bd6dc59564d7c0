-- Publish an allocation with its configuration unless a higher version stands there.
-- KEYS: allocation; its configuration; the configuration two revisions ago.
-- ARGV: version; allocation; configuration; seconds that an old configuration is still kept.
local standing = redis.call('HGET', KEYS[1], 'version')
if standing and tonumber(standing) > tonumber(ARGV[1]) then
  return 0
end
redis.call('SET', KEYS[2], ARGV[3])
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'body', ARGV[2])
redis.call('EXPIRE', KEYS[3], ARGV[4])
return 1
