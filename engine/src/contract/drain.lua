-- Reads, at one instant, every counter of a chain that changed since the ledger last held it, and how far each worker has come.
--
-- KEYS: store
-- ARGV: tagged prefix, chain, most age of a worker's record in ms
-- Answer: {generation, {worker, sequence number, …}, {field, late generation, units, …}}; fields are h/<window>/<hour>/<key>
local prefix, chain = ARGV[1], ARGV[2]
local usage, workers, seen = prefix .. 'usage:' .. chain, prefix .. 'workers:' .. chain, prefix .. 'seen:' .. chain
local clock = redis.call('TIME')
local oldest = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000) - tonumber(ARGV[3]))

for _, worker in ipairs(redis.call('ZRANGEBYSCORE', seen, '-inf', oldest)) do
  redis.call('HDEL', workers, worker)
  redis.call('ZREM', seen, worker)
end

local sequences = {}
local records = redis.call('HGETALL', workers)
for at = 1, #records, 2 do
  sequences[#sequences + 1] = records[at]
  sequences[#sequences + 1] = string.match(records[at + 1], '^%d+')
end

local counters = {}
for _, field in ipairs(redis.call('SMEMBERS', prefix .. 'dirty:' .. chain)) do
  local units = redis.call('HGET', usage, field)
  if units then
    counters[#counters + 1] = field
    counters[#counters + 1] = redis.call('HGET', usage, 'n/' .. string.match(field, '^h/(.*)/[^/]+/[^/]+$')) or '0'
    counters[#counters + 1] = units
  end
end
return {redis.call('HGET', KEYS[1], 'generation') or '', sequences, counters}
