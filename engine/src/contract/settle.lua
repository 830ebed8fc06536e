-- One batch of one worker for one chain of subscriptions: counts what was consumed, takes back what was not spent,
-- grants new leases, and brings the documents the worker does not have. A batch counts once however often it is sent.
--
-- KEYS: store, guard, pending, and for a cold key its record
-- ARGV: 1 tagged prefix   2 chain ('' when the key's record names it)   3 worker   4 sequence number (0: look only)
--       5 version of the access document the worker has   6 'next' or 'restart' (accept any later number)
--       7 'hold' or 'return'   8 lease time in ms, then the batch:
--       'c', window, hour, key, units      consumed from a lease
--       'u', window, hour, key, units      consumed without one
--       'r', window, units                 returned
--       'd', window, units                 declared: what the worker holds after this batch
--       'w', meter, window, need, want     wanted: `need` by requests that wait, up to `want` in all; window '' is the current one
-- Answer: {'unready'}, {'unknown'} or
--         {'ok' | 'again' | 'gap' | 'stale', last number, version, access document or '', key document or '', pause in ms,
--          then for each window asked about: window, granted, remaining or '', leased to others, used, 1 when others wait}
-- Units are integers of 1/1000. A window's counters in the hash `usage`: b/ base (held by the ledger from earlier
-- generations), c/ consumed, o/ leased out, l/ leased to one worker, h/ consumed by hour and key, n/ late generation,
-- q/ when a worker last had to wait. Granted is b + c + o.
local prefix, chain, worker, sequence = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local lease_ms = tonumber(ARGV[8])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local store = redis.call('HMGET', KEYS[1], 'ready', 'offset')
if store[1] ~= '1' then
  return {'unready'}
end
local business = now + tonumber(store[2] or '0')

local key_document = ''
if chain == '' then
  local record = redis.call('HMGET', KEYS[4], 'chain', 'doc')
  if not record[1] then
    return {'unknown'}
  end
  chain, key_document = record[1], record[2]
end

local access, usage = prefix .. 'access:' .. chain, prefix .. 'usage:' .. chain
local workers, seen = prefix .. 'workers:' .. chain, prefix .. 'seen:' .. chain
local dirty, leases = prefix .. 'dirty:' .. chain, prefix .. 'leases:' .. chain

local function whole(number)
  return string.format('%.0f', number)
end

local function counter(field)
  return tonumber(redis.call('HGET', usage, field) or '0')
end

local function holds(window, holder, units)
  local field = 'l/' .. window .. '/' .. holder
  local before = counter(field)
  if units == before then
    return
  end
  redis.call('HINCRBY', usage, 'o/' .. window, whole(units - before))
  if units == 0 then
    redis.call('HDEL', usage, field)
  else
    redis.call('HSET', usage, field, whole(units))
  end
end

local function gives_up(window, units)
  local held = counter('l/' .. window .. '/' .. worker)
  holds(window, worker, held - math.min(held, units))
end

local function consume(window, hour, key, units)
  local field = 'h/' .. window .. '/' .. hour .. '/' .. key
  redis.call('HINCRBY', usage, field, whole(units))
  if redis.call('HINCRBY', usage, 'c/' .. window, whole(units)) == units then
    redis.call('HSETNX', usage, 'n/' .. window, redis.call('HGET', usage, 'late') or '0')
  end
  redis.call('SADD', dirty, field)
  redis.call('SADD', KEYS[3], prefix .. ' ' .. chain)
end

-- The window of a meter with this id, or the current one, with those that carry it and have begun. Entries of a meter
-- are `start,end,limit,epoch,carried windows` in order of time, separated by ';'.
local function find_window(meter, wanted)
  local found
  for from, to, limit, epoch, carried in
      string.gmatch(redis.call('HGET', access, 'm/' .. meter) or '', '(%-?%d+),(%d+),(%d*),(%d+),([^;]*)') do
    local starts, ends, id = tonumber(from), tonumber(to), epoch .. '/' .. meter .. '/' .. from
    if found and starts > business then
      break
    elseif found and string.find(' ' .. carried .. ' ', ' ' .. found.id .. ' ', 1, true) then
      table.insert(found.carriers, {id = id, limit = tonumber(limit), carried = carried})
    elseif not found and (id == wanted or wanted == '' and starts <= business and business < ends) then
      found = {id = id, limit = tonumber(limit), carried = carried, carriers = {},
               open = starts <= business + 5000 and business - 60000 < ends}
    end
  end
  return found
end

-- Used and leased units that count against a window: its own and those of the windows it carries.
local function totals(window)
  local used, leased = 0, 0
  for id in string.gmatch(window.id .. ' ' .. window.carried, '%S+') do
    local fields = redis.call('HMGET', usage, 'b/' .. id, 'c/' .. id, 'o/' .. id)
    used = used + tonumber(fields[1] or '0') + tonumber(fields[2] or '0')
    leased = leased + tonumber(fields[3] or '0')
  end
  return used, leased
end

-- Units of a window that nobody has, nor anybody of a window that carries it; nil without a limit.
local function room(window, used, leased)
  local left = window.limit and window.limit - used - leased
  for _, carrier in ipairs(left and window.carriers or {}) do
    local carrier_used, carrier_leased = totals(carrier)
    left = math.min(left, (carrier.limit or math.huge) - carrier_used - carrier_leased)
  end
  return left and math.max(0, left)
end

local function expire_leases()
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', whole(now))) do
    local window, holder = string.match(member, '^(.*)/([^/]+)$')
    holds(window, holder, 0)
    redis.call('ZREM', leases, member)
  end
end

local paused = math.max(counter('p'), tonumber(redis.call('HGET', KEYS[2], 'until') or '0')) - now

-- A lease is at most what the worker asks for and its share of the rest, but as much as waiting requests need. Who asks
-- for whole units gets a whole share, since the fraction of one would be of no use to anybody.
local function size_of(left, need, want)
  local share = math.floor(left / (4 * math.max(1, redis.call('ZCOUNT', seen, whole(now - 60000), '+inf'))))
  if want % 1000 == 0 then
    share = share - share % 1000
  end
  return math.max(math.min(want, share), math.min(need, left))
end

local answer = {}
local granted_now = {}

local function report(window, granted, used, leased)
  local left = room(window, used, leased)
  local others = leased - counter('l/' .. window.id .. '/' .. worker)
  local waited = counter('q/' .. window.id)
  for _, value in ipairs({window.id, whole(granted), left and whole(left) or '', whole(others), whole(used),
                          (waited > 0 and now - waited < 2000) and '1' or '0'}) do
    answer[#answer + 1] = value
  end
end

local function grant(meter, wanted, need, want)
  local window = find_window(meter, wanted)
  if not window then
    return
  end
  local granted = 0
  local used, leased = totals(window)
  if window.limit and window.open and paused <= 0 and (need > 0 or want > 0) then
    granted = size_of(room(window, used, leased), need, want)
    local held = counter('l/' .. window.id .. '/' .. worker)
    holds(window.id, worker, held + granted)
    if granted > 0 and ARGV[7] == 'return' then
      redis.call('ZADD', leases, whole(now + lease_ms), window.id .. '/' .. worker)
    end
    if granted < need and leased > held then
      redis.call('HSET', usage, 'q/' .. window.id, whole(now))
    end
  end
  granted_now[#granted_now + 1] = meter .. ' ' .. window.id .. ' ' .. whole(granted)
  report(window, granted, used, leased + granted)
end

local last, first_answer = 0, ''
local record = redis.call('HGET', workers, worker)
if record then
  last, first_answer = string.match(record, '^(%d+),%d+,(.*)$')
  last = tonumber(last)
end

local status = 'ok'
if sequence == 0 then
  sequence = last
elseif sequence == last then
  status = 'again'
  for meter, id, granted in string.gmatch(first_answer, '([^ ;]+) (%S+) (%d+)') do
    local window = find_window(meter, id) or {id = id, limit = 0, carried = '', carriers = {}}
    report(window, tonumber(granted), totals(window))
  end
elseif sequence < last then
  status = 'stale'
elseif sequence > last + 1 and ARGV[6] ~= 'restart' then
  status = 'gap'
  paused = math.max(paused, lease_ms)
  redis.call('HSET', usage, 'p', whole(now + paused))
else
  last = sequence
  redis.call('ZADD', seen, whole(now), worker)
  if ARGV[7] == 'return' then
    expire_leases()
  end
  local at = 9
  while ARGV[at] do
    local kind = ARGV[at]
    if kind == 'c' or kind == 'u' then
      if kind == 'c' then
        gives_up(ARGV[at + 1], tonumber(ARGV[at + 4]))
      end
      consume(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4]))
      at = at + 5
    elseif kind == 'r' then
      gives_up(ARGV[at + 1], tonumber(ARGV[at + 2]))
      at = at + 3
    elseif kind == 'd' then
      holds(ARGV[at + 1], worker, tonumber(ARGV[at + 2]))
      at = at + 3
    else
      grant(ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]))
      at = at + 5
    end
  end
  redis.call('HSET', workers, worker, whole(last) .. ',' .. whole(now) .. ',' .. table.concat(granted_now, ';'))
end

local current = redis.call('HMGET', access, 'version', 'doc')
local version, document = current[1] or '0', ''
if version ~= ARGV[5] then
  document = current[2] or ''
end
local head = {status, whole(last), version, document, key_document, whole(math.max(0, paused))}
for i = #head, 1, -1 do
  table.insert(answer, 1, head[i])
end
return answer
