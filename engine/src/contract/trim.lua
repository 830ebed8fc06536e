-- Removes the counters of a closed window once the ledger holds all of them, and raises the chain's late generation,
-- under which anything that still comes for the window is counted.
--
-- KEYS: store
-- ARGV: generation, tagged prefix, chain, window, its late generation, then field and units as the ledger holds them
-- Answer: 1, or 0 when the ledger does not hold everything yet or the window still counts against a limit
local prefix, chain, window = ARGV[2], ARGV[3], ARGV[4]
local usage = prefix .. 'usage:' .. chain
local store = redis.call('HMGET', KEYS[1], 'generation', 'offset')
if store[1] ~= ARGV[1] then
  return 0
end

-- The window itself and those that carry it grant leases until a minute after their ends.
local clock = redis.call('TIME')
local business = clock[1] * 1000 + math.floor(clock[2] / 1000) + tonumber(store[2] or '0')
local meter = string.match(window, '^%d+/(.*)/%-?%d+$')
local packed = redis.call('HGET', prefix .. 'access:' .. chain, 'm/' .. meter) or ''
for from, to, epoch, carried in string.gmatch(packed, '(%-?%d+),(%d+),%d*,(%d+),([^;]*)') do
  local counted = ' ' .. epoch .. '/' .. meter .. '/' .. from .. ' ' .. carried .. ' '
  if business - 60000 < tonumber(to) and string.find(counted, ' ' .. window .. ' ', 1, true) then
    return 0
  end
end

-- Another late generation was counted after these units were removed before.
local late = redis.call('HGET', usage, 'n/' .. window)
if late and late ~= ARGV[5] then
  return 0
end
local held = {}
for at = 6, #ARGV, 2 do
  held[ARGV[at]] = tonumber(ARGV[at + 1])
end
local fields = {}
for _, field in ipairs(redis.call('HKEYS', usage)) do
  local rest = string.sub(field, 3)
  if rest == window or string.sub(rest, 1, #window + 1) == window .. '/' then
    if string.sub(field, 1, 2) == 't/' or string.sub(field, 1, 2) == 'h/' and tonumber(redis.call('HGET', usage, field)) > (held[field] or -1) then
      return 0
    end
    fields[#fields + 1] = field
  end
end
if #fields == 0 then
  return 1
end
for _, field in ipairs(fields) do
  redis.call('HDEL', usage, field)
  redis.call('SREM', prefix .. 'dirty:' .. chain, field)
end
redis.call('HINCRBY', usage, 'late', 1)
return 1
