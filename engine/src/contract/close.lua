-- Begins another life of a store: not ready, and without what an earlier one left behind.
--
-- KEYS: store
-- ARGV: generation, then names to remove
-- Answer: 1, or 0 when a later life has begun or this one is open
local current = tonumber(redis.call('HGET', KEYS[1], 'generation') or '0') or 0
local mine = tonumber(ARGV[1])
if current > mine or current == mine and redis.call('HGET', KEYS[1], 'ready') == '1' then
  return 0
end
if current < mine then
  redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'ready', '0')
end
for at = 2, #ARGV do
  redis.call('UNLINK', ARGV[at])
end
return 1
