-- Tell which server this is, and which run of it, and what its keys hold.
-- KEYS: any of one hash tag, or none.
local function told(section, field)
  local info = redis.pcall('INFO', section)
  if type(info) ~= 'string' then
    return '' -- Not allowed: then only the loss of a mark itself is noticed.
  end
  return string.match(info, field .. ':(%w+)') or ''
end
-- The first changes with every start, the second with every promotion too.
local found = { told('server', 'run_id') .. ':' .. told('replication', 'master_replid') }
for i = 1, #KEYS do
  found[i + 1] = redis.call('GET', KEYS[i]) or ''
end
return found
