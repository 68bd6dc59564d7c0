-- Publish an allocation with its configuration unless a higher version stands there, or newer
-- evidence of this one. Clocks are not asked: the revision of the evidence tells which is newer.
-- KEYS: allocation; its configuration; the configuration two revisions ago.
-- ARGV: version; evidence revision; allocation; configuration; seconds that an old configuration
-- is still kept.
local standing = redis.call('HMGET', KEYS[1], 'version', 'evidence')
local ahead = tonumber(standing[1] or '0') - tonumber(ARGV[1])
if ahead > 0 or (ahead == 0 and tonumber(standing[2] or '0') > tonumber(ARGV[2])) then
  return 0
end
redis.call('SET', KEYS[2], ARGV[4])
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'evidence', ARGV[2], 'body', ARGV[3])
redis.call('EXPIRE', KEYS[3], ARGV[5])
return 1
