-- Begin an epoch in one hash tag, unless another one than the given stands there.
-- KEYS: epoch; where all servers are named as well, those. ARGV: the epoch to begin; only after
-- which one, '' for any; the servers.
if ARGV[2] ~= '' and redis.call('GET', KEYS[1]) ~= ARGV[2] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1])
if KEYS[2] then
  redis.call('SET', KEYS[2], ARGV[3])
end
return 1
