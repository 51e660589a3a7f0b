-- One reservation: every claim is charged, or none. The line before this part sets `raw`, microseconds since the Unix epoch.
--
-- KEYS[1] keeps the last instant seen; the others are counters. ARGV[1] is how many calls may be forgotten; then come six words a
-- claim: the number of its key, `s` (sliding) or `c` (calendar), its span in microseconds, the least and the most that may stand
-- before it is charged, and what it adds. Amounts are decimal integers of at most 39 digits; `-` as the most means that it never fits.
--
-- A counter is a hash. `first` up to, not including, `next` are the calls kept, each under its number as "instant total-before";
-- `sum` is all that was ever charged, so that what stands in a window is a difference of two totals; `keep` is the longest span that
-- it was charged or read under. Everything is read before anything is written.
--
-- Answers {'granted', what stood before each claim} or {'exhausted', index from 0, what stands, milliseconds or '-'}.

local WORDS, DIGITS, BASE = 6, 13, 1e13

-- Amounts: three limbs of thirteen digits. A limb, and a sum of two, is a whole number that a double holds.
local function amount_of(text)
  if not text or #text > 3 * DIGITS or not string.find(text, '^%d+$') then error('a damaged amount') end
  local padded = string.rep('0', 3 * DIGITS - #text) .. text
  return {
    tonumber(string.sub(padded, 1, DIGITS)),
    tonumber(string.sub(padded, DIGITS + 1, 2 * DIGITS)),
    tonumber(string.sub(padded, 2 * DIGITS + 1)),
  }
end

local function text_of(a)
  return (string.gsub(string.format('%013.0f%013.0f%013.0f', a[1], a[2], a[3]), '^0+(%d)', '%1'))
end

local function plus(a, b)
  local low, middle, high = a[3] + b[3], a[2] + b[2], a[1] + b[1]
  if low >= BASE then low, middle = low - BASE, middle + 1 end
  if middle >= BASE then middle, high = middle - BASE, high + 1 end
  if high >= BASE then error('a sum over 39 digits') end
  return {high, middle, low}
end

local function minus(a, b)
  local low, middle, high = a[3] - b[3], a[2] - b[2], a[1] - b[1]
  if low < 0 then low, middle = low + BASE, middle - 1 end
  if middle < 0 then middle, high = middle + BASE, high - 1 end
  if high < 0 then error('a damaged total') end
  return {high, middle, low}
end

local function is_less(a, b)
  for limb = 1, 3 do
    if a[limb] ~= b[limb] then return a[limb] < b[limb] end
  end
  return false
end

local NOTHING = {0, 0, 0}

local function whole(text)
  if not text or not string.find(text, '^%d+$') or #text > 16 then error('a damaged number') end
  return tonumber(text)
end

local function plain(number) return string.format('%.0f', number) end

local function counter_of(key)
  local kept = redis.call('HMGET', key, 'first', 'next', 'sum', 'keep')
  if not kept[1] and not kept[2] and not kept[3] and not kept[4] then
    return {key = key, first = 0, next = 0, sum = NOTHING, keep = 0, calls = {}, is_new = true}
  end
  return {key = key, first = whole(kept[1]), next = whole(kept[2]), sum = amount_of(kept[3]), keep = whole(kept[4]), calls = {}}
end

local function call_of(counter, number)
  local call = counter.calls[number]
  if not call then
    local text = redis.call('HGET', counter.key, plain(number))
    local at, before = string.match(text or '', '^(%d+) (%d+)$')
    call = {at = whole(at), before = amount_of(before)}
    counter.calls[number] = call
  end
  return call
end

-- What was charged before call `number`, which is kept or the next one.
local function total_before(counter, number)
  if number == counter.next then return counter.sum end
  return call_of(counter, number).before
end

-- The first instant at which a call logged at `at` no longer stands.
local function stands_until(claim, at)
  if claim.unit == 's' then return at + claim.span end
  return at - math.fmod(at, claim.span) + claim.span
end

-- The smallest number in low..high for which `holds`, which is false and then true; `high` where it never is.
local function first_where(low, high, holds)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if holds(middle) then high = middle else low = middle + 1 end
  end
  return low
end

-- What stands in the claim's window at an instant.
local function standing(claim, instant)
  local counter = claim.counter
  local oldest = first_where(counter.first, counter.next, function(number)
    return stands_until(claim, call_of(counter, number).at) > instant
  end)
  return minus(counter.sum, total_before(counter, oldest))
end

-- Milliseconds until the claim's upper bound holds, nothing for never.
local function wait_of(claim, before)
  if not claim.most or is_less(before, claim.least) then return nil end
  local counter = claim.counter
  -- The oldest call that may stay: all before it have to fall out, the youngest of them last.
  local stays = first_where(counter.first, counter.next, function(number)
    return not is_less(claim.most, minus(counter.sum, total_before(counter, number)))
  end)
  return math.ceil((stands_until(claim, call_of(counter, stays - 1).at) - raw) / 1000)
end

local now = math.max(raw, whole(redis.call('GET', KEYS[1]) or '0'))
local forget_max = whole(ARGV[1])

local counters, claims = {}, {}
for word = 2, #ARGV, WORDS do
  local number = whole(ARGV[word])
  counters[number] = counters[number] or counter_of(KEYS[number])
  local most = ARGV[word + 4]
  claims[#claims + 1] = {
    counter = counters[number],
    unit = ARGV[word + 1],
    span = whole(ARGV[word + 2]),
    least = amount_of(ARGV[word + 3]),
    most = most ~= '-' and amount_of(most),
    adds = amount_of(ARGV[word + 5]),
  }
end

local answer, worst = {'granted'}, nil
for index, claim in ipairs(claims) do
  local before = standing(claim, now)
  answer[index + 1] = text_of(before)
  local fits = claim.most and not is_less(before, claim.least) and not is_less(claim.most, before)
  if not fits then
    local wait = wait_of(claim, before)
    if not worst or (worst.wait and (not wait or wait > worst.wait)) then
      worst = {index = index - 1, before = before, wait = wait}
    end
  end
end

if worst then
  -- The time that makes room takes away what a lower bound needs.
  for _, claim in ipairs(claims) do
    if worst.wait and is_less(standing(claim, raw + worst.wait * 1000), claim.least) then worst.wait = nil end
  end
  return {'exhausted', plain(worst.index), text_of(worst.before), worst.wait and plain(worst.wait) or '-'}
end

local is_charged = false
for _, claim in ipairs(claims) do
  local counter = claim.counter
  if claim.span > counter.keep then
    counter.keep, counter.is_changed = claim.span, not counter.is_new
  end
  if is_less(NOTHING, claim.adds) then
    local before = counter.sum
    counter.sum = plus(before, claim.adds)
    counter.calls[counter.next] = {at = now, before = before}
    redis.call('HSET', counter.key, plain(counter.next), plain(now) .. ' ' .. text_of(before))
    counter.next = counter.next + 1
    counter.is_changed, is_charged = true, true
  end
end

for _, counter in pairs(counters) do
  if counter.is_changed then
    local forgotten = {}
    while #forgotten < forget_max and counter.first < counter.next
      and call_of(counter, counter.first).at + counter.keep <= now do
      forgotten[#forgotten + 1] = plain(counter.first)
      counter.first = counter.first + 1
    end
    if #forgotten > 0 then redis.call('HDEL', counter.key, unpack(forgotten)) end
    redis.call('HSET', counter.key, 'first', plain(counter.first), 'next', plain(counter.next),
      'sum', text_of(counter.sum), 'keep', plain(counter.keep))
    -- A counter that nobody feeds vanishes when its last call stands nowhere any more.
    redis.call('PEXPIREAT', counter.key, plain(math.ceil((now + counter.keep) / 1000) + 1))
  end
end
if is_charged then redis.call('SET', KEYS[1], plain(now)) end
return answer
