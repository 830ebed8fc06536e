-- Marks a store ready once everything the ledger knows stands in it.
--
-- KEYS: store, guard
-- ARGV: generation, pause in ms for grants on hard limits (0 for a store no worker has used)
-- Answer: 1, or 0 when the store is not the generation that was written (it was lost again meanwhile)
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then
  return 0
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local node = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
local pause_ms = tonumber(ARGV[2])
redis.call('HSET', KEYS[2], 'node', node, 'until', pause_ms > 0 and string.format('%.0f', now + pause_ms) or '0')
redis.call('HSET', KEYS[1], 'ready', '1')
return 1
