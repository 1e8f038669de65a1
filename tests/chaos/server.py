"""The group as it lies in Redis: whether everything is settled, and what is taken from it."""

from __future__ import annotations

from typing import Any, NamedTuple

import psutil
import redis

from tests.chaos.books import Loss, losses

GROUP = "group"

# Trims what is unread but for so many entries, or nothing if there are not more. KEYS: stream. ARGV: group, how many
# of the oldest unread entries to take. Returns how many were taken.
_TRIM_UNREAD = """
local cursor
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
if groups.err then return 0 end
for _, raw in ipairs(groups) do
  local group = {}
  for i = 1, #raw, 2 do group[raw[i]] = raw[i + 1] end
  if group['name'] == ARGV[1] then cursor = group['last-delivered-id'] end
end
if not cursor then return 0 end
local unread = redis.call('XRANGE', KEYS[1], '(' .. cursor, '+', 'COUNT', ARGV[2] + 1)
if #unread <= tonumber(ARGV[2]) then return 0 end
redis.call('XTRIM', KEYS[1], 'MINID', unread[#unread][1])
return #unread - 1
"""


# Deletes so many neighbouring entries: of the unread ones (1), or of those that are pending. KEYS: stream. ARGV: group,
# how many, unread or not, a number between 0 and 1. Returns how many were deleted.
_DELETE = """
local ids = {}
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
for _, raw in ipairs(groups.err and {} or groups) do
  local group = {}
  for i = 1, #raw, 2 do group[raw[i]] = raw[i + 1] end
  if group['name'] == ARGV[1] then
    local found
    if ARGV[3] == '1' then
      found = redis.call('XRANGE', KEYS[1], '(' .. group['last-delivered-id'], '+', 'COUNT', 1000)
    else
      found = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000)
    end
    for _, entry in ipairs(found) do ids[#ids + 1] = entry[1] end
  end
end
local most = math.min(tonumber(ARGV[2]), #ids)
local first = 1 + math.floor((#ids - most) * ARGV[4])
local deleted = 0
for index = first, first + most - 1 do deleted = deleted + redis.call('XDEL', KEYS[1], ids[index]) end
return deleted
"""


class Taken(NamedTuple):
    """What a group had beside its stream: deliveries of its dead letters by event id, and its losses."""

    dead: dict[str, int]
    ledger: list[Loss]


class GroupInRedis:
    """
    One group of a stream.

    Arguments:
        client: of the server, not through a proxy.
        stream: key of the stream.
    """

    def __init__(self, client: redis.Redis, stream: str) -> None:
        self.client = client
        self.stream = stream

    def _key(self, kind: str) -> str:
        return f"{{{self.stream}}}:{kind}:{GROUP}"

    def unsettled(self) -> str:
        """Return what still has to be done, in words; nothing when all is settled."""
        client = self.client
        try:
            found = {
                "pending": client.xpending(self.stream, GROUP)["pending"],
                "unread": self._unread(),
                "waiting for a retry": client.zcard(self._key("later")),
                "to be delivered again": client.xlen(self._key("again")),
            }
        except redis.RedisError as error:
            return repr(error)
        return ", ".join(f"{count} {what}" for what, count in found.items() if count)

    def _unread(self) -> int:
        (group,) = (each for each in self.client.xinfo_groups(self.stream) if each["name"] == GROUP.encode())
        return len(self.client.xrange(self.stream, b"(" + group["last-delivered-id"], "+", count=1000))

    def trim_unread(self, count: int) -> int:
        """Trim so many unread entries, if there are more; return how many."""
        return int(self.client.eval(_TRIM_UNREAD, 1, self.stream, GROUP, count))

    def delete(self, count: int, *, unread: bool, where: float) -> int:
        """Delete so many neighbouring entries, unread or pending ones; return how many. ``where`` is from 0 to 1."""
        return int(self.client.eval(_DELETE, 1, self.stream, GROUP, count, int(unread), where))

    def destroy(self) -> None:
        """Delete the group."""
        self.client.xgroup_destroy(self.stream, GROUP)

    def workers(self) -> list[str]:
        """Return the consumers of pools that hold their names."""
        names = []
        consumers = {each["name"].decode() for each in self.client.xinfo_consumers(self.stream, GROUP)}
        for key in self.client.scan_iter(f"{{{self.stream}}}:pool:{GROUP}:*"):
            pool = key.decode().rpartition(":")[2]
            lease = self.client.hgetall(key)
            if psutil.pid_exists(int(lease[b"pid"])):
                names += [f"{pool}.{shard}" for shard in range(int(lease[b"workers"]))]
        return sorted(consumers & {*names})

    def delete_consumer(self, name: str) -> None:
        """Delete a consumer with all that is pending for it."""
        self.client.xgroup_delconsumer(self.stream, GROUP, name)

    def taken(self, *, flush: bool = False) -> Taken:
        """Return dead letters and losses; flush the server in the same step if wanted."""
        with self.client.pipeline() as step:
            step.xrange(self._key("dead"))
            step.xrange(self._key("lost"))
            if flush:
                step.flushall()
            letters, records, *_ = step.execute()
        return Taken({_event(fields): int(fields[b"dead_deliveries"]) for _, fields in letters}, losses(records))


def _event(fields: dict[bytes, Any]) -> str:
    return str(fields[b"id"].decode())
