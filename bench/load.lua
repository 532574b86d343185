-- For wrk: ask for a token again and again, and write every answer down so that it can be checked afterwards.
-- LOAD_FORM, LOAD_AUTHORIZATION and LOAD_ANSWERS come from token_endpoint.py.
local answers

function init()
  answers = assert(io.open(os.getenv("LOAD_ANSWERS"), "w"))
  answers:setvbuf("full", 1048576)
  wrk.method = "POST"
  wrk.body = os.getenv("LOAD_FORM")
  wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
  wrk.headers["Authorization"] = os.getenv("LOAD_AUTHORIZATION")
end

local written = 0

function response(status, headers, body)
  answers:write(status, " ", (body:gsub("[\r\n]", " ")), "\n")
  written = written + 1
  -- wrk leaves without closing files: what is not flushed is lost, and then missed by the check.
  if written % 32 == 0 then answers:flush() end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "errors": %d, "p50_ms": %.3f, "p99_ms": %.3f}\n',
    summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
