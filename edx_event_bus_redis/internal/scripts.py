"""
The scripts that do two things as one.

Each takes an entry off its group's pending entries list only in the step that puts its event somewhere else, so that it
is never in two places, nor in none. All keys of a script are in the stream's hash slot.
"""

from __future__ import annotations

# Is the entry still this group's to finish? Another consumer may have claimed and finished it while this one was cut
# off. A group that is gone knows nothing of it: then it is. The entry of a group's own stream is deleted as well.
_FINISH = """
local function unfinished(stream, group, id)
  local pending = redis.pcall('XPENDING', stream, group, id, id, 1)
  return pending.err ~= nil or #pending > 0
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

# KEYS: stream of the entry, starts, later. ARGV: group, id, again, milliseconds to wait, fields…
RETRY_LATER = (
    _FINISH
    + """
if not unfinished(KEYS[1], ARGV[1], ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[3], string.format('%.0f', milliseconds() + ARGV[4]), cmsgpack.pack(from(5)))
finish(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
return 1
"""
)

# KEYS: stream of the entry, starts, dead. ARGV: group, id, again, number of dead letters to keep, fields…
BURY = (
    _FINISH
    + """
if not unfinished(KEYS[1], ARGV[1], ARGV[2]) then return 0 end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[4], '*', unpack(from(5)))
finish(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
return 1
"""
)

# Moves what is due from later to again, and makes sure that the group is there.
# KEYS: later, again. ARGV: group, how many to move at the most. Returns the length of again, and milliseconds until
# the next event is due, or -1.
PROMOTE = (
    _FINISH
    + """
local now = string.format('%.0f', milliseconds())
for _, packed in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])) do
  redis.call('XADD', KEYS[2], '*', unpack(cmsgpack.unpack(packed)))
  redis.call('ZREM', KEYS[1], packed)
end
local waiting = redis.call('EXISTS', KEYS[2]) == 1 and redis.call('XLEN', KEYS[2]) or 0
if waiting > 0 then redis.pcall('XGROUP', 'CREATE', KEYS[2], ARGV[1], '0') end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {waiting, first[2] and math.max(0, first[2] - now) or -1}
"""
)

# Counts a start of a suspect before it happens. KEYS: starts. ARGV: field, starts before that were not counted,
# whether these are certain (1) or only likely (0), most starts. Returns the number of this start, or minus the number
# of starts if there are enough of them.
BEGIN_SUSPECT = """
local counted = redis.call('HGET', KEYS[1], ARGV[1])
local starts = tonumber(counted or ARGV[2])
if starts >= tonumber(ARGV[4]) and (counted or ARGV[3] == '1') then return -starts end
redis.call('HSET', KEYS[1], ARGV[1], starts + 1)
return starts + 1
"""

# Hands a dead letter to its group again. KEYS: dead, again. ARGV: group, id of the dead letter, how many of its fields
# are the original ones, fields to add…
REPLAY = (
    _FINISH
    + """
local found = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])
if #found == 0 then return 0 end
local fields = {}
for index = 1, tonumber(ARGV[3]) do fields[index] = found[1][2][index] end
for _, field in ipairs(from(4)) do fields[#fields + 1] = field end
redis.call('XADD', KEYS[2], '*', unpack(fields))
redis.pcall('XGROUP', 'CREATE', KEYS[2], ARGV[1], '0')
redis.call('XDEL', KEYS[1], ARGV[2])
return 1
"""
)
