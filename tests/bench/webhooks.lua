-- The load of `tests.bench.webhooks` for wrk: requests from a file, to one server per thread, at a rate, with a clean end.
--
-- Environment:
--   LOAD_FILE     requests as they go over the wire, each behind its length in bytes and a line end
--   LOAD_RATE     requests a second of all threads together; 0 for as many as the connections can
--   LOAD_SECONDS  how long requests are begun; what is unanswered then is still awaited and counted
--   LOAD_OUTPUT   where the result goes, as JSON
--   LOAD_PORTS    of each server, separated by blanks; thread n uses the n-th
-- At a rate, every connection takes the next free moment of its thread's timetable and waits for it (open loop): a slow
-- server gets no fewer requests until all connections are busy; requests that begin late are counted.
local ffi = require("ffi")
ffi.cdef("typedef struct { long s; long ns; } auren_time; int clock_gettime(int clock, auren_time *time);")
local time = ffi.new("auren_time")
local LATE_SECONDS = 0.005

local function now()
  ffi.C.clock_gettime(1, time) -- CLOCK_MONOTONIC
  return tonumber(time.s) + tonumber(time.ns) / 1e9
end

local threads, ports = {}, {}
for port in os.getenv("LOAD_PORTS"):gmatch("%d+") do
  ports[#ports + 1] = port
end

function setup(thread)
  threads[#threads + 1] = thread
  thread:set("number", #threads)
  thread.addr = wrk.lookup(wrk.host, ports[#threads])[1]
end

local function read(path)
  local found = {}
  local file = assert(io.open(path, "rb"))
  for line in file:lines() do
    found[#found + 1] = file:read(tonumber(line))
  end
  file:close()
  return found
end

function init()
  requests = read(os.getenv("LOAD_FILE"))
  seconds = tonumber(os.getenv("LOAD_SECONDS"))
  local rate = tonumber(os.getenv("LOAD_RATE"))
  step = rate > 0 and #ports / rate or 0
  -- each thread goes through the file from another place
  at = math.floor(#requests * (number - 1) / #ports)
  late = 0
end

function delay()
  local time = now()
  if not slot then
    slot, last = time, time + seconds
  end
  if time >= last or slot >= last then
    return 3600 * 1000 -- no more: what is under way gets its answer
  end
  if step == 0 then
    return 0
  end
  local wait = slot - time
  slot = slot + step
  if wait <= 0 then
    late = late + (wait < -LATE_SECONDS and 1 or 0)
    return 0
  end
  return math.floor(wait * 1000)
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local late = 0
  for _, thread in ipairs(threads) do
    late = late + thread:get("late")
  end
  local errors = summary.errors
  local file = assert(io.open(os.getenv("LOAD_OUTPUT"), "w"))
  file:write(string.format(
    '{"answers": %d, "refused": %d, "broken": %d, "late": %d, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f}\n',
    summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout, late,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000
  ))
  file:close()
end
