"""
The scripts of a stream and of a group's private keys, and the parts that other scripts are made of.

One that moves an event takes its entry off the group's pending entries list only in the step that puts the event
somewhere else, so that it is never in two places, nor in none. The others save round trips, or replies that are too
large. All keys of a script are in the stream's hash slot. Those about names, accounts, cursors and what is in hand are
in files of their own, ``…_scripts.py``.
"""

from __future__ import annotations

from edx_event_bus_redis.internal.sizes import SHORT_BYTES, SHORT_PARTS

# Is the entry still this group's to finish? Another consumer may have claimed and finished it while this one was cut
# off. A group that is gone knows nothing of it: then it is. Any other error ends the script before it has written
# something: what cannot be acknowledged, as of a key that is no stream, would be put elsewhere again and again. The
# entry of a group's own stream is deleted as well.
FINISH = """
-- Returns as well for whom it is pending.
local function unfinished(stream, group, id)
  local pending = redis.pcall('XPENDING', stream, group, id, id, 1)
  if pending.err and not string.find(pending.err, 'NOGROUP', 1, true) then error(pending.err, 0) end
  return pending.err ~= nil or #pending > 0, pending[1] and pending[1][2]
end
local function finish(stream, starts, group, id, again)
  redis.call('XACK', stream, group, id)
  if again == '1' then redis.call('XDEL', stream, id) end
  redis.call('HDEL', starts, again .. '/' .. id)
end
local function from(first)
  local rest = {}
  for index = first, #ARGV do rest[#rest + 1] = ARGV[index] end
  return rest
end
local function milliseconds()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""

# Returns an entry as it is, and its bytes; of one that has more than the largest what is short (as in ``sizes.py``) and
# its bytes, so that neither the network nor a consumer has to carry it, and no bytes: it takes no room.
FITTING = f"""
local function fitting(entry, largest)
  local size, fields = 0, entry[2] or {{}}
  for _, part in ipairs(fields) do size = size + #part end
  if size <= largest then return entry, size end
  local short = {{}}
  for index = 1, math.min(#fields, {SHORT_PARTS}), 2 do
    if #fields[index] + #fields[index + 1] <= {SHORT_BYTES} then
      short[#short + 1] = fields[index]
      short[#short + 1] = fields[index + 1]
    end
  end
  return {{entry[1], short, size}}, 0
end
"""

# Reads the own pending entries of a consumer one by one, so that no more of them are in the server's memory, either,
# than are asked for. KEYS: stream. ARGV: group, consumer, behind which id, most entries, bytes of the largest entry,
# bytes after which no more are read. Returns the entries.
READ_PENDING = (
    FITTING
    + """
local entries, bytes, last = {}, 0, ARGV[3]
while #entries < tonumber(ARGV[4]) and bytes < tonumber(ARGV[6]) do
  local found = redis.pcall('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', 1, 'STREAMS', KEYS[1], last)
  if found and found.err then return found end
  local entry, size = found and found[1][2][1], 0
  if not entry then break end
  entries[#entries + 1], size = fitting(entry, tonumber(ARGV[5]))
  bytes, last = bytes + size, entry[1]
end
return entries
"""
)

# What XINFO STREAM tells, but for the first and the last entry: of these only the ids. KEYS: stream. Returns names and
# values, alternating.
ABOUT = """
local about = redis.pcall('XINFO', 'STREAM', KEYS[1])
if about.err then return about end
for index = 1, #about, 2 do
  local name, value = about[index], about[index + 1]
  if name == 'first-entry' or name == 'last-entry' then about[index + 1] = value and value[1] end
end
return about
"""

# Returns the id of the first entry behind an id, nothing if there is none. KEYS: stream. ARGV: id.
NEXT_ID = """
local found = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', 1)
return found[1] and found[1][1]
"""

# Remembers that an entry was taken from a consumer, which may not know it, or settled for it. A day is longer than
# anything that a consumer has in hand; so many are more than what all consumers of a group have.
TAKEN = """
local function taken_from(consumer, again, id) return again .. '/' .. id .. '/' .. consumer end
local function note_taken(taken, consumer, again, id)
  local time = redis.call('TIME')
  redis.pcall('ZADD', taken, time[1], taken_from(consumer, again, id))
  redis.pcall('ZREMRANGEBYRANK', taken, 0, -10001)
  redis.call('PEXPIRE', taken, 86400000)
end
"""

# Enters a loss into a group's ledger, whose newest record carries the totals, by reason and of all; what somebody else
# has put there has none. The ids are the first and the last that the lost entries may have had. Whether it can be
# entered is to be asked before anything is written.
LOSE = """
local function cannot_enter(ledger)
  local length = redis.pcall('XLEN', ledger)
  return type(length) == 'table' and length.err or nil
end
local function totals_of(fields)
  local totals, is_record = {}, false
  for index = 1, #fields, 2 do
    local name, number = string.match(fields[index], '^total[%l_]*$'), string.match(fields[index + 1], '^%d+$')
    if name and number and #number <= 15 then
      totals[name], is_record = number, is_record or name == 'total'
    end
  end
  return is_record and totals
end
local function lose(ledger, reason, count, first, last, by)
  local record
  for _, found in ipairs(redis.call('XREVRANGE', ledger, '+', '-', 'COUNT', 10)) do
    record = record or totals_of(found[2])
  end
  record = record or {}
  local fields = {'reason', reason, 'count', count, 'first', first, 'last', last, 'by', by}
  for _, name in ipairs({'total', 'total_' .. reason}) do
    record[name] = string.format('%.0f', (record[name] or 0) + count)
  end
  for name, value in pairs(record) do
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
  redis.call('XADD', ledger, 'MAXLEN', '~', 10000, '*', unpack(fields))
end
"""

# Has a consumer leave on purpose: it is removed where it has nothing pending. If it has something it leaves word, so
# that this is taken over at once, and that the next start need not take it for alive. Where there is no group, or no
# stream, it has nothing. KEYS: left, streams… ARGV: group, consumer.
LEAVE = """
local has_pending = false
for index = 2, #KEYS do
  local pending = redis.pcall('XPENDING', KEYS[index], ARGV[1], '-', '+', 1, ARGV[2])
  if not pending.err and #pending == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[index], ARGV[1], ARGV[2])
  elseif not pending.err then
    has_pending = true
  end
end
if has_pending then
  local time = redis.call('TIME')
  redis.call('HSET', KEYS[1], ARGV[2], string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
else
  redis.call('HDEL', KEYS[1], ARGV[2])
end
"""

# Finishes what was delivered again. No transaction: Redis 7.0 refuses any when its memory is full.
# KEYS: again. ARGV: group, ids…
ACKNOWLEDGE_AGAIN = """
local ids = {unpack(ARGV, 2)}
redis.call('XACK', KEYS[1], ARGV[1], unpack(ids))
redis.call('XDEL', KEYS[1], unpack(ids))
"""

# Moves what is due from later to again, and makes sure that the group is there. What is no event, because somebody else
# has put it there, goes the same way: it would be in the way of all others for ever.
# KEYS: later, again. ARGV: group, how many to move at the most, bytes after which no more are moved. Returns the length
# of again, and milliseconds until the next event is due, or -1.
PROMOTE = (
    FINISH
    + """
local function fields_of(packed)
  local is_packed, fields = pcall(cmsgpack.unpack, packed)
  if not is_packed or type(fields) ~= 'table' then return {'unknown', packed} end
  if #fields == 0 or #fields % 2 == 1 or #fields > 7000 then return {'unknown', packed} end
  for _, field in ipairs(fields) do
    if type(field) ~= 'string' then return {'unknown', packed} end
  end
  return fields
end
local now, moved, bytes = string.format('%.0f', milliseconds()), 0, 0
while moved < tonumber(ARGV[2]) and bytes < tonumber(ARGV[3]) do
  local packed = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)[1]
  if not packed then break end
  redis.call('XADD', KEYS[2], '*', unpack(fields_of(packed)))
  redis.call('ZREM', KEYS[1], packed)
  moved, bytes = moved + 1, bytes + #packed
end
local waiting = redis.call('EXISTS', KEYS[2]) == 1 and redis.call('XLEN', KEYS[2]) or 0
if waiting > 0 then redis.pcall('XGROUP', 'CREATE', KEYS[2], ARGV[1], '0') end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {waiting, first[2] and math.max(0, first[2] - now) or -1}
"""
)

# Looks at what waits to be delivered again, all at one moment. KEYS: later, again. ARGV: most, bytes after which no
# more are looked at. Returns how many there are, and the ids that they had in the topic's stream; none if there are
# more than most, not all if they have more bytes. What somebody else has put there has none.
WAITING = """
local origins = {}
local function note(fields)
  local origin = type(fields) == 'table' and fields[#fields - 4]
  if type(origin) == 'string' and string.match(origin, '^%d+%-%d+$') then origins[#origins + 1] = origin end
end
local number = redis.call('ZCARD', KEYS[1]) + redis.call('XLEN', KEYS[2])
if number <= tonumber(ARGV[1]) then
  local bytes, later, last = 0, redis.call('ZCARD', KEYS[1]), '-'
  for index = 0, later - 1 do
    if bytes >= tonumber(ARGV[2]) then break end
    local packed = redis.call('ZRANGE', KEYS[1], index, index)[1]
    local is_packed, fields = pcall(cmsgpack.unpack, packed)
    if is_packed then note(fields) end
    bytes = bytes + #packed
  end
  for _ = later + 1, number do
    if bytes >= tonumber(ARGV[2]) then break end
    local entry = redis.call('XRANGE', KEYS[2], last, '+', 'COUNT', 1)[1]
    note(entry[2])
    for _, part in ipairs(entry[2]) do bytes = bytes + #part end
    last = '(' .. entry[1]
  end
end
return {number, origins}
"""

# What is kept of a suspect is '<starts counted>', or '<starts counted> <start> <record>' if it is known what the worker
# died of at one of them: at the last start of which that is known. Returns the number, and the rest.
_COUNTED = """
local function counted(starts, field)
  local number, rest = string.match(redis.call('HGET', starts, field) or '', '^(%d+)(.*)$')
  return tonumber(number) or 0, rest or ''
end
"""

# Counts the start that a worker has died of, if none of the entry is counted yet and it is still to be finished, and
# keeps how it died. It may be asked for again. KEYS: stream of the entry, starts. ARGV: group, id, again, consumer that
# died, record of its death.
COUNT_DEATH = (
    FINISH
    + _COUNTED
    + """
local is_unfinished, owner = unfinished(KEYS[1], ARGV[1], ARGV[2])
if not is_unfinished then return end
local field = ARGV[3] .. '/' .. ARGV[2]
local number, rest = counted(KEYS[2], field)
number = math.max(1, number)
local start = number
-- Whoever has it now may have begun it, and the start that is counted last may be that one.
if owner and owner ~= ARGV[4] then start = math.max(1, number - 1) end
if start >= (tonumber(string.match(rest, '^ (%d+) ')) or 0) then rest = ' ' .. start .. ' ' .. ARGV[5] end
redis.call('HSET', KEYS[2], field, number .. rest)
"""
)

# Marks suspects whose starts are not counted yet: for whoever has them next, should this worker die of something else.
# KEYS: starts. ARGV: fields…
MARK_SUSPECTS = """
for _, field in ipairs(ARGV) do redis.call('HSETNX', KEYS[1], field, 0) end
"""

# Counts a start of a suspect before it happens. One whose count is 0 is reckoned to have been started so many times
# without being counted, but these alone are never enough. KEYS: starts. ARGV: field, most starts, uncounted starts.
# Returns the number of this start, or minus the number of starts if there are enough of them.
BEGIN_SUSPECT = (
    _COUNTED
    + """
local number, rest = counted(KEYS[1], ARGV[1])
if number > 0 and number >= tonumber(ARGV[2]) then return -number end
local start = math.max(number, tonumber(ARGV[3])) + 1
redis.call('HSET', KEYS[1], ARGV[1], start .. rest)
return start
"""
)

# Hands a dead letter to its group again. KEYS: dead, again, the topic's stream if it is needed. ARGV: group, id of the
# dead letter, how many of its fields are the original ones, the id of the entry in the topic's stream that has them if
# the dead letter has not, else '', how many names and values such an entry may have, fields to add… Returns 1, 0 if
# there is no such dead letter, -1 if its entry is gone, or has too many fields.
REPLAY = (
    FINISH
    + """
local found = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])
if #found == 0 then return 0 end
local original, number = found[1][2], tonumber(ARGV[3])
if ARGV[4] ~= '' then
  local entry = redis.call('XRANGE', KEYS[3], ARGV[4], ARGV[4])[1]
  if not entry or #entry[2] > tonumber(ARGV[5]) then return -1 end
  original, number = entry[2], #entry[2]
end
local fields = {}
for index = 1, number do fields[index] = original[index] end
for _, field in ipairs(from(6)) do fields[#fields + 1] = field end
redis.call('XADD', KEYS[2], '*', unpack(fields))
redis.pcall('XGROUP', 'CREATE', KEYS[2], ARGV[1], '0')
redis.call('XDEL', KEYS[1], ARGV[2])
return 1
"""
)
