-- For wrk: POSTs of signed increments, each once, from the file $REQUESTS (a line: token TAB body). What came back is counted by status.
-- With $BODY: POSTs of that file's bytes, over and over. Else GETs. Part of scoreboard; PostgreSQL licence, see LICENSE.
local file = os.getenv("REQUESTS")
local lines = file and io.lines(file)
local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

function init()
   good, bad, first_bad = 0, 0, ""
end

if lines then
   function request()
      local line = lines()
      if not line then
         return wrk.format("GET", "/no-more-requests") -- answered 404, so the figure isn't used
      end
      local token, body = line:match("^([^\t]+)\t(.*)$")
      return wrk.format("POST", nil, { ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. token }, body)
   end
end

if os.getenv("BODY") then
   wrk.method = "POST"
   wrk.body = io.open(os.getenv("BODY")):read("a")
end

function response(status, headers, body)
   if status >= 200 and status < 300 then
      good = good + 1
   else
      bad = bad + 1
      first_bad = status .. " " .. body
   end
end

function done(summary, latency)
   local good, bad, why = 0, 0, ""
   for _, thread in ipairs(threads) do
      good = good + thread:get("good")
      bad = bad + thread:get("bad")
      why = thread:get("first_bad")
   end
   print(string.format("RESULT %d %d %.1f %.3f %.3f %.3f %s", good, bad, good / (summary.duration / 1e6),
      latency:percentile(50) / 1000, latency:percentile(95) / 1000, latency:percentile(99) / 1000, why))
end
