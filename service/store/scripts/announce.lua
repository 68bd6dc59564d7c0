-- Put an experiment at the end of the change list.
-- KEYS: list, sequence. ARGV: experiment.
local sequence = redis.call('INCR', KEYS[2])
redis.call('ZADD', KEYS[1], sequence, ARGV[1])
return sequence
