"""
What the scripts that keep a group's accounts are made of.

On Redis 7 and newer a stream counts the entries that were ever added to it, a group those that are behind it. While
nothing is lost these differ by what the group has not read; what they differ by more than that is lost. A script that
finds such a difference enters it into the ledger and corrects the group's number in the same step, so that nobody else
finds it too, and the lag that Redis reports is right again.

Redis corrects the number without a word as soon as a gap is read over, and gives it up when it reads on while an entry
at the cursor or behind it was deleted. So the gap has to be seen before; and where that is not possible yet, or the
number would be given up, it is kept in a bookmark: the cursor, and the number that is right there. Whoever looks next
counts what was read since. It tells as well up to where ("floor") all that was lost is in the ledger.

The scripts themselves are in ``ledger_scripts`` and ``group_scripts``.
"""

from __future__ import annotations

from edx_event_bus_redis.internal.scripts import LOSE

# Bytes of the first and the last entry of a stream above which looking at it is a burden to the server, and the pace at
# which it is to bear that: of each second some hundredths.
HEAVY = 32 * 1024 * 1024
HEAVY_A_SECOND = 20 * 1024 * 1024

# Entries that a script may go through.
STEP = 500

# Ids are compared as text: their numbers are larger than those that Lua can hold.
IDS = """
local function split(id) return string.match(id, '^(%d+)-(%d+)$') end
local function is_less(a, b)
  if a == b then return false end
  local a_time, a_sequence = split(a)
  local b_time, b_sequence = split(b)
  if a_time == b_time then a_time, b_time = a_sequence, b_sequence end
  if #a_time ~= #b_time then return #a_time < #b_time end
  return a_time < b_time
end
local function next_id(id)
  local time, sequence = split(id)
  if #sequence > 15 then return id end
  return time .. '-' .. string.format('%.0f', sequence + 1)
end
local function previous_id(id)
  local time, sequence = split(id)
  if #sequence > 15 or id == '0-0' then return id end
  if sequence == '0' then return string.format('%.0f', time - 1) .. '-18446744073709551615' end
  return time .. '-' .. string.format('%.0f', sequence - 1)
end
"""

# What there is to know of a stream and of one of its groups; nil if there is no such stream. Redis before 7 does not
# count entries: then "added" and "read" are nil, and deletions are not seen.
STATE = """
local function named(raw)
  local fields = {}
  for index = 1, #raw, 2 do fields[raw[index]] = raw[index + 1] end
  return fields
end
local function state_of(stream, group)
  local raw = redis.pcall('XINFO', 'STREAM', stream)
  if raw.err then return nil end
  local info = named(raw)
  local state = {
    added = info['entries-added'],
    length = info['length'],
    last = info['last-generated-id'],
    deleted = info['max-deleted-entry-id'] or '0-0',
    first = info['recorded-first-entry-id'] or info['first-entry'] and info['first-entry'][1] or '0-0',
    weight = 0,
  }
  -- There is no way to ask without having these two copied. Each part is as much work as some bytes.
  for _, entry in ipairs({info['first-entry'] or {}, info['last-entry'] or {}}) do
    for _, part in ipairs(entry[2] or {}) do state.weight = state.weight + #part + 64 end
  end
  for _, raw in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local fields = named(raw)
    if fields['name'] == group then
      state.cursor, state.consumers = fields['last-delivered-id'], fields['consumers']
      state.read = fields['entries-read'] or nil
      state.told = state.read
      break
    end
  end
  return state
end
"""

# How many entries lie behind an id, or nil.
_UNREAD = """
local function at_a_glance(state, id)
  if state.length == 0 or not is_less(id, state.last) then return 0 end
  if is_less(id, state.first) then return state.length end
end
local function by_tally(stream, state, id, at, step)
  local start, stop, added, removed, total = unpack(ARGV, at, at + 4)
  if not start or is_less(id, start) or is_less(stop, id) then return nil end
  local since = 0
  if state.added then
    since = state.added - added
    if since < 0 or is_less(stop, state.first) then return nil end
    -- Only the largest id that was deleted is known: behind that one, whether anything was removed at all.
    if is_less(start, state.deleted) and state.added - state.length ~= tonumber(removed) then return nil end
  else
    since = #redis.call('XRANGE', stream, '(' .. stop, '+', 'COUNT', step)
    if since == step then return nil end
  end
  local bound = is_less(id, state.first) and previous_id(state.first) or id
  for index = at + 5, #ARGV, 2 do
    if not is_less(ARGV[index], bound) then
      local between = redis.call('XRANGE', stream, '(' .. bound, ARGV[index], 'COUNT', step)
      return total - ARGV[index + 1] + #between + since
    end
  end
  return since
end
"""

# Keeps the group's number while the server gives it up at each read, or corrects it without a word.
# "told" is what the server has as the group's number, "read" what it is.
_BOOKMARK = """
-- Whether the server gives the number up when it reads on: an entry at the cursor or behind it was deleted.
local function is_fragile(state)
  return state.deleted ~= '0-0' and not is_less(state.deleted, state.cursor)
end
-- Whether all that was behind an id when the bookmark was left is still there: nothing was removed at all, or only what
-- is before it. Of deletions only the largest id is known: what has a smaller one shows by nothing but the sum.
local function is_whole(state, cursor, removed, deleted)
  return state.added - state.length == removed
    or state.length > 0 and not is_less(cursor, state.first)
      and state.deleted == deleted and not is_less(cursor, deleted)
end
local function recall(stream, bookmark, state, step)
  local found = redis.pcall('HMGET', bookmark, 'cursor', 'read', 'added', 'removed', 'deleted', 'floor')
  local cursor, read, added, removed, deleted, floor = unpack(found)
  state.has_bookmark = found.err or cursor
  read, added, removed = tonumber(read or nil), tonumber(added or nil), tonumber(removed or nil)
  if not (read and added and removed and split(cursor or '') and split(deleted or '')) then return end
  if is_less(state.cursor, cursor) or state.added < added then return end
  local since = 0
  if cursor ~= state.cursor then
    if not is_whole(state, cursor, removed, deleted) then return end
    since = #redis.call('XRANGE', stream, '(' .. cursor, state.cursor, 'COUNT', step)
    if since == step then return end
  end
  state.read = read + since
  state.floor = split(floor or '') and floor
end
local function tell(stream, group, state)
  redis.call('XGROUP', 'SETID', stream, group, state.cursor, 'ENTRIESREAD', string.format('%.0f', state.read))
  state.told = state.read
end
-- Deleting first: a script that has written already may go on when the server's memory is full.
local function note(stream, bookmark, group, state)
  if state.read and state.read ~= state.told then tell(stream, group, state) end
  local is_needed = state.read and (is_fragile(state) or state.trouble)
  if not is_needed and not state.has_bookmark then return end
  redis.call('DEL', bookmark)
  if is_needed then
    redis.call('HSET', bookmark, 'cursor', state.cursor, 'read', string.format('%.0f', state.read),
      'added', state.added, 'removed', state.added - state.length, 'deleted', state.deleted, 'floor', state.floor)
  end
end
"""

# Brings the group's number of entries in line with how many it has not read, and enters into the ledger what it has
# lost. If that cannot be entered, nothing is done: "trouble" says why.
_SETTLE = """
local function settle(stream, ledger, bookmark, group, by, floor, state, unread)
  if not state.added or is_less(state.last, state.cursor) then return 0 end
  if state.floor and is_less(floor, state.floor) then floor = state.floor end
  state.floor = floor
  local lost = 0
  if unread then
    lost = state.read and math.max(0, state.added - state.read - unread) or 0
    -- More than a server adds in ten days at a million a second: somebody has set the stream's number (XSETID), and
    -- what was lost beside that cannot be known.
    if lost > 1e12 then lost = 0 end
    if lost > 0 then state.trouble = cannot_enter(ledger) end
    if not state.trouble then state.read, state.floor = state.added - unread, state.cursor end
  end
  note(stream, bookmark, group, state)
  if lost == 0 or state.trouble then return 0 end
  local first, last = next_id(is_less(state.cursor, floor) and state.cursor or floor), state.last
  if unread == state.length and is_less(state.cursor, state.last) then
    -- What is before the first entry was trimmed; of what is behind that, some may have been deleted.
    if not state.has_bookmark then first = next_id(state.cursor) end
    if unread > 0 then last = previous_id(state.first) end
    if is_less(last, state.deleted) then last = state.deleted end
  end
  lose(ledger, 'trimmed', lost, first, last, by)
  return lost, first, last
end
"""

# To look at the accounts, and to put them right.
LOOKING = IDS + STATE + _UNREAD
SETTLING = _BOOKMARK + LOSE + _SETTLE
ACCOUNTS = LOOKING + SETTLING


def pause_after(weight: int) -> float:
    """Return the seconds for which not to look at a stream again after a look for which so many bytes were copied."""
    return weight / HEAVY_A_SECOND if weight >= HEAVY else 0.0


# The same, in seconds, after a look for which the server took too long, for the second time in a row.
PAUSE_AFTER_TIME_OUTS = 60.0
