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
--       'f', window, hour, key, units      finished: units of a claim whose response is metered
--       'g', window, hour, key, units      given back: units of a claim whose response is not
--       'k', window, hour, key, units      kept: what the worker has of claims under way after this batch
--       'x', hour, key, count, 'within' or 'beyond' limits, number of windows, then window, units, least for each:
--                                          claimed: so many requests of these units each, as many as the limits leave
--       'w', meter, window, least, need, want
--                                          wanted: `need` by requests that wait, of use from `least` on, up to `want` in
--                                          all; window '' is the current one
-- Answer: {'unready'}, {'unknown'} or
--         {'ok' | 'again' | 'gap' | 'stale', last number, version, access document or '', key document or '', pause in ms,
--          how many requests of each claim were counted, then for each window asked about: window, granted,
--          remaining or '', leased to others or claimed, used, 1 when others wait}
-- Units are integers of 1/1000. A window's counters in the hash `usage`: b/ base (held by the ledger, from earlier
-- generations or events), c/ consumed, o/ leased out, l/ leased to one worker, h/ consumed by hour and key, n/ late generation,
-- q/ when a worker last had to wait, t/ claimed by hour, key and worker and not finished, p/ all of those, s/ the same
-- once the drain has recorded it in h/ for a worker that was gone, e/ recorded in h/ and given back after that. Granted
-- is b + c + o. What is claimed counts at once, and is recorded when it is finished, since h never falls: c + e is the
-- sum of h and t.
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

local function counters(...)
  local values = redis.call('HMGET', usage, ...)
  for at = 1, #values do
    values[at] = tonumber(values[at] or '0')
  end
  return unpack(values)
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

-- Takes up to so many units out of a counter with so many left, and answers how many.
local function draw(field, left, units)
  local drawn = math.min(left, units)
  if drawn > 0 and drawn == left then
    redis.call('HDEL', usage, field)
  elseif drawn > 0 then
    redis.call('HINCRBY', usage, field, whole(-drawn))
  end
  return drawn
end

local function count(window, units)
  if units ~= 0 and redis.call('HINCRBY', usage, 'c/' .. window, whole(units)) == units then
    redis.call('HSETNX', usage, 'n/' .. window, redis.call('HGET', usage, 'late') or '0')
  end
end

local function record(window, hour, key, units)
  local field = 'h/' .. window .. '/' .. hour .. '/' .. key
  units = units - draw('e/' .. window, counter('e/' .. window), units)
  if units > 0 then
    redis.call('HINCRBY', usage, field, whole(units))
    redis.call('SADD', dirty, field)
  end
end

local function take(window, hour, key, units)
  local field = 't/' .. window .. '/' .. hour .. '/' .. key .. '/' .. worker
  redis.call('HINCRBY', usage, field, whole(units))
  redis.call('HINCRBY', usage, 'p/' .. window, whole(units))
  redis.call('SADD', dirty, field)
  count(window, units)
end

-- Takes units of a claim out of where they are; answers how many were open, and how many recorded already.
local function take_out(window, hour, key, units)
  local field = window .. '/' .. hour .. '/' .. key .. '/' .. worker
  local claimed, pending, saved = counters('t/' .. field, 'p/' .. window, 's/' .. field)
  local open = draw('p/' .. window, pending, draw('t/' .. field, claimed, units))
  return open, draw('s/' .. field, saved, units - open)
end

local function finish(window, hour, key, units)
  local open, recorded = take_out(window, hour, key, units)
  record(window, hour, key, units - recorded)
  -- What is in neither was lost with its claim.
  count(window, units - open - recorded)
end

local function give_back(window, hour, key, units)
  local open, recorded = take_out(window, hour, key, units)
  count(window, -(open + recorded))
  if recorded > 0 then
    redis.call('HINCRBY', usage, 'e/' .. window, whole(recorded))
  end
end

local function keep(window, hour, key, units)
  local field = window .. '/' .. hour .. '/' .. key .. '/' .. worker
  local claimed, saved = counters('t/' .. field, 's/' .. field)
  local lost = units - claimed - saved
  if lost > 0 then
    take(window, hour, key, lost)
  end
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
  window.used, window.leased, window.pending = 0, 0, 0
  for id in string.gmatch(window.id .. ' ' .. window.carried, '%S+') do
    local fields = redis.call('HMGET', usage, 'b/' .. id, 'c/' .. id, 'o/' .. id, 'l/' .. id .. '/' .. worker,
                              'q/' .. id, 'p/' .. id)
    window.used = window.used + tonumber(fields[1] or '0') + tonumber(fields[2] or '0')
    window.leased = window.leased + tonumber(fields[3] or '0')
    window.pending = window.pending + tonumber(fields[6] or '0')
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

local answer = {'', '', '', '', '', '', ''}
local granted_now, claimed_now = {}, {}

local function report(window, granted, rest)
  for _, value in ipairs({window.id, whole(granted), rest and whole(rest) or '', whole(window.leased - window.held + window.pending),
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

-- Counts as many requests of a claim as every limit leaves, and answers where the next entry begins.
local function claim(at)
  local hour, key, asked, within, windows = ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), ARGV[at + 4] == 'within', {}
  local counted, after = asked, at + 6 + 3 * tonumber(ARGV[at + 5])
  for place = at + 6, after - 1, 3 do
    local id, units, least = ARGV[place], tonumber(ARGV[place + 1]), tonumber(ARGV[place + 2])
    local meter = string.match(id, '^%d+/(.*)/%-?%d+$')
    local window = find_window(meter, id) or {id = id, limit = 0, carried = '', carriers = {}, is_gone = true}
    local rest, fit = read_rest(window), asked
    if within and window.is_gone or within and rest and (paused > 0 or rest < least) then
      fit = 0
    elseif within and rest and units > 0 then
      fit = math.floor(rest / units)
    end
    if fit < asked and window.leased > window.held then
      redis.call('HSET', usage, 'q/' .. id, whole(now))
      window.waited = now
    end
    counted = math.min(counted, fit)
    windows[#windows + 1] = {window, units, rest, meter}
  end
  for _, part in ipairs(windows) do
    local window, units, rest = part[1], counted * part[2], part[3]
    if units > 0 then
      take(window.id, hour, key, units)
      window.used, window.pending = window.used + units, window.pending + units
    end
    granted_now[#granted_now + 1] = part[4] .. ' ' .. window.id .. ' 0'
    report(window, 0, rest and math.max(0, rest - units))
  end
  claimed_now[#claimed_now + 1] = whole(counted)
  return after
end

local last, first_grants, first_claims = 0, '', ''
local record_of_worker = redis.call('HGET', workers, worker)
if record_of_worker then
  last, first_grants, first_claims = string.match(record_of_worker, '^(%d+),%d+,([^|]*)|?(.*)$')
  last = tonumber(last)
end

local status = 'ok'
if sequence == 0 then
  sequence = last
elseif sequence == last then
  status = 'again'
  claimed_now[1] = first_claims
  for meter, id, granted in string.gmatch(first_grants, '([^ ;]+) (%S+) (%d+)') do
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
  local at, changed = 11, false
  while ARGV[at] do
    local kind = ARGV[at]
    changed = changed or kind == 'c' or kind == 'u' or kind == 'f' or kind == 'k' or kind == 'x'
    if kind == 'c' or kind == 'u' then
      if kind == 'c' then
        change_lease(ARGV[at + 1], worker, -tonumber(ARGV[at + 4]))
      end
      record(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4]))
      count(ARGV[at + 1], tonumber(ARGV[at + 4]))
      at = at + 5
    elseif kind == 'f' or kind == 'g' or kind == 'k' then
      local change = kind == 'f' and finish or kind == 'g' and give_back or keep
      change(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4]))
      at = at + 5
    elseif kind == 'x' then
      at = claim(at)
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
  if changed then
    redis.call('SADD', KEYS[2], prefix .. ' ' .. chain)
  end
  redis.call('HSET', workers, worker, whole(last) .. ',' .. whole(now) .. ',' .. table.concat(granted_now, ';') .. '|' .. table.concat(claimed_now, ' '))
end

local current = redis.call('HMGET', access, 'version', 'doc')
local version, document = current[1] or '0', ''
if version ~= ARGV[7] then
  document = current[2] or ''
end
answer[1], answer[2], answer[3], answer[4], answer[5], answer[6], answer[7] =
  status, whole(last), version, document, key_document, whole(math.max(0, paused)), table.concat(claimed_now, ' ')
return answer
