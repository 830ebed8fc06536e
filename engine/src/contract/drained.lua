-- Takes counters off the list of what the ledger must still read, unless they have grown since.
--
-- KEYS: pending
-- ARGV: tagged prefix, chain, then field and units as the ledger holds them
-- Answer: how many counters are still to be read
local usage, dirty = ARGV[1] .. 'usage:' .. ARGV[2], ARGV[1] .. 'dirty:' .. ARGV[2]
for at = 3, #ARGV, 2 do
  if (redis.call('HGET', usage, ARGV[at]) or ARGV[at + 1]) == ARGV[at + 1] then
    redis.call('SREM', dirty, ARGV[at])
  end
end
local left = redis.call('SCARD', dirty)
if left == 0 then
  redis.call('SREM', KEYS[1], ARGV[1] .. ' ' .. ARGV[2])
end
return left
