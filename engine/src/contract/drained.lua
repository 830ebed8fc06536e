-- Takes counters off the list of what the ledger must still read, unless they have changed since.
--
-- KEYS: store, pending
-- ARGV: generation, tagged prefix, chain, then field, late generation and units of each counter as the drain answered them
-- Answer: how many counters are still to be read
local prefix, chain = ARGV[2], ARGV[3]
local usage, dirty = prefix .. 'usage:' .. chain, prefix .. 'dirty:' .. chain
if redis.call('HGET', KEYS[1], 'generation') == ARGV[1] then
  for at = 4, #ARGV, 3 do
    local late = 'n/' .. string.match(ARGV[at], '^h/(.*)/[^/]+/[^/]+$')
    local current = redis.call('HMGET', usage, late, ARGV[at])
    if (current[1] or '0') == ARGV[at + 1] and current[2] == ARGV[at + 2] then
      redis.call('SREM', dirty, ARGV[at])
    end
  end
end
local left = redis.call('SCARD', dirty)
if left == 0 then
  redis.call('SREM', KEYS[2], prefix .. ' ' .. chain)
end
return left
