-- Writes what the ledger holds of a window beside what this life of the store counted: of earlier lives, and of events.
--
-- KEYS: store
-- ARGV: generation, tagged prefix, chain, window, units
-- Answer: 1, or 0 when the store is of another generation or not open: what fills it writes that, too
local store = redis.call('HMGET', KEYS[1], 'generation', 'ready')
if store[1] ~= ARGV[1] or store[2] ~= '1' then
  return 0
end
redis.call('HSET', ARGV[2] .. 'usage:' .. ARGV[3], 'b/' .. ARGV[4], ARGV[5])
return 1
