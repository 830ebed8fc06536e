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
-- What runs here holds up every other client: each counter is read once, and written at the end, if it changed. The first
-- command that writes needs memory, so that a store with none left refuses a batch whole.
--
-- Units are integers of 1/1000, which commands and answers take as they are. A window's counters in the hash `usage`:
-- b/ base (held by the ledger, from earlier generations or events), c/ consumed, o/ leased out, l/ leased to one worker,
-- h/ consumed by hour and key, n/ late generation, q/ when a worker last had to wait, t/ claimed by hour, key and worker
-- and not finished, p/ all of those, s/ the same once the drain has recorded it in h/ for a worker that was gone, e/
-- recorded in h/ and given back after that. Granted is b + c + o. What is claimed counts at once, and is recorded when it
-- is finished, since h never falls: c + e is the sum of h and t.
local prefix, chain, worker, sequence = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local returns, lease_ms = ARGV[9] == 'return', tonumber(ARGV[10])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local store = redis.call('HMGET', ARGV[1], 'ready', 'offset')
if store[1] ~= '1' then
  return {'unready'}
end
local business = now + (store[2] or 0)

local key_document = ''
if chain == '' then
  local record = redis.call('HMGET', ARGV[2], 'chain', 'doc')
  if not record[1] then
    return {'unknown'}
  end
  chain, key_document = record[1], record[2]
end
local usage, workers, access = prefix .. 'usage:' .. chain, prefix .. 'workers:' .. chain, prefix .. 'access:' .. chain

-- The worker's record: its last number, when `seen` was last told of it, and what the last batch was answered.
local last, told, first_grants, first_claims = 0, 0, '', ''
local record = redis.call('HGET', workers, worker)
if record then
  last, told, first_grants, first_claims = string.match(record, '^(%d+),(%d+),([^|]*)|?(.*)$')
  last, told = last + 0, told + 0
end

-- Until when nothing is granted on hard limits: of the node, and of the chain once a window was read.
local paused_until = (redis.call('HGET', KEYS[1], 'until') or 0) + 0

-- The counters of a window as this batch leaves them; `read` has them as they stand in Redis: in digits, of which `+ 0`
-- makes a number, or false for 0.
local windows, mine = {}, '/' .. worker
local function counters_of(id)
  local window = windows[id]
  if not window then
    local read = redis.call('HMGET', usage, 'b/' .. id, 'c/' .. id, 'o/' .. id, 'l/' .. id .. mine, 'p/' .. id, 'e/' .. id,
                            'q/' .. id, 'p')
    window = {read = read, base = (read[1] or 0) + 0, consumed = (read[2] or 0) + 0, leased = (read[3] or 0) + 0,
              held = (read[4] or 0) + 0, claimed = (read[5] or 0) + 0, excess = (read[6] or 0) + 0,
              waited = (read[7] or 0) + 0}
    windows[id] = window
    paused_until = math.max(paused_until, read[8] or 0)
  end
  return window
end

-- The same for an hour and key of a window: what is recorded, and what this worker claimed and has not finished.
local shares = {}
local function share_of(place)
  local share = shares[place]
  if not share then
    local read = redis.call('HMGET', usage, 'h/' .. place, 't/' .. place .. mine)
    share = {read = read, recorded = (read[1] or 0) + 0, open = (read[2] or 0) + 0}
    shares[place] = share
  end
  return share
end

-- Changes what this worker holds by so many units, but not below nothing.
local function change_lease(window, units)
  units = math.max(units, -window.held)
  window.held, window.leased = window.held + units, window.leased + units
end

-- What becomes of claimed units: of those that are open still, those that a drain has recorded since, and the rest,
-- which was lost with its claim. Answers how many are to be recorded.
local function change_claim(kind, window, share, place, units)
  local open, saved = math.min(share.open, units), 0
  if open < units then
    share.read[3] = share.read[3] or redis.call('HGET', usage, 's/' .. place .. mine)
    share.saved = share.saved or (share.read[3] or 0) + 0
    saved = math.min(share.saved, units - open)
  end
  local lost = units - open - saved
  if kind == 'k' then
    share.open, window.claimed, window.consumed = share.open + lost, window.claimed + lost, window.consumed + lost
    return 0
  end
  share.open, window.claimed = share.open - open, window.claimed - open
  if saved > 0 then
    share.saved = share.saved - saved
  end
  if kind == 'f' then
    window.consumed = window.consumed + lost
    return units - saved
  end
  window.consumed, window.excess = window.consumed - open - saved, window.excess + saved
  return 0
end

-- A window with what counts against its limit, in it and in those it carries: units used, leased to others, claimed,
-- and the rest that nobody has, unless there is no limit.
local function add_up(id, limit, carried)
  local own = counters_of(id)
  local used, leased, claimed = own.base + own.consumed, own.leased, own.claimed
  if carried ~= '' then
    for other in string.gmatch(carried, '%S+') do
      local counters = counters_of(other)
      used, leased = used + counters.base + counters.consumed, leased + counters.leased
      claimed = claimed + counters.claimed
    end
  end
  local rest = limit ~= '' and math.max(0, limit - used - leased) or nil
  return {id = id, own = own, used = used, lent = leased - own.held, claimed = claimed, rest = rest}
end

-- The window of a meter with this id, or the current one. It has no more than those that carry it and have begun.
-- Entries of a meter are `start,end,limit,epoch,carried windows` in order of time, separated by ';'.
local packed, version = {}, nil
local function find_window(meter, wanted)
  if not packed[meter] then
    local document = redis.call('HMGET', access, 'm/' .. meter, 'version')
    packed[meter], version = document[1] or '', document[2] or '0'
  end
  local found
  for from, to, limit, epoch, carried in string.gmatch(packed[meter], '(%-?%d+),(%d+),(%d*),(%d+),([^;]*)') do
    local starts = from + 0
    if not found then
      local ends, id = to + 0, epoch .. '/' .. meter .. '/' .. from
      if id == wanted or wanted == '' and starts <= business and business < ends then
        found = add_up(id, limit, carried)
        found.grants = found.rest and starts <= business + 5000 and business - 60000 < ends
      end
    elseif starts > business or not found.rest then
      break
    elseif string.find(' ' .. carried .. ' ', ' ' .. found.id .. ' ', 1, true) then
      local carrier = add_up(epoch .. '/' .. meter .. '/' .. from, limit, carried)
      found.rest = math.min(found.rest, carrier.rest or found.rest)
    end
  end
  return found
end

local answer = {'', '', '', '', '', '', ''}
local granted_now, claimed_now, leased_now = {}, {}, {}

local function report(window, granted, rest)
  local at = #answer
  answer[at + 1], answer[at + 2], answer[at + 3] = window.id, granted, rest or ''
  answer[at + 4], answer[at + 5] = window.lent + window.claimed, window.used
  answer[at + 6] = now - window.own.waited < 2000 and '1' or '0'
end

-- A lease is at most what the worker asks for and its share of the rest, but as much as waiting requests need. Who asks
-- for whole units gets a whole share, since the fraction of one would be of no use to anybody. What is too little for
-- any waiting request stays where it is, until others have given back what they cannot use either.
local function grant(meter, wanted, least, need, want)
  local window = find_window(meter, wanted)
  if not window then
    return
  end
  local granted, rest = 0, window.rest
  if window.grants and paused_until <= now then
    if rest >= least then
      local sharers = redis.call('ZCOUNT', prefix .. 'seen:' .. chain, now - 60000, '+inf')
      local share = math.floor(rest / (4 * math.max(1, sharers)))
      if want % 1000 == 0 then
        share = share - share % 1000
      end
      granted = math.max(math.min(want, share), math.min(need, rest))
      rest = rest - granted
    end
    if granted > 0 then
      change_lease(window.own, granted)
      leased_now[#leased_now + 1] = window.id .. mine
    end
    if granted < need and window.lent > 0 then
      window.own.waited = now
    end
  end
  granted_now[#granted_now + 1] = string.format('%s %s %.0f', meter, window.id, granted)
  report(window, granted, rest)
end

-- Counts as many requests of a claim as every limit leaves, and answers where the next entry begins.
local function claim(at)
  local of, asked, within = '/' .. ARGV[at + 1] .. '/' .. ARGV[at + 2], tonumber(ARGV[at + 3]), ARGV[at + 4] == 'within'
  local counted, after, parts = asked, at + 6 + 3 * ARGV[at + 5], {}
  for place = at + 6, after - 1, 3 do
    local id, units, least = ARGV[place], tonumber(ARGV[place + 1]), tonumber(ARGV[place + 2])
    local meter = string.match(id, '^%d+/(.*)/%-?%d+$')
    local found = find_window(meter, id)
    local window = found or add_up(id, 0, '')
    local rest, fit = window.rest, asked
    if within and rest and (not found or paused_until > now or rest < least) then
      fit = 0
    elseif within and rest and units > 0 then
      fit = math.floor(rest / units)
    end
    if fit < asked and window.lent > 0 then
      window.own.waited = now
    end
    counted = math.min(counted, fit)
    window.meter, window.units = meter, units
    parts[#parts + 1] = window
  end
  for part = 1, #parts do
    local window = parts[part]
    local own, units = window.own, counted * window.units
    if units > 0 then
      local share = share_of(window.id .. of)
      share.open, own.claimed, own.consumed = share.open + units, own.claimed + units, own.consumed + units
    end
    window.used, window.claimed = window.used + units, window.claimed + units
    granted_now[#granted_now + 1] = window.meter .. ' ' .. window.id .. ' 0'
    report(window, 0, window.rest and math.max(0, window.rest - units))
  end
  claimed_now[#claimed_now + 1] = counted
  return after
end

local status, is_counted, changed, emptied, expired = 'ok', false, {}, {}, {}
if sequence == 0 then
  -- It only looks.
elseif sequence == last then
  status = 'again'
  claimed_now[1] = first_claims
  for meter, id, granted in string.gmatch(first_grants, '([^ ;]+) (%S+) (%d+)') do
    local window = find_window(meter, id) or add_up(id, 0, '')
    report(window, tonumber(granted), window.rest)
  end
elseif sequence < last then
  status = 'stale'
elseif sequence > last + 1 and ARGV[8] ~= 'restart' then
  status = 'gap'
  paused_until = math.max(paused_until, redis.call('HGET', usage, 'p') or 0, now + lease_ms)
  changed = {'p', paused_until}
else
  last, is_counted = sequence, true
  -- Who counts workers, or misses one, need not know it to the second.
  if math.abs(now - told) >= 1000 then
    told = now
    redis.call('ZADD', prefix .. 'seen:' .. chain, now, worker)
  end
  if returns then
    expired = redis.call('ZRANGEBYSCORE', prefix .. 'leases:' .. chain, '-inf', now)
  end
  for _, member in ipairs(expired) do
    local id, holder = string.match(member, '^(.*)/([^/]+)$')
    local window = counters_of(id)
    if holder == worker then
      change_lease(window, -window.held)
    else
      window.leased = window.leased - (redis.call('HGET', usage, 'l/' .. member) or 0)
      emptied[#emptied + 1] = 'l/' .. member
    end
  end
  local at = 11
  while ARGV[at] do
    local kind = ARGV[at]
    if kind == 'x' then
      at = claim(at)
    elseif kind == 'w' then
      grant(ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]))
      at = at + 6
    elseif kind == 'r' or kind == 'd' then
      local window, units = counters_of(ARGV[at + 1]), tonumber(ARGV[at + 2])
      change_lease(window, kind == 'r' and -units or units - window.held)
      at = at + 3
    else
      local place, units = ARGV[at + 1] .. '/' .. ARGV[at + 2] .. '/' .. ARGV[at + 3], tonumber(ARGV[at + 4])
      local window, share, recorded = counters_of(ARGV[at + 1]), share_of(place), units
      if kind == 'c' or kind == 'u' then
        window.consumed = window.consumed + units
        if kind == 'c' then
          change_lease(window, -units)
        end
      else
        recorded = change_claim(kind, window, share, place, units)
      end
      -- What was recorded and given back since pays for what is to be recorded.
      if window.excess > 0 then
        local paid = math.min(window.excess, recorded)
        window.excess, recorded = window.excess - paid, recorded - paid
      end
      share.recorded = share.recorded + recorded
      at = at + 5
    end
  end
end

version = version or redis.call('HGET', access, 'version') or '0'
answer[1], answer[2], answer[3], answer[5] = status, last, version, key_document
if version ~= ARGV[7] then
  answer[4] = redis.call('HGET', access, 'doc') or ''
end
if not next(windows) then
  paused_until = math.max(paused_until, redis.call('HGET', usage, 'p') or 0)
end
answer[6], answer[7] = math.max(0, paused_until - now), table.concat(claimed_now, ' ')

if is_counted then
  local grants = table.concat(granted_now, ';')
  redis.call('HSET', workers, worker, string.format('%.0f,%.0f,%s|%s', last, told, grants, answer[7]))
end

-- Notes whether a counter is not as it was read; at nothing it is removed.
local dirty = {}
local function put(kind, of, units, read)
  if units == (read or 0) + 0 then
    return false
  elseif units == 0 then
    emptied[#emptied + 1] = kind .. of
  else
    changed[#changed + 1] = kind .. of
    changed[#changed + 1] = units
  end
  return true
end
for id, window in pairs(windows) do
  local read = window.read
  if put('c/', id, window.consumed, read[2]) and (read[2] or '0') == '0' then
    redis.call('HSETNX', usage, 'n/' .. id, redis.call('HGET', usage, 'late') or '0')
  end
  put('o/', id, window.leased, read[3])
  put('l/', id .. mine, window.held, read[4])
  put('p/', id, window.claimed, read[5])
  put('e/', id, window.excess, read[6])
  put('q/', id, window.waited, read[7])
end
for place, share in pairs(shares) do
  local read = share.read
  if put('h/', place, share.recorded, read[1]) then
    dirty[#dirty + 1] = 'h/' .. place
  end
  -- A claim that is open stands among the dirty already.
  if put('t/', place .. mine, share.open, read[2]) and not read[2] then
    dirty[#dirty + 1] = 't/' .. place .. mine
  end
  if share.saved then
    put('s/', place .. mine, share.saved, read[3])
  end
end

-- Lua hands over some thousands of values at once at most.
local function write(command, key, words)
  local new = 0
  for from = 1, #words, 4000 do
    new = new + redis.call(command, key, unpack(words, from, math.min(from + 3999, #words)))
  end
  return new
end
write('HSET', usage, changed)
write('HDEL', usage, emptied)
-- A chain with anything dirty is pending already.
if write('SADD', prefix .. 'dirty:' .. chain, dirty) > 0 then
  redis.call('SADD', KEYS[2], prefix .. ' ' .. chain)
end
if returns then
  write('ZREM', prefix .. 'leases:' .. chain, expired)
  for _, member in ipairs(leased_now) do
    redis.call('ZADD', prefix .. 'leases:' .. chain, now + lease_ms, member)
  end
end
return answer
