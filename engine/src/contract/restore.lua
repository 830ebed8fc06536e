-- Writes what the ledger holds of a chain into a store that is being filled.
--
-- KEYS: store
-- ARGV: generation, tagged prefix, chain, its late generation, then
--       'b', window, units        what the ledger holds of a window from earlier generations
--       'w', worker, number       the last batch of a worker that the ledger holds
-- Answer: 1, or 0 when the store is of another generation or open
local prefix, chain = ARGV[2], ARGV[3]
local store = redis.call('HMGET', KEYS[1], 'generation', 'ready')
if store[1] ~= ARGV[1] or store[2] == '1' then
  return 0
end
local clock = redis.call('TIME')
local now = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))
redis.call('HSET', prefix .. 'usage:' .. chain, 'late', ARGV[4])
for at = 5, #ARGV, 3 do
  if ARGV[at] == 'b' then
    redis.call('HSET', prefix .. 'usage:' .. chain, 'b/' .. ARGV[at + 1], ARGV[at + 2])
  else
    redis.call('HSET', prefix .. 'workers:' .. chain, ARGV[at + 1], ARGV[at + 2] .. ',' .. now .. ',')
    redis.call('ZADD', prefix .. 'seen:' .. chain, now, ARGV[at + 1])
  end
end
return 1
