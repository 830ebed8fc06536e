-- One batch of one worker for one chain of subscriptions: counts what was consumed, takes back what was not spent,
-- grants new leases, and brings the documents the worker does not have. A batch counts once however often it is sent.
--
-- KEYS: guard, pending (named here is only what a worker may write)
-- ARGV: 1 store   2 for a cold key its record, else ''   3 tagged prefix   4 chain ('' when the key's record names it)
--       5 worker   6 sequence number (0: look only)   7 version of the access document the worker has
--       8 'next' or 'restart' (accept any later number)   9 'hold' or 'return'   10 lease time in ms, then the batch:
--       'c', window, hour, key, units      consumed from a lease
--       'u', window, hour, key, units      consumed without one
--       'r', window, units                 returned
--       'd', window, units                 declared: what the worker holds after this batch
--       'w', meter, window, least, need, want
--                                          wanted: `need` by requests that wait, of use from `least` on, up to `want` in
--                                          all; window '' is the current one
-- Answer: {'unready'}, {'unknown'} or
--         {'ok' | 'again' | 'gap' | 'stale', last number, version, access document or '', key document or '', pause in ms,
--          then for each window asked about: window, granted, remaining or '', leased to others, used, 1 when others wait}
-- Units are integers of 1/1000. A window's counters in the hash `usage`: b/ base (held by the ledger, from earlier
-- generations or events), c/ consumed, o/ leased out, l/ leased to one worker, h/ consumed by hour and key, n/ late generation,
-- q/ when a worker last had to wait. Granted is b + c + o.
local prefix, chain, worker, sequence = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local lease_ms = tonumber(ARGV[10])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local store = redis.call('HMGET', ARGV[1], 'ready', 'offset')
if store[1] ~= '1' then
  return {'unready'}
end
local business = now + tonumber(store[2] or '0')

local key_document = ''
if chain == '' then
  local record = redis.call('HMGET', ARGV[2], 'chain', 'doc')
  if not record[1] then
    return {'unknown'}
  end
  chain, key_document = record[1], record[2]
end

local access, usage = prefix .. 'access:' .. chain, prefix .. 'usage:' .. chain
local workers, seen = prefix .. 'workers:' .. chain, prefix .. 'seen:' .. chain
local dirty, leases = prefix .. 'dirty:' .. chain, prefix .. 'leases:' .. chain

-- In digits only: `tostring` would turn to exponents, and a zero may be negative.
local function whole(number)
  return string.format('%.0f', number + 0)
end

local function counter(field)
  return tonumber(redis.call('HGET', usage, field) or '0')
end

-- Changes a lease by so many units, but not below nothing.
local function change_lease(window, holder, units)
  local field = 'l/' .. window .. '/' .. holder
  local left = redis.call('HINCRBY', usage, field, whole(units))
  if left <= 0 then
    redis.call('HDEL', usage, field)
  end
  redis.call('HINCRBY', usage, 'o/' .. window, whole(units - math.min(left, 0)))
end

local function set_lease(window, holder, units)
  change_lease(window, holder, units - counter('l/' .. window .. '/' .. holder))
end

local function consume(window, hour, key, units)
  local field = 'h/' .. window .. '/' .. hour .. '/' .. key
  redis.call('HINCRBY', usage, field, whole(units))
  if redis.call('HINCRBY', usage, 'c/' .. window, whole(units)) == units then
    redis.call('HSETNX', usage, 'n/' .. window, redis.call('HGET', usage, 'late') or '0')
  end
  redis.call('SADD', dirty, field)
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

-- Reads what counts against a window: used and leased units, its own and those of the windows it carries, what of its
-- own this worker holds and when a worker last had to wait.
local function read_counters(window)
  window.used, window.leased = 0, 0
  for id in string.gmatch(window.id .. ' ' .. window.carried, '%S+') do
    local fields = redis.call('HMGET', usage, 'b/' .. id, 'c/' .. id, 'o/' .. id, 'l/' .. id .. '/' .. worker, 'q/' .. id)
    window.used = window.used + tonumber(fields[1] or '0') + tonumber(fields[2] or '0')
    window.leased = window.leased + tonumber(fields[3] or '0')
    window.held = window.held or tonumber(fields[4] or '0')
    window.waited = window.waited or tonumber(fields[5] or '0')
  end
  return window.limit and math.max(0, window.limit - window.used - window.leased)
end

-- Units of a window that nobody has, nor anybody of a window that carries it; nil without a limit.
local function read_rest(window)
  local rest = read_counters(window)
  for _, carrier in ipairs(rest and window.carriers or {}) do
    rest = math.min(rest, read_counters(carrier) or rest)
  end
  return rest
end

local function expire_leases()
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', whole(now))) do
    local window, holder = string.match(member, '^(.*)/([^/]+)$')
    set_lease(window, holder, 0)
    redis.call('ZREM', leases, member)
  end
end

local paused = math.max(counter('p'), tonumber(redis.call('HGET', KEYS[1], 'until') or '0')) - now

-- A lease is at most what the worker asks for and its share of the rest, but as much as waiting requests need. Who asks
-- for whole units gets a whole share, since the fraction of one would be of no use to anybody. What is too little for
-- any waiting request stays where it is, until others have given back what they cannot use either.
local function size_of(rest, least, need, want)
  if rest < least then
    return 0
  end
  local share = math.floor(rest / (4 * math.max(1, redis.call('ZCOUNT', seen, whole(now - 60000), '+inf'))))
  if want % 1000 == 0 then
    share = share - share % 1000
  end
  return math.max(math.min(want, share), math.min(need, rest))
end

local answer = {'', '', '', '', '', ''}
local granted_now = {}

local function report(window, granted, rest)
  for _, value in ipairs({window.id, whole(granted), rest and whole(rest) or '', whole(window.leased - window.held),
                          whole(window.used), now - window.waited < 2000 and '1' or '0'}) do
    answer[#answer + 1] = value
  end
end

local function grant(meter, wanted, least, need, want)
  local window = find_window(meter, wanted)
  if not window then
    return
  end
  local granted, rest = 0, read_rest(window)
  if rest and window.open and paused <= 0 then
    granted = size_of(rest, least, need, want)
    rest = rest - granted
    if granted > 0 then
      change_lease(window.id, worker, granted)
      if ARGV[9] == 'return' then
        redis.call('ZADD', leases, whole(now + lease_ms), window.id .. '/' .. worker)
      end
    end
    if granted < need and window.leased > window.held then
      redis.call('HSET', usage, 'q/' .. window.id, whole(now))
      window.waited = now
    end
  end
  granted_now[#granted_now + 1] = meter .. ' ' .. window.id .. ' ' .. whole(granted)
  report(window, granted, rest)
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
    report(window, tonumber(granted), read_rest(window))
  end
elseif sequence < last then
  status = 'stale'
elseif sequence > last + 1 and ARGV[8] ~= 'restart' then
  status = 'gap'
  paused = math.max(paused, lease_ms)
  redis.call('HSET', usage, 'p', whole(now + paused))
else
  last = sequence
  redis.call('ZADD', seen, whole(now), worker)
  if ARGV[9] == 'return' then
    expire_leases()
  end
  local at, consumed = 11, false
  while ARGV[at] do
    local kind = ARGV[at]
    if kind == 'c' or kind == 'u' then
      consumed = true
      if kind == 'c' then
        change_lease(ARGV[at + 1], worker, -tonumber(ARGV[at + 4]))
      end
      consume(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4]))
      at = at + 5
    elseif kind == 'r' then
      change_lease(ARGV[at + 1], worker, -tonumber(ARGV[at + 2]))
      at = at + 3
    elseif kind == 'd' then
      set_lease(ARGV[at + 1], worker, tonumber(ARGV[at + 2]))
      at = at + 3
    else
      grant(ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]))
      at = at + 6
    end
  end
  if consumed then
    redis.call('SADD', KEYS[2], prefix .. ' ' .. chain)
  end
  redis.call('HSET', workers, worker, whole(last) .. ',' .. whole(now) .. ',' .. table.concat(granted_now, ';'))
end

local current = redis.call('HMGET', access, 'version', 'doc')
local version, document = current[1] or '0', ''
if version ~= ARGV[7] then
  document = current[2] or ''
end
answer[1], answer[2], answer[3], answer[4], answer[5], answer[6] =
  status, whole(last), version, document, key_document, whole(math.max(0, paused))
return answer
