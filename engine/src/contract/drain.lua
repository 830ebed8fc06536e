-- Reads, at one instant, every counter of a chain that changed since the ledger last held it, and how far each worker has come.
--
-- KEYS: store
-- ARGV: tagged prefix, chain, most age of a worker's record in ms, after how long in ms a silent worker's claims are
--       recorded for it
-- Answer: {generation, {worker, sequence number, …}, {field, late generation, units, …}}; fields are h/<window>/<hour>/<key>
local prefix, chain = ARGV[1], ARGV[2]
local usage, workers, seen = prefix .. 'usage:' .. chain, prefix .. 'workers:' .. chain, prefix .. 'seen:' .. chain
local dirty = prefix .. 'dirty:' .. chain
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local oldest = string.format('%.0f', now - tonumber(ARGV[3]))

for _, worker in ipairs(redis.call('ZRANGEBYSCORE', seen, '-inf', oldest)) do
  redis.call('HDEL', workers, worker)
  redis.call('HDEL', usage, 'a/' .. worker)
  redis.call('ZREM', seen, worker)
end

local sequences = {}
local records = redis.call('HGETALL', workers)
for at = 1, #records, 2 do
  sequences[#sequences + 1] = records[at]
  sequences[#sequences + 1] = string.match(records[at + 1], '^%d+')
end

-- Whether a worker was silent for that long while Redis was drained: a/ says since when nothing came of it. Time in
-- which Redis was away does not count.
local function is_gone(worker)
  local since = tonumber(redis.call('HGET', usage, 'a/' .. worker) or '0')
  if tonumber(redis.call('ZSCORE', seen, worker) or '0') > since then
    redis.call('HSET', usage, 'a/' .. worker, string.format('%.0f', now))
    return false
  end
  return now - since >= tonumber(ARGV[4])
end

-- What gateways that are gone had claimed may have been answered, so it is recorded.
for _, field in ipairs(redis.call('SMEMBERS', dirty)) do
  local counter, worker = string.match(field, '^t/(.*)/([^/]+)$')
  local units = counter and redis.call('HGET', usage, field)
  if counter and not units then
    redis.call('SREM', dirty, field)
  elseif counter and is_gone(worker) then
    redis.call('HINCRBY', usage, 'h/' .. counter, units)
    redis.call('HINCRBY', usage, 's/' .. counter .. '/' .. worker, units)
    redis.call('HINCRBY', usage, 'p/' .. string.match(counter, '^(.*)/[^/]+/[^/]+$'), '-' .. units)
    redis.call('HDEL', usage, field)
    redis.call('SREM', dirty, field)
    redis.call('SADD', dirty, 'h/' .. counter)
  end
end

local counters = {}
for _, field in ipairs(redis.call('SMEMBERS', dirty)) do
  local units = string.sub(field, 1, 2) == 'h/' and redis.call('HGET', usage, field)
  if units then
    counters[#counters + 1] = field
    counters[#counters + 1] = redis.call('HGET', usage, 'n/' .. string.match(field, '^h/(.*)/[^/]+/[^/]+$')) or '0'
    counters[#counters + 1] = units
  end
end
return {redis.call('HGET', KEYS[1], 'generation') or '', sequences, counters}
