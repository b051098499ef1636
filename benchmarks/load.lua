-- Sends prepared requests in turn and prints what happened as one line of JSON.
-- Arguments: a file of whole HTTP requests, each after a line with its length in bytes.

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } timespec;
  int clock_gettime(int clock, timespec *time);
]]
local MONOTONIC = 1
local time = ffi.new("timespec")

local requests = {}
local turn = 0
local threads = {}

local function now()
  ffi.C.clock_gettime(MONOTONIC, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  for line in function() return file:read("*l") end do
    table.insert(requests, file:read(tonumber(line)))
  end
  file:close()
end

-- In a closed loop the next request follows an answer, so the latest request tells when the latest answer came.
function request()
  latest = now()
  first = first or latest
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  local thread = threads[1]
  io.write(string.format(
    '{"answers": %d, "seconds": %.6f, "p50": %.6f, "p99": %.6f, "refused": %d, "broken": %d}\n',
    summary.requests, thread:get("latest") - thread:get("first"),
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
