-- Opens every call of a worker: names the node, reads the change log, and pauses grants on hard limits after a failover.
--
-- KEYS: guard (named here is only what a worker may write)
-- ARGV: store, changes, position (number of the last change read, '' to start at the end), most entries, pause in ms
-- Answer: {'unready', node, time} or
--         {'ready', node, time, generation, offset or '', last number, then number, kind, id, version for each change}
local info = redis.call('INFO', 'replication')
local _, before = string.find(info, 'master_replid:', 1, true)
local node = string.match(info, '^%w+', before + 1)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local time = string.format('%.0f', now)

local store = redis.call('HMGET', ARGV[1], 'ready', 'generation', 'offset', 'changes')
if store[1] ~= '1' then
  return {'unready', node, time}
end

-- Another process than the one that granted before may have lost its last grants: the workers that hold them
-- declare them within the pause.
if redis.call('HGET', KEYS[1], 'node') ~= node then
  redis.call('HSET', KEYS[1], 'node', node, 'until', string.format('%.0f', now + tonumber(ARGV[5])))
end

local last = store[4] or '0'
local answer = {'ready', node, time, store[2], store[3] or '', last}
if ARGV[3] ~= '' and ARGV[3] ~= last then
  for _, entry in ipairs(redis.call('XRANGE', ARGV[2], '(' .. ARGV[3] .. '-0', '+', 'COUNT', ARGV[4])) do
    local fields = entry[2]
    answer[#answer + 1] = string.match(entry[1], '^%d+')
    answer[#answer + 1] = fields[2]
    answer[#answer + 1] = fields[4]
    answer[#answer + 1] = fields[6]
  end
end
return answer
