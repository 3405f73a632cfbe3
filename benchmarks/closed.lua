-- wrk's script: posts images in turn, and says what completed within a window of the monotonic clock.
-- wrk's own average counts the whole run, in which the last batch is always lost; see rates.py.
-- Arguments: the window's start and end in seconds, and a file that lists the images, one a line.

local ffi = require("ffi")
ffi.cdef [[
typedef struct { long s; long ns; } monotonic_t;
int clock_gettime(int clock, monotonic_t *time);
]]
local CLOCK_MONOTONIC = 1
local now = ffi.new("monotonic_t")
local requests, following = {}, 0
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  from, to = tonumber(arguments[1]), tonumber(arguments[2])
  -- Sums of the least-squares line through (time, running count); globals, so that done() can get them.
  n, st, si, stt, sti, failed = 0, 0, 0, 0, 0, 0
  for path in io.lines(arguments[3]) do
    local file = assert(io.open(path, "rb"))
    requests[#requests + 1] = wrk.format("POST", nil, { ["Content-Type"] = "image/jpeg" }, file:read("*a"))
    file:close()
  end
end

function request()
  following = following % #requests + 1
  return requests[following]
end

function response(status)
  ffi.C.clock_gettime(CLOCK_MONOTONIC, now)
  local t = tonumber(now.s) + tonumber(now.ns) * 1e-9
  if t < from or t > to then return end
  if status ~= 200 then
    failed = failed + 1
    return
  end
  t = t - from
  st, si, stt, sti = st + t, si + n, stt + t * t, sti + t * n
  n = n + 1
end

function done(summary, latency)
  local rate, answered, refused = 0, 0, summary.errors.connect + summary.errors.read + summary.errors.write
  for _, thread in ipairs(threads) do
    local count = thread:get("n")
    answered, refused = answered + count, refused + thread:get("failed")
    local variance = count * thread:get("stt") - thread:get("st") ^ 2
    if variance > 0 then
      rate = rate + (count * thread:get("sti") - thread:get("st") * thread:get("si")) / variance
    end
  end
  io.write(string.format('\n{"images_per_s": %.6f, "p50_ms": %.6f, "p99_ms": %.6f, "answered": %d, "failed": %d}\n',
    rate, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, answered, refused))
end
