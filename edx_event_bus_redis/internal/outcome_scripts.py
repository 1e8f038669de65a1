"""
The scripts that settle what a consumer has in hand, when it may not be its any more.

An entry that is not pending may have been claimed and finished by another consumer while this one was cut off. Or it
was dropped: somebody has deleted the group, or the consumer, with all that was pending for it. What was dropped is
known to nobody but who has it in hand, and is settled as if it were pending. How the two are told apart:

1. A consumer is in its group from its first read on, and reads nothing as long as it has something in hand. If it is
   not in the group, then it was deleted meanwhile, alone or with the group.
2. This package, too, deletes consumers: of pools that seem to be gone, after all that they had was taken over. What was
   taken over is remembered for a day.
3. A group that is made anew delivers again what lies behind its cursor; the ledger says where that was.
4. After a failover to a replica that had less the consumer may be in the group, and the stream does not know the entry.
"""

from __future__ import annotations

from edx_event_bus_redis.internal.account_parts import IDS
from edx_event_bus_redis.internal.scripts import FINISH, FITTING, LOSE, TAKEN
from edx_event_bus_redis.internal.sizes import READ_AHEAD_BYTES

# What an entry is to a consumer that has it in hand: 'pending' for it; 'held', pending for another one, which has taken
# it over and settles it; 'dropped'; or nil, finished by somebody else. An error other than that there is no group ends
# the script before it has written something: what cannot be acknowledged, as of a key that is no stream, would be put
# elsewhere again and again.
_STANDING = (
    IDS
    + FINISH
    + TAKEN
    + """
local function is_delivered_anew(stream, ledger, id)
  if #redis.call('XRANGE', stream, id, id) == 0 then return false end
  local records = redis.pcall('XREVRANGE', ledger, '+', '-', 'COUNT', 100)
  for _, record in ipairs(records.err and {} or records) do
    local fields = {}
    for index = 1, #record[2], 2 do fields[record[2][index]] = record[2][index + 1] end
    -- Within one millisecond nobody knows what came first: rather handled twice than lost.
    if is_less(record[1], id) then return false end
    if fields['reason'] == 'group_gone' and split(fields['last'] or '') then return is_less(fields['last'], id) end
  end
  return false
end
-- Whether the stream does not have the entry, and neither trimming nor deleting can have been the reason.
local function is_forgotten(stream, id)
  local raw, info = redis.call('XINFO', 'STREAM', stream), {}
  for index = 1, #raw, 2 do info[raw[index]] = raw[index + 1] end
  if is_less(info['last-generated-id'], id) then return true end
  local first = info['first-entry'] and info['first-entry'][1]
  if not first or is_less(id, first) or #redis.call('XRANGE', stream, id, id) > 0 then return false end
  return is_less(info['max-deleted-entry-id'] or '0-0', id)
end
local function is_in_group(stream, group, consumer)
  for _, raw in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    for index = 1, #raw, 2 do
      if raw[index] == 'name' and raw[index + 1] == consumer then return true end
    end
  end
  return false
end
local function standing(stream, taken, ledger, group, id, again, consumer)
  local pending = redis.pcall('XPENDING', stream, group, id, id, 1)
  local is_missing = pending.err and string.find(pending.err, 'NOGROUP', 1, true)
  if pending.err and not is_missing then error(pending.err, 0) end
  if not is_missing and #pending > 0 then
    return (consumer == '' or pending[1][2] == consumer) and 'pending' or 'held'
  end
  local taken_at = redis.pcall('ZSCORE', taken, taken_from(consumer, again, id))
  if type(taken_at) == 'string' then return nil end
  -- A key of another type knows of nothing. Who may not ask would settle what others have taken over and finished.
  if taken_at and not string.find(taken_at.err, 'WRONGTYPE', 1, true) then error(taken_at.err, 0) end
  if is_missing then return 'dropped' end
  if consumer == '' then return nil end
  if again == '0' and is_forgotten(stream, id) then return 'dropped' end
  if is_in_group(stream, group, consumer) then return nil end
  if again == '0' and is_delivered_anew(stream, ledger, id) then return nil end
  return 'dropped'
end
"""
)

# Has an entry finished, after its event was put elsewhere. KEYS: stream of the entry, starts, taken, ledger, where the
# event goes. ARGV: group, id, again, consumer, and more.
_SETTLE = (
    _STANDING
    + """
local group, id, again, consumer = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local standing_of_this = standing(KEYS[1], KEYS[3], KEYS[4], group, id, again, consumer)
local function settled()
  finish(KEYS[1], KEYS[2], group, id, again)
  -- The reply may be lost, and this be asked for once more.
  if standing_of_this == 'dropped' then note_taken(KEYS[3], consumer, again, id) end
  return 1
end
if standing_of_this == 'held' then return 0 end
if not standing_of_this then
  redis.call('HDEL', KEYS[2], again .. '/' .. id)
  return 0
end
"""
)

# KEYS: …, later. ARGV: …, milliseconds to wait, fields…
RETRY_LATER = (
    _SETTLE
    + """
redis.call('ZADD', KEYS[5], string.format('%.0f', milliseconds() + ARGV[5]), cmsgpack.pack(from(6)))
return settled()
"""
)

# The oldest dead letters make room when there are a tenth more than are to be kept, or a hundred; then all of these go,
# so that there is no record in the ledger for each of many. They are looked at first, one by one, for the ids that
# their events had: so a step drops no more than some, and reads no more than so many bytes. Nothing is dropped that
# cannot be entered into the ledger. KEYS: …, dead. ARGV: …, number of dead letters to keep, fields… Returns how many
# were dropped, the first id and the last of these; and what is in the way of that, or ''.
BURY = (
    LOSE
    + _SETTLE
    + f"local most_bytes = {READ_AHEAD_BYTES}"
    + """
redis.call('XADD', KEYS[5], '*', unpack(from(6)))
settled()
local most, length = tonumber(ARGV[5]), redis.call('XLEN', KEYS[5])
if length <= most + math.min(100, math.floor(most / 10)) then return {0, '', '', ''} end
local letters, bytes, first, last = {}, 0, nil, nil
while length - #letters > most and #letters < 200 and bytes < most_bytes do
  local behind = letters[#letters] and '(' .. letters[#letters] or '-'
  local letter = redis.call('XRANGE', KEYS[5], behind, '+', 'COUNT', 1)[1]
  -- What somebody else has put there has an id of its own only.
  local id = letter[1]
  for index = 1, #letter[2], 2 do
    local name, value = letter[2][index], letter[2][index + 1]
    bytes = bytes + #name + #value
    if name == 'dead_entry_id' and split(value) then id = value end
  end
  if not first or is_less(id, first) then first = id end
  if not last or is_less(last, id) then last = id end
  letters[#letters + 1] = letter[1]
end
local is_entered, err = pcall(lose, KEYS[4], 'dropped_dead_letters', #letters, first, last, consumer)
if not is_entered then return {0, '', '', type(err) == 'table' and err.err or tostring(err)} end
redis.call('XDEL', KEYS[5], unpack(letters))
return {#letters, first, last, ''}
"""
)

# Has an entry that was dropped delivered again, now. KEYS: …, later. ARGV: …, fields…
PUT_BACK = (
    _SETTLE
    + """
if standing_of_this ~= 'dropped' then return 0 end
redis.call('ZADD', KEYS[5], string.format('%.0f', milliseconds()), cmsgpack.pack(from(5)))
return settled()
"""
)

# KEYS: stream of the entries, starts, taken, ledger. ARGV: group, again, consumer, ids… Returns the ids of those that
# were dropped.
DROPPED = (
    _STANDING
    + """
local dropped = {}
for _, id in ipairs(from(4)) do
  local standing_of_this = standing(KEYS[1], KEYS[3], KEYS[4], ARGV[1], id, ARGV[2], ARGV[3])
  if standing_of_this == 'dropped' then dropped[#dropped + 1] = id end
  if not standing_of_this then redis.call('HDEL', KEYS[2], ARGV[2] .. '/' .. id) end
end
return dropped
"""
)

# Gives a consumer what its predecessor had that is dead, and makes that pending again if it was dropped, in one step:
# in hand it is safe from those who delete consumers, pending it is not. What the stream does not have any more is lost,
# and entered into the ledger. KEYS: stream of the entries, starts, taken, ledger. ARGV: group, again, consumer, bytes
# of the largest entry, bytes after which no more are returned, ids… Returns the entries, but for those that are merely
# pending then; how many are lost, the first id and the last.
RECLAIM = (
    LOSE
    + FITTING
    + _STANDING
    + """
local group, again, consumer = ARGV[1], ARGV[2], ARGV[3]
local is_grouped = not redis.pcall('XPENDING', KEYS[1], group).err
if not is_grouped and again == '0' then return redis.error_reply('NOGROUP No such consumer group') end
-- First of all: the first that is claimed puts the consumer into the group.
local standings = {}
for _, id in ipairs(from(6)) do
  standings[id] = standing(KEYS[1], KEYS[3], KEYS[4], group, id, again, consumer)
end
local entries, bytes, lost, first, last = {}, 0, 0, nil, nil
local function give(entry)
  if bytes >= tonumber(ARGV[5]) then return end
  local size
  entries[#entries + 1], size = fitting(entry, tonumber(ARGV[4]))
  bytes = bytes + size
end
for _, id in ipairs(from(6)) do
  local found = standings[id] and redis.call('XRANGE', KEYS[1], id, id)[1]
  if not standings[id] then
    redis.call('HDEL', KEYS[2], again .. '/' .. id)
  elseif standings[id] == 'pending' then
    if found then give(found) end
  elseif standings[id] == 'held' then
    -- Its holder settles it.
  elseif found and is_grouped then
    redis.call('XCLAIM', KEYS[1], group, consumer, 0, id, 'FORCE', 'JUSTID')
    give(found)
  elseif not found then
    lost = lost + 1
    if not first or is_less(id, first) then first = id end
    if not last or is_less(last, id) then last = id end
    redis.call('HDEL', KEYS[2], again .. '/' .. id)
    note_taken(KEYS[3], consumer, again, id)
  end
  -- Else it is somebody else's, or of the group's own stream, which a new group reads from its beginning.
end
if first and not cannot_enter(KEYS[4]) then lose(KEYS[4], 'group_gone', lost, first, last, consumer) end
return {entries, lost, first or '', last or ''}
"""
)
