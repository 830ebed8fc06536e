-- Removes the counters of a closed window once the ledger holds all of them, and raises the chain's late generation,
-- under which anything that still comes for the window is counted.
--
-- ARGV: tagged prefix, chain, window, then field and units as the ledger holds them
-- Answer: 1, or 0 when the ledger does not hold everything yet
local usage, window = ARGV[1] .. 'usage:' .. ARGV[2], ARGV[3]
local held = {}
for at = 4, #ARGV, 2 do
  held[ARGV[at]] = tonumber(ARGV[at + 1])
end

local fields = {}
for _, field in ipairs(redis.call('HKEYS', usage)) do
  local rest = string.sub(field, 3)
  if rest == window or string.sub(rest, 1, #window + 1) == window .. '/' then
    if string.sub(field, 1, 2) == 'h/' and tonumber(redis.call('HGET', usage, field)) > (held[field] or -1) then
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
  redis.call('SREM', ARGV[1] .. 'dirty:' .. ARGV[2], field)
end
redis.call('HINCRBY', usage, 'late', 1)
return 1
