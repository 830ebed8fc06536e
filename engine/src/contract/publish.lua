-- Writes one document of the control plane and tells the workers, unless a newer one stands there already.
--
-- KEYS: store, changes, the document's hash
-- ARGV: kind ('s' subscription, 'k' key), id, version, most entries of the change log, then the hash's fields and values
-- Answer: the number of the change, 0 when the version that stands there is not older
local version = tonumber(ARGV[3])
if tonumber(redis.call('HGET', KEYS[3], 'version') or '0') >= version then
  return 0
end

local keep = {version = true}
redis.call('HSET', KEYS[3], 'version', ARGV[3])
for at = 5, #ARGV, 2 do
  keep[ARGV[at]] = true
  redis.call('HSET', KEYS[3], ARGV[at], ARGV[at + 1])
end
for _, field in ipairs(redis.call('HKEYS', KEYS[3])) do
  if not keep[field] then
    redis.call('HDEL', KEYS[3], field)
  end
end

local number = redis.call('HINCRBY', KEYS[1], 'changes', 1)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], string.format('%.0f-0', number),
  'kind', ARGV[1], 'id', ARGV[2], 'version', ARGV[3])
return number
