-- Sends POST /choose, each with a new unit and an occasion, over EXPERIMENTS experiments in turn.
-- Arguments: host, prefix of the experiments, how many, tag of this run, API key or nothing.
-- wrk looks for done before it passes any argument.
done = dofile(debug.getinfo(1, "S").source:match("@(.*/)") .. "summary.lua")
local prefix, experiments, tag, head, asked

function init(args)
  prefix, experiments, tag = args[2], tonumber(args[3]), args[4]
  asked = 0
  -- Every body has the same length, so that the head is made once.
  local body = make_body(0)
  local key = args[5] and #args[5] > 0 and "\r\nAuthorization: Bearer " .. args[5] or ""
  head = "POST /choose HTTP/1.1\r\nHost: " .. args[1] ..
    key .. "\r\nContent-Type: application/json\r\nContent-Length: " .. #body .. "\r\n\r\n"
end

function make_body(number)
  return string.format(
    '{"experiment":"%s%04d","unit":"%s%09d","occasion":"2026-11-24"}',
    prefix, number % experiments, tag, number)
end

function request()
  asked = asked + 1
  return head .. make_body(asked)
end
