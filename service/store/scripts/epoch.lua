-- Tell the epoch of this very server, '' if it began elsewhere; begin another one if that is given.
-- A failover or a restart leaves the mark of a memory that may have lost its last writes.
-- KEYS: epoch; the server it began on. ARGV: the epoch to begin, or nothing;
-- only after which one, or nothing.
if redis.replicate_commands then
  redis.replicate_commands() -- Before Redis 7, no write may follow INFO without it.
end
local function told(section, field)
  local info = redis.pcall('INFO', section)
  if type(info) ~= 'string' then
    return '' -- Not allowed: then only the loss of the mark itself is noticed.
  end
  return string.match(info, field .. ':(%w+)') or ''
end
-- The first changes with every start, the second with every promotion too.
local server = told('server', 'run_id') .. ':' .. told('replication', 'master_replid')
local epoch = redis.call('GET', KEYS[2]) == server and redis.call('GET', KEYS[1]) or ''
if ARGV[1] and (not ARGV[2] or ARGV[2] == epoch) then
  redis.call('MSET', KEYS[1], ARGV[1], KEYS[2], server)
  return ARGV[1]
end
return epoch
