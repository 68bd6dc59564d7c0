-- Sends POST /reward, each with a decision id of its own, read from a file with one a line.
-- Arguments: host, file.
-- wrk looks for done before it passes any argument.
done = dofile(debug.getinfo(1, "S").source:match("@(.*/)") .. "summary.lua")
local tokens, head, asked

function init(args)
  tokens, asked = {}, 0
  for line in io.lines(args[2]) do
    tokens[#tokens + 1] = line
  end
  head = "POST /reward HTTP/1.1\r\nHost: " .. args[1] ..
    "\r\nContent-Type: application/json\r\nContent-Length: " .. #make_body(tokens[1]) .. "\r\n\r\n"
end

function make_body(token)
  return '{"decision_id":"' .. token .. '"}'
end

function request()
  -- Past the end the ids come again: loadtests/wrk.py sees that from the count and refuses the run.
  asked = asked % #tokens + 1
  return head .. make_body(tokens[asked])
end
