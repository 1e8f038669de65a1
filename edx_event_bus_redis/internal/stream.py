"""
One stream and the commands on it; nothing else of the package talks to Redis about streams.

Replies are parsed here, from their raw RESP2 shape: redis-py's own parsing builds dictionaries that nobody needs, and
its versions differ in what they make of an entry whose data is gone. Errors are translated here too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import redis
from redis import exceptions

from edx_event_bus_redis.internal.errors import AccessRefused, GroupMissing, ServerError, ServerUnavailable
from edx_event_bus_redis.internal.message import Entry, split_id
from edx_event_bus_redis.internal.names import group_key

Reply = Any

# Moves a group's cursor if nothing has happened in the group since the decision was made.
# KEYS: stream. ARGV: group, new cursor, cursor and number of consumers that the decision was based on.
_MOVE_CURSOR_IF_UNCHANGED = """
for _, raw in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for i = 1, #raw, 2 do group[raw[i]] = raw[i + 1] end
  if group['name'] == ARGV[1] then
    if group['last-delivered-id'] ~= ARGV[3] or group['consumers'] ~= tonumber(ARGV[4]) then
      return 0
    end
    redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], ARGV[2])
    return 1
  end
end
return redis.error_reply('NOGROUP No such consumer group')
"""

# Entries counted in one step, so that counting a long stream never makes the server unavailable to others.
_COUNT_STEP = 1000


class Consumer(NamedTuple):
    """
    A group's consumer.

    Attributes:
        name: its name.
        pending: number of its pending entries.
        idle: milliseconds since it was last heard of.
        left: whether the last that was heard of it is that it left on purpose.
    """

    name: str
    pending: int
    idle: int
    left: bool = False


class Group(NamedTuple):
    """A consumer group: its cursor and its consumers."""

    last_delivered_id: bytes
    consumers: tuple[Consumer, ...]


class Claimed(NamedTuple):
    """What XAUTOCLAIM gave: where to go on, the entries, and how many were pending without data."""

    cursor: bytes
    entries: list[Entry]
    gone: int


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """
    Raise this package's errors for those of redis-py.

    AccessRefused, ServerUnavailable and GroupMissing where they fit, ServerError for the rest.
    """
    try:
        yield
    # Before what they are subclasses of: ConnectionError and ResponseError.
    except (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError) as error:
        raise AccessRefused(str(error)) from error
    except (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ReadOnlyError, OSError) as error:
        raise ServerUnavailable(str(error)) from error
    except exceptions.ResponseError as error:
        text = str(error)
        # UNBLOCKED: before Redis 7, the stream was deleted while a read waited.
        if text.startswith(("NOGROUP", "UNBLOCKED", "no such key")):
            raise GroupMissing(text) from error
        if text.startswith(("WRONGPASS", "NOAUTH")):
            raise AccessRefused(text) from error
        raise ServerError(text) from error
    except exceptions.RedisError as error:
        raise ServerError(f"{type(error).__name__}: {error}") from error


class Stream:
    """
    A stream on a server.

    Arguments:
        client: of ``make_client``, which leaves replies as they are.
        key: of the stream.

    Every method raises ServerError or one of its subclasses, and blocks no longer than the client's time-out.
    """

    def __init__(self, client: redis.Redis, key: str) -> None:
        self._client = client
        self.key = key

    def close(self) -> None:
        """Close the connections; the next call would open new ones."""
        self._client.connection_pool.disconnect()

    def append(self, fields: Sequence[bytes], max_len: int) -> bytes:
        """Append an entry, trim the stream to about so many, and return the entry's id."""
        with translated_errors():
            reply: bytes = self._client.execute_command("XADD", self.key, "MAXLEN", "~", max_len, "*", *fields)
            return reply

    def create_group(self, group: str, cursor: bytes | str) -> bool:
        """Create the group, and the stream if need be, with the cursor given; return False if the group exists."""
        with translated_errors():
            try:
                self._client.execute_command("XGROUP CREATE", self.key, group, cursor, "MKSTREAM")
            except exceptions.ResponseError as error:
                if str(error).startswith("BUSYGROUP"):
                    return False
                raise
            return True

    def group(self, name: str) -> Group:
        """Return the state of a group. Raises GroupMissing."""
        with translated_errors():
            for raw in self._client.execute_command("XINFO GROUPS", self.key):
                fields = _pairs(raw)
                if fields[b"name"] == name.encode():
                    return Group(fields[b"last-delivered-id"], self._consumers(name))
        raise GroupMissing(f"no group {name!r} on stream {self.key!r}")

    def _consumers(self, group: str) -> tuple[Consumer, ...]:
        # The time first: then what is reckoned to be the last sign of life is a little early, and leaving comes after.
        now = self._milliseconds()
        left_at = self._client.hgetall(group_key(self.key, "left", group))
        consumers = []
        for raw in self._client.execute_command("XINFO CONSUMERS", self.key, group):
            fields = _pairs(raw)
            name, idle = fields[b"name"], fields[b"idle"]
            left = name in left_at and int(left_at[name]) >= now - idle
            consumers.append(Consumer(name.decode(errors="replace"), fields[b"pending"], idle, left))
        return tuple(consumers)

    def leave(self, group: str, consumer: str) -> None:
        """Leave word that a consumer leaves on purpose, so that the next start need not take it for alive."""
        with translated_errors():
            self._client.hset(group_key(self.key, "left", group), consumer, str(self._milliseconds()))

    def _milliseconds(self) -> int:
        """The server's clock, which its consumers' idle times are of."""
        seconds, microseconds = self._client.time()
        return int(seconds * 1000 + microseconds // 1000)

    def last_id(self) -> bytes:
        """Return the largest id that the stream has ever had. Raises GroupMissing if there is no stream."""
        with translated_errors():
            last: bytes = _pairs(self._client.execute_command("XINFO STREAM", self.key))[b"last-generated-id"]
            return last

    def count_between(self, after: bytes, until: bytes) -> int:
        """Return the number of entries behind ``after``, up to and with ``until``."""
        counted, start = 0, b"(" + after
        if split_id(until) <= split_id(after):
            return 0
        while True:
            with translated_errors():
                entries = self._client.execute_command("XRANGE", self.key, start, until, "COUNT", _COUNT_STEP)
            counted += len(entries)
            if len(entries) < _COUNT_STEP:
                return counted
            start = b"(" + entries[-1][0]

    def entries(self, first: bytes, last: bytes, count: int) -> list[Entry]:
        """Return entries from an id, or behind one with "(" before it, up to and with another, oldest first."""
        with translated_errors():
            reply = self._client.execute_command("XRANGE", self.key, first, last, "COUNT", count)
        return [self._entry(raw[0], raw[1]) for raw in reply]

    def delete(self, ids: Sequence[bytes]) -> int:
        """Delete entries; return how many there were."""
        with translated_errors():
            return int(self._client.execute_command("XDEL", self.key, *ids))

    def move_cursor(self, group: str, cursor: bytes) -> None:
        """Move the group's cursor. Raises GroupMissing."""
        with translated_errors():
            self._client.execute_command("XGROUP SETID", self.key, group, cursor)

    def move_cursor_if_unchanged(self, group: str, seen: Group, cursor: bytes) -> bool:
        """Move the group's cursor, unless the group is no longer as it was seen; return whether it was moved."""
        arguments = (group, cursor, seen.last_delivered_id, len(seen.consumers))
        with translated_errors():
            return bool(self._client.execute_command("EVAL", _MOVE_CURSOR_IF_UNCHANGED, 1, self.key, *arguments))

    def pending_count(self, group: str, consumer: str) -> int:
        """Return the number of the consumer's pending entries. Raises GroupMissing."""
        with translated_errors():
            _, _, _, consumers = self._client.execute_command("XPENDING", self.key, group)
        return next((int(count) for name, count in consumers or () if name == consumer.encode()), 0)

    def acknowledge(self, group: str, ids: Sequence[bytes]) -> None:
        """Acknowledge entries, in one round trip."""
        with translated_errors():
            self._client.execute_command("XACK", self.key, group, *ids)

    def read_pending(self, group: str, consumer: str, after: bytes, count: int) -> list[Entry]:
        """Return the consumer's own pending entries behind an id, oldest first. Raises GroupMissing."""
        with translated_errors():
            return self._entries(self._client.execute_command(*self._read(group, consumer, count), after))

    def read_new(
        self, group: str, consumer: str, count: int, *, acknowledge: Sequence[bytes] = (), block: float | None = None
    ) -> list[Entry]:
        """
        Return entries that no consumer of the group has had, which are pending for this consumer from then on.

        Arguments:
            group: name of the group.
            consumer: name of the consumer.
            count: entries to return at the most.
            acknowledge: ids to acknowledge first, in the same round trip.
            block: seconds to wait for an entry, None not to wait. Must be less than the client's time-out.

        Raises:
            GroupMissing: the stream or its group is gone.
        """
        milliseconds = None if block is None else max(1, int(block * 1000))
        read = (*self._read(group, consumer, count, milliseconds), b">")
        with translated_errors():
            if not acknowledge:
                return self._entries(self._client.execute_command(*read))
            pipeline = self._client.pipeline(transaction=False)
            pipeline.execute_command("XACK", self.key, group, *acknowledge)
            pipeline.execute_command(*read)
            # redis-py would put the failed command's arguments into the message of an error that it raises itself.
            acknowledged, reply = pipeline.execute(raise_on_error=False)
            for result in (acknowledged, reply):
                if isinstance(result, Exception):
                    raise result
            return self._entries(reply)

    def claim(self, group: str, consumer: str, min_idle: int, cursor: bytes, count: int) -> Claimed:
        """
        Take over entries of any consumer that were idle for so many milliseconds. Raises GroupMissing.

        Arguments:
            group: name of the group.
            consumer: name of the consumer that takes them.
            min_idle: milliseconds.
            cursor: where to go on, b"0-0" to begin.
            count: entries to take at the most.
        """
        with translated_errors():
            reply = self._client.execute_command(
                "XAUTOCLAIM", self.key, group, consumer, min_idle, cursor, "COUNT", count
            )
        # Redis 6.2 gives two parts, with nil for an entry whose data is gone and which stays pending. 7 and newer give
        # three: the last one has the ids of such entries, which are not pending any more.
        entries = [self._entry(raw[0], raw[1]) for raw in reply[1] if raw is not None]
        return Claimed(reply[0], entries, len(reply[2]) if len(reply) > 2 else 0)

    def _entries(self, reply: Reply) -> list[Entry]:
        # One stream was asked for, so there is one at the most: [[key, [[id, [name, value, …]], …]]]
        return [self._entry(raw[0], raw[1]) for raw in reply[0][1]] if reply else []

    def _entry(self, entry_id: bytes, fields: list[bytes] | None) -> Entry:
        return Entry(entry_id, fields)

    def _read(self, group: str, consumer: str, count: int, block: int | None = None) -> tuple[Any, ...]:
        blocking = () if block is None else ("BLOCK", block)
        return ("XREADGROUP", "GROUP", group, consumer, "COUNT", count, *blocking, "STREAMS", self.key)


def _pairs(raw: list[Any]) -> dict[bytes, Any]:
    return dict(zip(raw[::2], raw[1::2], strict=True))
