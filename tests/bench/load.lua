-- For wrk. `wrk ... URL -- FILE` asks for what FILE's lines (method, target, body if any) say, in turn; without FILE
-- for URL itself. All requests are built before the clock starts. Ends with one line of JSON; times are microseconds.

function init(args)
   if not args[1] then return end
   local prepared = {}
   for line in io.lines(args[1]) do
      local method, target, body = line:match("^(%S+) (%S+) ?(.*)$")
      local headers = body ~= "" and { ["Content-Type"] = "application/json" } or nil
      prepared[#prepared + 1] = wrk.format(method, target, headers, body ~= "" and body or nil)
   end
   local count, last = #prepared, 0
   function request()
      last = last % count + 1
      return prepared[last]
   end
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format(
      '{"requests":%d,"duration":%d,"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d},' ..
      '"p50":%.0f,"p90":%.0f,"p99":%.0f,"p999":%.0f,"max":%.0f}\n',
      summary.requests, summary.duration, e.connect, e.read, e.write, e.status, e.timeout, latency:percentile(50),
      latency:percentile(90), latency:percentile(99), latency:percentile(99.9), latency.max))
end
