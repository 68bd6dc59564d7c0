-- Tell the epoch, the newest sequence, and what was announced after a cursor, with its sequences.
-- KEYS: list, sequence, epoch. ARGV: the caller's epoch and cursor; how many at most.
local epoch = redis.call('GET', KEYS[3]) or ''
local newest = redis.call('GET', KEYS[2]) or '0'
local since = ARGV[2]
-- A cursor ahead of the sequence is from before a loss that no epoch was begun after.
if epoch ~= ARGV[1] or tonumber(since) > tonumber(newest) then
  since = '0'
end
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. since, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
return { epoch, newest, found }
