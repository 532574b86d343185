-- For wrk: the same closed loop as bench/load.py, over the same plan: `wrk -s load.lua URL -- PLAN ANSWERS`.
-- Lines of a plan: tab-separated method, path, headers joined by "|", body. Its first line names the mode.
local mode, entries, answers, then_entry, template
local next_entry, waiting, first, last = 1, {}, 1, 0
local seen, written, bodies = {}, 0, 0

local function split(line)
  local fields = {}
  for field in (line .. "\t"):gmatch("([^\t]*)\t") do fields[#fields + 1] = field end
  return fields
end

local function read_headers(text)
  local headers = {}
  for name, value in text:gmatch("([^:|]+): ([^|]*)") do headers[name] = value end
  return headers
end

-- First in, first out: whoever has waited longest is next, so that nobody comes twice in a moment.
local function keep(value)
  last = last + 1
  waiting[last] = value
end

function init(args)
  answers = assert(io.open(args[2], "w"))
  answers:setvbuf("full", 1048576)
  entries = {}
  for line in io.lines(args[1]) do
    if mode == nil then
      mode = line
    else
      local method, path, headers, body = unpack(split(line))
      local entry = { method, path, read_headers(headers), body ~= "" and body or nil }
      if method == "THEN" then
        then_entry = { "POST", path, entry[3], body }
      elseif method == "SEED" then
        keep(path)
      else
        entries[#entries + 1] = wrk.format(method, path, entry[3], entry[4])
      end
    end
  end
end

local function take()
  local request = entries[next_entry]
  next_entry = next_entry % #entries + 1
  return request
end

function request()
  if first <= last then
    local found = waiting[first]
    waiting[first] = nil
    first = first + 1
    local before, after = then_entry[4]:match("^(.-){}(.*)$")
    return wrk.format(then_entry[1], then_entry[2], then_entry[3], before .. found .. after)
  end
  return take()
end

local function find_location(headers)
  return headers["Location"] or headers["location"] or ""
end

function response(status, headers, body)
  local text = body
  if mode == "code" and status >= 300 and status < 400 then
    text = find_location(headers)
    local code = text:match("[?&]code=([^&#]+)")
    if code then keep(code) end
  elseif mode == "refresh" then
    local token = body:match('"refresh_token"%s*:%s*"([^"]+)"')
    if token then keep(token) end
  end
  if mode == "repeat" then
    if seen[body] == nil then
      bodies = bodies + 1
      seen[body] = bodies
      answers:write(status, "\t", (body:gsub("[\r\n\t]", " ")), "\n")
    else
      answers:write(status, "\t#", seen[body], "\n")
    end
  else
    answers:write(status, "\t", (text:gsub("[\r\n\t]", " ")), "\n")
  end
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
