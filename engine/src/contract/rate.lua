-- Gives a worker units of one rate limit: one token bucket for all workers of a chain of subscriptions.
--
-- What a worker got and has not spent yet counts as if it still lay in the bucket, so that bucket and workers together
-- never hold more than the burst; hence nobody is let through more often than burst + rate × time. It may be spent for
-- the lease time from before the request was sent, and counts for as long from its execution here.
--
-- KEYS: guard (named here is only what stands in no slot of its own)
-- ARGV: 1 store   2 for a cold key its record, else ''   3 tagged prefix   4 chain ('' when the key's record names it)
--       5 worker   6 number: greater with each request of the worker   7 feature   8 units it holds
--       9 least that is of use to a request that waits   10 units that those need   11 units it would like beyond
--       12 lease time in ms   13 pause in ms for grants on hard limits, which began with another process
-- Answer: {'unready'}, {'unknown'}, {'none'} for a plan without such a limit, or
--         {'ok', units, ms until there is the least again}
-- Units are integers of 1/1000. The bucket is a field of the hash `usage`:
-- r/<feature> = level,instant,pause{;worker,number,units,until}
local prefix, chain, worker, number = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local held, least, need = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local lease_ms, pause_ms = tonumber(ARGV[12]), tonumber(ARGV[13])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local store = redis.call('HMGET', ARGV[1], 'ready', 'offset')
if store[1] ~= '1' then
  return {'unready'}
end
if chain == '' then
  chain = redis.call('HGET', ARGV[2], 'chain')
  if not chain then
    return {'unknown'}
  end
end
local usage, field = prefix .. 'usage:' .. chain, 'r/' .. ARGV[7]

-- The limit of the term that holds: terms are `from,to,units,per,burst`, separated by ';'. What it gives is counted by
-- Redis's own time, which nobody moves.
local business = now + tonumber(store[2] or '0')
local units, per, burst
for from, to, of_term, per_ms, most in string.gmatch(
    redis.call('HGET', prefix .. 'access:' .. chain, 'r/' .. ARGV[7]) or '', '(%-?%d+),(%d*),(%d+),(%d+),(%d+)') do
  if tonumber(from) <= business and (to == '' or business < tonumber(to)) then
    units, per, burst = tonumber(of_term), tonumber(per_ms), tonumber(most)
  end
end
if not units then
  return {'none'}
end

-- A bucket that was lost, or may be older than the last one that was written, is empty, and fills from when whatever was
-- got of it before is over. A bucket that nobody has used is full.
local paused = math.max(tonumber(redis.call('HGET', usage, 'p') or '0'), tonumber(redis.call('HGET', KEYS[1], 'until') or '0'))
local level, at, seen, holders = string.match(redis.call('HGET', usage, field) or '', '^([^,]+),(%d+),(%d+)(.*)$')
if tonumber(seen) ~= paused then
  level, at, holders = 0, paused > 0 and paused - pause_ms + lease_ms or 0, ''
end
level, at = tonumber(level), math.min(tonumber(at), now + pause_ms + lease_ms) -- a clock may have been set back

-- Each worker's units, those that end first before others.
local out, last, got = 0, 0, {}
for name, its_number, its_units, its_end in string.gmatch(holders, ';([^,]+),(%d+),(%d+),(%d+)') do
  got[#got + 1] = {name = name, number = tonumber(its_number), units = tonumber(its_units),
                   ends = math.min(tonumber(its_end), now + lease_ms)}
  out = out + got[#got].units
end
table.sort(got, function(one, other) return one.ends < other.ends end)

-- Fills the bucket up to an instant, beside what workers have until then.
local function fill(to)
  if at < to then
    level, at = level + (to - at) * units / per, to
  end
  level = math.max(0, math.min(level, burst - out))
end

local others = ''
for _, worker_has in ipairs(got) do
  if worker_has.ends <= now then
    fill(worker_has.ends)
    out = out - worker_has.units
  elseif worker_has.name == worker then
    last = worker_has.number
  else
    others = others .. string.format(';%s,%.0f,%.0f,%.0f', worker_has.name, worker_has.number, worker_has.units, worker_has.ends)
  end
end
-- A request that comes late, or again, tells of what was.
if number <= last then
  return {'ok', '0', '0'}
end
fill(now)

local granted = 0
if level >= least then
  local most = need + math.min(tonumber(ARGV[11]), math.max(0, level - need) / 4)
  granted = math.min(level, most)
  -- The rest of a division is of no use to any request that waits.
  granted = math.floor(granted - granted % least)
end
level = level - granted
local wait_ms = level < least and at - now + math.ceil((least - level) * per / units) or 0
redis.call('HSET', usage, field, string.format('%.17g,%.0f,%.0f%s;%s,%.0f,%.0f,%.0f', level, at, paused, others, worker,
  number, held + granted, now + lease_ms))
return {'ok', string.format('%.0f', granted), string.format('%.0f', wait_ms)}
