"""
The scripts that make a group, make it anew, and move its cursor.

What this loses is entered into the group's ledger in the same step.
"""

from __future__ import annotations

from edx_event_bus_redis.internal.account_parts import ACCOUNTS, IDS, STATE
from edx_event_bus_redis.internal.scripts import LOSE

# The server's time as the id of an entry.
_NOW = """
local function now()
  local time = redis.call('TIME')
  return string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)) .. '-0'
end
"""

# Moves the cursor, and enters into the ledger what it moves over.
# KEYS: stream, ledger, bookmark. ARGV: group, by, most entries to go through, new cursor, the cursor and the number of
# consumers that the decision was based on ('' for whatever they are), a tally. Returns what has come of it: 1 moved, 0
# nothing, because the group has changed, -1 nothing, because the tally does not fit; how many were skipped; the old
# cursor; and how many, first and last id, were lost before.
MOVE = (
    ACCOUNTS
    + """
local state, target, step = state_of(KEYS[1], ARGV[1]), ARGV[4], tonumber(ARGV[3])
if not state or not state.cursor then return redis.error_reply('NOGROUP No such consumer group') end
if ARGV[5] ~= '' and (state.cursor ~= ARGV[5] or state.consumers ~= tonumber(ARGV[6])) then return {0} end
local function behind(id)
  return at_a_glance(state, id) or by_tally(KEYS[1], state, id, 7, step)
end
local before, after = behind(state.cursor), behind(target)
if not before or not after then return {-1} end
local trouble = before > after and cannot_enter(KEYS[2])
if trouble then return redis.error_reply(trouble) end
if state.added then recall(KEYS[1], KEYS[3], state, step) end
local lost, first, last = settle(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], '0-0', state, before)
if state.trouble then return redis.error_reply(state.trouble) end
redis.call('DEL', KEYS[3])
if state.added then
  redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], target, 'ENTRIESREAD', state.added - after)
else
  redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], target)
end
if before > after then
  local from = is_less(state.cursor, state.first) and state.first or next_id(state.cursor)
  local to = is_less(state.last, target) and state.last or target
  lose(KEYS[2], 'skipped', before - after, from, to, ARGV[2])
end
return {1, math.max(0, before - after), state.cursor, lost, first or '', last or ''}
"""
)

# Makes the group, and the stream, if need be. KEYS: stream, bookmark. ARGV: group. Returns whether it was made. It
# begins at the beginning; what was trimmed before is not its loss.
CREATE = (
    STATE
    + """
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if made.err then
  if string.find(made.err, 'BUSYGROUP', 1, true) then return 0 end
  return made
end
redis.call('DEL', KEYS[2])
local state = state_of(KEYS[1], ARGV[1])
if state.added then
  redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], '0', 'ENTRIESREAD', state.added - state.length)
end
return 1
"""
)

# Makes a group again that is gone, at the furthest id that it had delivered, and enters into the ledger what is lost.
# The stream is another one than it was if nothing up to that id is in it and nothing can have been trimmed, or if more
# entries had been added to it than it knows of.
# KEYS: stream, ledger, bookmark, later, again. ARGV: group, by, furthest id, entries ever added as far as known,
# whether it is known what the group had (1), entries lost if the stream is the same, if it is another one, first id,
# events that waited for a retry, most entries to go through, a tally. Returns whether the group was made; its cursor;
# how many were lost, first and last id; why that could not be entered, else ''. The group is needed all the same.
CREATE_ANEW = (
    ACCOUNTS
    + _NOW
    + """
local group, furthest, first = ARGV[1], ARGV[3], ARGV[8]
local before = state_of(KEYS[1], group)
if before and before.cursor then return {0} end
local is_other = not before or is_less(before.last, furthest)
if not is_other and before.added then
  local is_whole = before.added == before.length
  is_other = before.added < tonumber(ARGV[4])
    or is_whole and furthest ~= '0-0' and (before.length == 0 or is_less(furthest, before.first))
end
local cursor = is_other and '0-0' or furthest
redis.call('XGROUP', 'CREATE', KEYS[1], group, cursor, 'MKSTREAM')
redis.call('DEL', KEYS[3])
local state = state_of(KEYS[1], group)
if state.added then
  local unread = at_a_glance(state, cursor) or by_tally(KEYS[1], state, cursor, 11, tonumber(ARGV[10]))
  -- What another stream has lost already is found by the next check.
  local read = is_other and 0 or unread and state.added - unread
  if read then redis.call('XGROUP', 'SETID', KEYS[1], group, cursor, 'ENTRIESREAD', read) end
end
local lost, last = tonumber(ARGV[6]), furthest
if is_other then
  lost = tonumber(ARGV[7])
  -- What waits for a retry is lost with the stream if the server was flushed; it may have some new ones already.
  lost = lost + math.max(0, ARGV[9] - redis.call('ZCARD', KEYS[4]) - redis.call('XLEN', KEYS[5]))
  last = state.length > 0 and previous_id(state.first) or '0-0'
  if is_less(last, first) then last = now() end
end
if is_less(last, first) then last = first end
if ARGV[5] ~= '1' then lost = 0 end
-- With the number 0 where it is not known, or may be wrong: of another stream, what came after the last look is lost.
-- And where nothing is lost: who has something in hand has to know where the new group begins.
local trouble = cannot_enter(KEYS[2])
if not trouble then lose(KEYS[2], 'group_gone', lost, first, last, ARGV[2]) end
return {1, cursor, lost, first, last, trouble or ''}
"""
)

# What the newest records of a ledger are: their reasons and first ids, those since a time in milliseconds.
_RECORDS = """
local function records_since(ledger, milliseconds)
  local found = {}
  for _, raw in ipairs(redis.call('XREVRANGE', ledger, '+', milliseconds, 'COUNT', 100)) do
    local record = {}
    for index = 1, #raw[2], 2 do record[raw[2][index]] = raw[2][index + 1] end
    found[#found + 1] = record
  end
  return found
end
"""

# Enters what another stream under the same key has cost, where somebody who knew nothing of it has made the group.
# KEYS: ledger. ARGV: by, entries lost, first id, first entry of the stream ('0-0' if it is empty), time in ms after
# which it happened. Returns the last id, or nothing if it has been entered meanwhile.
REPLACED = (
    IDS
    + LOSE
    + _RECORDS
    + _NOW
    + """
for _, record in ipairs(records_since(KEYS[1], ARGV[5])) do
  if record['reason'] == 'group_gone' then return false end
end
local last = now()
if ARGV[4] ~= '0-0' then last = previous_id(ARGV[4]) end
if is_less(last, ARGV[3]) then last = ARGV[3] end
lose(KEYS[1], 'group_gone', ARGV[2], ARGV[3], last, ARGV[1])
return last
"""
)

# Enters what a stream has forgotten: all that was behind the last entry that it still has up to an id. Whoever finds it
# out finds the same. KEYS: stream, ledger. ARGV: by, entries lost, the last id that there was, time in ms at which it
# was there. Returns the first and the last id, or nothing if it has been entered.
FORGOTTEN = (
    IDS
    + LOSE
    + _RECORDS
    + _NOW
    + """
local older = redis.call('XREVRANGE', KEYS[1], ARGV[3], '-', 'COUNT', 1)[1]
local newer = redis.call('XRANGE', KEYS[1], '(' .. ARGV[3], '+', 'COUNT', 1)[1]
local first, last = next_id(older and older[1] or '0-0'), newer and previous_id(newer[1]) or now()
for _, record in ipairs(records_since(KEYS[2], '-')) do
  if record['reason'] == 'forgotten' and record['first'] == first then return false end
end
for _, record in ipairs(records_since(KEYS[2], ARGV[4])) do
  if record['reason'] == 'group_gone' then return false end
end
lose(KEYS[2], 'forgotten', ARGV[2], first, last, ARGV[1])
return {first, last}
"""
)
