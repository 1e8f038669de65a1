"""
The scripts that keep a group's accounts: how many entries it has not read, and how many were lost.

Where numbers of entries have to be counted this is done ahead, in steps of a script each, so that no script is a long
one. The result is a tally: how many entries lie behind one id up to and with another, and behind ids in between. It
holds for as long as no entry is deleted; entries that are trimmed away or appended do no harm.
"""

from __future__ import annotations

from edx_event_bus_redis.internal.account_parts import ACCOUNTS, HEAVY, LOOKING, SETTLING
from edx_event_bus_redis.internal.scripts import LOSE

# Goes ahead of each read of new entries, and behind it as well while the server gives up the group's number.
# KEYS: stream, ledger, bookmark. ARGV: group, by, the cursor at which the accounts were found right before, most
# entries to go through, how many of what is unread, whether there may be a bookmark although nothing was deleted (1).
# Returns the number of entries ever added, -1 if the server does not count them; the cursor if the accounts are right
# there now, else ''; and how many were lost. If there is more to tell also the first and the last id of these; whether
# the next read costs the server the group's number (1); whether that is known (1); why a loss could not be entered; and
# the bytes that had to be copied for that.
CHECK = (
    LOOKING
    + f"local heavy = {HEAVY}"
    + """
local state, most = state_of(KEYS[1], ARGV[1]), tonumber(ARGV[5])
if not state or not state.cursor then return false end
if not state.added then return {-1, '', 0} end
local unread = at_a_glance(state, state.cursor)
local may_have_bookmark = state.deleted ~= '0-0' or ARGV[6] == '1'
local is_plain = state.read and not may_have_bookmark and state.weight < heavy
-- As it is nearly always: nothing was deleted, and nothing is lost. It need not cost the making of the functions below.
if is_plain and (not unread or unread == state.added - state.read) then
  return {state.added, unread and state.cursor or '', 0}
end
"""
    + SETTLING
    + """
if may_have_bookmark then recall(KEYS[1], KEYS[3], state, tonumber(ARGV[4])) end
-- Something that is to be read was deleted. What there is cannot be more than this; if that is much it can wait, for as
-- long as the number is known: sooner or later all is read, or trimmed.
local can_be_counted = not state.read
  or is_less(state.cursor, state.deleted) and math.min(state.length, state.added - state.read) < most
if not unread and most > 0 and can_be_counted then
  local found = #redis.call('XRANGE', KEYS[1], '(' .. state.cursor, '+', 'COUNT', most)
  if found < most then unread = found end
end
local lost, first, last = settle(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3], state, unread)
return {
  state.added, unread and not state.trouble and state.cursor or '', lost, first or '', last or '',
  (is_fragile(state) or state.trouble) and 1 or 0, state.read and 1 or 0, state.trouble or '', state.weight,
}
"""
)

# Looks at the accounts as a whole. KEYS: stream, ledger, bookmark. ARGV: group, by, the cursor at which they were found
# right before, whether to settle them (1), most entries to go through, a tally or nothing.
# What is unread needs not be counted if the group's number is valid and nothing behind the former cursor was trimmed or
# deleted since: then nobody can have read over a gap.
LOOK = (
    ACCOUNTS
    + """
local state = state_of(KEYS[1], ARGV[1])
if not state then return false end
local unread, lost, first, last = nil, 0, nil, nil
if state.cursor then
  local floor, step = ARGV[3], tonumber(ARGV[5])
  if state.added then recall(KEYS[1], KEYS[3], state, step) end
  local is_right = state.read and not is_less(floor, state.first) and not is_less(floor, state.deleted)
    and not is_less(state.cursor, floor)
  unread = at_a_glance(state, state.cursor)
  if not unread and is_right then
    unread = state.added - state.read
  elseif not unread then
    unread = by_tally(KEYS[1], state, state.cursor, 6, step)
    if not unread then
      local found = #redis.call('XRANGE', KEYS[1], '(' .. state.cursor, '+', 'COUNT', step)
      if found < step then unread = found end
    end
  end
  if ARGV[4] == '1' then
    lost, first, last = settle(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], floor, state, unread)
    if state.trouble then return redis.error_reply(state.trouble) end
    -- Redis 7.0 does not tell replicas what a group has read: one that is promoted would take all of it for lost.
    if state.read then tell(KEYS[1], ARGV[1], state) end
  end
end
return {
  state.added or -1, state.length, state.first, state.last, state.deleted,
  state.cursor or '', state.read or -1, unread or -1, lost, first or '', last or '', state.weight,
}
"""
)

# KEYS: stream. ARGV: behind which id, up to which, most entries. Returns how many there are and the last of them.
COUNT = """
local found = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], ARGV[2], 'COUNT', ARGV[3])
return {#found, #found > 0 and found[#found][1] or ARGV[2]}
"""

# Takes entries without data off the pending entries list and enters them into the ledger; only those that were still on
# it. KEYS: their stream, ledger, starts. ARGV: group, by, whether it is the group's own stream (1), ids, oldest first.
# Returns how many.
ACKNOWLEDGE_GONE = (
    LOSE
    + """
local trouble = cannot_enter(KEYS[2])
if trouble then return redis.error_reply(trouble) end
local ids, starts = {unpack(ARGV, 4)}, {}
local lost = redis.call('XACK', KEYS[1], ARGV[1], unpack(ids))
if ARGV[3] == '1' then redis.call('XDEL', KEYS[1], unpack(ids)) end
for index, id in ipairs(ids) do starts[index] = ARGV[3] .. '/' .. id end
redis.call('HDEL', KEYS[3], unpack(starts))
if lost > 0 then lose(KEYS[2], 'deleted', lost, ids[1], ids[#ids], ARGV[2]) end
return lost
"""
)
