"""
The scripts that decide to whom a name and a pending entry belong.

Each asks whether a pool is alive in the same step in which it acts on the answer.
"""

from __future__ import annotations

from edx_event_bus_redis.internal.scripts import FITTING, LOSE, TAKEN

# Takes a pool's name if nobody holds it, or only somebody who is known to be dead.
# KEYS: pool, pools. ARGV: name of the pool, token, time to live in ms, token of a dead holder or '', fields…
# Returns nothing if the name is taken, else the fields of who holds it.
ACQUIRE = """
local holder = redis.call('HGET', KEYS[1], 'token')
if holder and holder ~= ARGV[4] then return redis.call('HGETALL', KEYS[1]) end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'token', ARGV[2], unpack(ARGV, 5))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('HSET', KEYS[2], ARGV[1], 'alive')
return {}
"""

# Renews a lease, also one that has run out or was flushed, unless somebody else holds the name by now. It lasts from
# when its holder has heard the server last: one that is only heard cannot handle anything, and others have to be able
# to take over what is delivered to it. If that is more than a fifth of it ago, it has to ask again. The time to
# live first: a script that has written already may go on when the server's memory is full, and a pool that could not
# renew its lease for that would be taken for gone.
# KEYS: pool, pools. ARGV: name of the pool, token, time to live in ms, the server's time in ms that was heard last,
# fields… Returns whether the name is this pool's, or nobody's; whether the lease was renewed; the server's time in ms.
RENEW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local holder = redis.call('HGET', KEYS[1], 'token')
if holder and holder ~= ARGV[2] then return {0, 0, now} end
local left = ARGV[3] - math.max(0, now - ARGV[4])
if left < ARGV[3] * 0.8 then
  -- Others may have forgotten it, and what was delivered to it since would be nobody's. Full memory may refuse it.
  if not holder then redis.pcall('HSETNX', KEYS[2], ARGV[1], 'gone') end
  return {1, 0, now}
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', left))
redis.call('HSET', KEYS[1], 'token', ARGV[2], unpack(ARGV, 5))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', left))
redis.call('HSET', KEYS[2], ARGV[1], 'alive')
return {1, 1, now}
"""

# Ends a lease: of the pool that leaves, which has stopped then; of a dead one, or (with no token) one that has run out,
# which are gone. Several pools may find one dead at once: the first of them marks it as gone.
# KEYS: pool, pools. ARGV: name of the pool, token or '', 'stopped' or 'gone'.
# Returns whether the name is free now (1), and whether this call has marked the pool (1).
END = """
local holder = redis.call('HGET', KEYS[1], 'token')
if holder and holder ~= ARGV[2] then return {0, 0} end
redis.call('DEL', KEYS[1])
if ARGV[3] == 'gone' and redis.call('HGET', KEYS[2], ARGV[1]) ~= 'alive' then return {1, 0} end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return {1, 1}
"""

# Which consumers have departed: shards that our own pool does not have any more, and those of pools that are gone.
# KEYS: stream, own pool, gone pools… ARGV: group, own pool's name or '', its token, its number of workers, number of
# gone pools, their names…
_DEPARTED = """
local group, own_name = ARGV[1], ARGV[2]
local own_workers = redis.call('HGET', KEYS[2], 'token') == ARGV[3] and tonumber(ARGV[4])
local gone = {}
for index = 1, tonumber(ARGV[5]) do
  if redis.call('EXISTS', KEYS[2 + index]) == 0 then gone[ARGV[5 + index]] = true end
end
local function pool_and_shard(consumer)
  local pool, shard = string.match(consumer, '^(.*)%.(%d+)$')
  return pool or '', tonumber(shard)
end
local function departed(consumer)
  local pool, shard = pool_and_shard(consumer)
  if own_name ~= '' and pool == own_name then return own_workers and shard >= own_workers end
  return gone[pool]
end
local function consumers()
  local found = {}
  local raw = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], group)
  for _, fields in ipairs(raw.err and {} or raw) do
    local consumer = {}
    for index = 1, #fields, 2 do consumer[fields[index]] = fields[index + 1] end
    found[#found + 1] = consumer
  end
  return found
end
"""

# Removes the empty consumers of departed names, and the word that they left: where pods give their pools ever new names
# it would pile up. KEYS: as above, left. ARGV: as above.
# Returns the number of entries that departed consumers have pending, and the names of the gone pools that still have
# consumers.
TIDY = (
    _DEPARTED
    + """
local pending, left = 0, {}
for _, consumer in ipairs(consumers()) do
  if departed(consumer['name']) then
    if consumer['pending'] == 0 then
      redis.call('XGROUP', 'DELCONSUMER', KEYS[1], group, consumer['name'])
      redis.call('HDEL', KEYS[#KEYS], consumer['name'])
    else
      pending = pending + consumer['pending']
      left[#left + 1] = (pool_and_shard(consumer['name']))
    end
  end
end
return {pending, left}
"""
)

# Takes over pending entries: at once from departed consumers and from those that left on purpose; from others, but for
# living pools', when they are idle for long enough. An entry without data is lost: it is acknowledged, and entered into
# the ledger. Whoever had an entry may have died of it, unless it left on purpose, with nothing in hand: the entries are
# marked as suspects. Or it may come back: what was taken from it is remembered.
# KEYS: stream, own pool, gone pools…, left, ledger, starts, taken. ARGV: as above, number of living pools, their
# names…, who takes them over, idle time in ms or '', how many at the most, whether they were delivered again (1), bytes
# of the largest entry, bytes after which no more are taken.
# Returns the entries, the ids of those that are lost, whether there may be more, and why lost ones could not be entered
# into the ledger, else ''. These stay where they are.
TAKE_OVER = (
    LOSE
    + FITTING
    + TAKEN
    + _DEPARTED
    + """
local position = 6 + tonumber(ARGV[5])
local living = {}
for index = 1, tonumber(ARGV[position]) do living[ARGV[position + index]] = true end
position = position + tonumber(ARGV[position]) + 1
local claimant, min_idle, most = ARGV[position], ARGV[position + 1], tonumber(ARGV[position + 2])
local again, largest, enough = ARGV[position + 3], tonumber(ARGV[position + 4]), tonumber(ARGV[position + 5])
local left, ledger, starts, taken = unpack(KEYS, #KEYS - 3)
local trouble = cannot_enter(ledger)
local is_refused = false
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function left_on_purpose(consumer)
  local left_at = redis.call('HGET', left, consumer['name'])
  return left_at and (tonumber(left_at) or 0) >= now - consumer['idle']
end
local function idle_time(consumer)
  local name = consumer['name']
  if departed(name) then return 0 end
  local pool = pool_and_shard(name)
  if living[pool] or (own_name ~= '' and pool == own_name) then return nil end
  if left_on_purpose(consumer) then return 0 end
  return min_idle ~= '' and min_idle or nil
end

local entries, lost, seen, bytes = {}, {}, 0, 0
for _, consumer in ipairs(consumers()) do
  local idle = consumer['name'] ~= claimant and consumer['pending'] > 0 and seen < most and idle_time(consumer)
  if idle then
    local found = redis.call('XPENDING', KEYS[1], group, 'IDLE', idle, '-', '+', most - seen, consumer['name'])
    -- A record for each consumer: what one has is in order, so that the first and the last make a range.
    local before = #lost
    local is_innocent = left_on_purpose(consumer)
    for _, pending in ipairs(found) do
      if bytes >= enough then
        seen = most
        break
      end
      local id = pending[1]
      seen = seen + 1
      if #redis.call('XRANGE', KEYS[1], id, id) > 0 then
        local size
        entries[#entries + 1], size = fitting(redis.call('XCLAIM', KEYS[1], group, claimant, 0, id)[1], largest)
        bytes = bytes + size
        if not is_innocent then redis.call('HSETNX', starts, again .. '/' .. id, 0) end
        note_taken(taken, consumer['name'], again, id)
        redis.pcall('ZREM', taken, taken_from(claimant, again, id))
      elseif trouble then
        is_refused = true
      else
        redis.call('XACK', KEYS[1], group, id)
        redis.call('HDEL', starts, again .. '/' .. id)
        note_taken(taken, consumer['name'], again, id)
        lost[#lost + 1] = id
      end
    end
    if #lost > before then lose(ledger, 'deleted', #lost - before, lost[before + 1], lost[#lost], claimant) end
  end
end
return {entries, lost, seen >= most and #entries + #lost > 0 and 1 or 0, is_refused and trouble or ''}
"""
)

# Shows that entries in hand are worked at, so that nobody takes them for abandoned. One whose data is gone is left as
# it is: claiming it would take it off the list, and its failure could not be settled.
# KEYS: stream. ARGV: group, then consumer and id, alternating.
HOLD_ON = """
for index = 2, #ARGV, 2 do
  local consumer, id = ARGV[index], ARGV[index + 1]
  local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], id, id, 1)
  local is_held = not pending.err and #pending == 1 and pending[1][2] == consumer
  if is_held and #redis.call('XRANGE', KEYS[1], id, id) == 1 then
    redis.call('XCLAIM', KEYS[1], ARGV[1], consumer, 0, id, 'JUSTID')
  end
end
"""

# Forgets a pool that is gone, and that its workers left: one that was stopped before its first read was no consumer.
# KEYS: pool, pools, left. ARGV: name of the pool.
FORGET = """
local state = redis.call('HGET', KEYS[2], ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 0 and (state == 'gone' or state == 'stopped') then
  redis.call('HDEL', KEYS[2], ARGV[1])
  for _, consumer in ipairs(redis.call('HKEYS', KEYS[3])) do
    if string.match(consumer, '^(.*)%.%d+$') == ARGV[1] then redis.call('HDEL', KEYS[3], consumer) end
  end
end
"""
