-- Requests with API keys from the file that is the first argument: the same one each time, or each in its turn, in an
-- order that differs from run to run. Prints what the benchmark reads, since wrk itself prints rounded figures.
local requests, at = {}, 0

init = function(arguments)
  for key in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format('GET', wrk.path, {host = wrk.host, authorization = 'Bearer ' .. key})
  end
  if #requests > 1 then
    math.randomseed(os.time())
    at = math.random(#requests)
    request = function()
      at = at % #requests + 1
      return requests[at]
    end
    for place = #requests, 2, -1 do
      local other = math.random(place)
      requests[place], requests[other] = requests[other], requests[place]
    end
  else
    request = function()
      return requests[1]
    end
  end
end

done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "failed": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
