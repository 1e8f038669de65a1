"""
One stream and the commands on it, all but those that append: these are in ``appending``.

Replies are parsed here, from their raw RESP2 shape: redis-py's own parsing builds dictionaries that nobody needs, and
its versions differ in what they make of an entry whose data is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import redis
from redis import exceptions

from edx_event_bus_redis.internal.connections import SentAhead
from edx_event_bus_redis.internal.errors import GroupMissing
from edx_event_bus_redis.internal.message import Entry
from edx_event_bus_redis.internal.names import group_key
from edx_event_bus_redis.internal.scripts import ABOUT, NEXT_ID, READ_PENDING
from edx_event_bus_redis.internal.server_errors import translated_errors
from edx_event_bus_redis.internal.sizes import NO_LIMIT, READ_AHEAD_BYTES, shortened, size_of

Reply = Any

# Of a time in milliseconds: those of the next 30,000 years.
_MOST_DIGITS = 15


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


class About(NamedTuple):
    """
    A stream.

    Attributes:
        length: entries that it has.
        first: id of the first of them, None if there is none.
        last: id of the last of them.
        groups: names of its groups.
        added: entries that were ever added to it; None if the server does not count them (before Redis 7).
    """

    length: int
    first: bytes | None
    last: bytes | None
    groups: list[str]
    added: int | None = None


class Group(NamedTuple):
    """
    A consumer group.

    Attributes:
        last_delivered_id: its cursor.
        consumers: its consumers.
        finished: entries up to the cursor that are not pending, those among them that were lost; None if the server
            does not know.
    """

    last_delivered_id: bytes
    consumers: tuple[Consumer, ...]
    finished: int | None = None


class Pending(NamedTuple):
    """The pending entries of a group: how many, and the id of the oldest, b"0-0" if there is none."""

    number: int
    oldest: bytes


class Script:
    """
    A script on the server.

    Arguments:
        client: of ``make_client``.
        text: in Lua.
    """

    def __init__(self, client: redis.Redis, text: str) -> None:
        self._client = client
        self._text = text
        self._script = client.register_script(text)
        self.sha: str = self._script.sha

    def __call__(self, keys: Sequence[str], arguments: Sequence[Any]) -> Reply:
        """Run it, and load it before if need be."""
        with translated_errors(*keys):
            return self._script(keys=keys, args=arguments)

    def load(self) -> None:
        """Load it, so that EVALSHA can run it."""
        with translated_errors():
            self._client.script_load(self._text)


class Stream:
    """
    A stream on a server.

    Arguments:
        client: of ``make_client``, which leaves replies as they are.
        key: of the stream.
        largest: bytes of an entry of which all is kept.

    Every method raises ServerError or one of its subclasses, and blocks no longer than the client's time-out.
    """

    def __init__(self, client: redis.Redis, key: str, largest: int = NO_LIMIT) -> None:
        self._client = client
        self._about, self._next_id = self.script(ABOUT), self.script(NEXT_ID)
        self._read_pending = self.script(READ_PENDING)
        self.key = key
        self.largest = largest

    def close(self) -> None:
        """Close the connections; the next call would open new ones."""
        self._client.connection_pool.disconnect()

    def script(self, text: str) -> Script:
        """Return a script to be run on the stream's server."""
        return Script(self._client, text)

    def about(self) -> About:
        """Return what there is. Raises GroupMissing if there is no stream."""
        with translated_errors():
            fields = _pairs(self._about([self.key], []))
            groups = [_pairs(raw)[b"name"] for raw in self._client.execute_command("XINFO GROUPS", self.key)]
        names = [name.decode(errors="surrogateescape") for name in groups]
        return About(
            fields[b"length"], fields[b"first-entry"], fields[b"last-entry"], names, fields.get(b"entries-added")
        )

    def group(self, name: str) -> Group:
        """Return the state of a group. Raises GroupMissing."""
        with translated_errors(self.key):
            for raw in self._client.execute_command("XINFO GROUPS", self.key):
                fields = _pairs(raw)
                if fields[b"name"] == name.encode(errors="surrogateescape"):
                    read = fields.get(b"entries-read")
                    finished = None if read is None else read - fields[b"pending"]
                    return Group(fields[b"last-delivered-id"], self._consumers(name), finished)
        raise GroupMissing(f"no group {name!r} on stream {self.key!r}")

    def _consumers(self, group: str) -> tuple[Consumer, ...]:
        # The time first: then what is reckoned to be the last sign of life is a little early, and leaving comes after.
        now = self.milliseconds()
        left_at = self._client.hgetall(group_key(self.key, "left", group))
        consumers = []
        for raw in self._client.execute_command("XINFO CONSUMERS", self.key, group):
            fields = _pairs(raw)
            name, idle = fields[b"name"], fields[b"idle"]
            when = left_at.get(name, b"")
            left = when.isdigit() and len(when) <= _MOST_DIGITS and int(when) >= now - idle
            consumers.append(Consumer(name.decode(errors="replace"), fields[b"pending"], idle, left))
        return tuple(consumers)

    def milliseconds(self) -> int:
        """Return the time by the server's clock, which ids and its consumers' idle times are of."""
        with translated_errors():
            seconds, microseconds = self._client.time()
        return int(seconds * 1000 + microseconds // 1000)

    def length(self) -> int:
        """Return the number of entries, 0 if there is no stream."""
        with translated_errors():
            return int(self._client.xlen(self.key))

    def last_id(self) -> bytes:
        """Return the largest id that the stream has ever had. Raises GroupMissing if there is no stream."""
        last: bytes = _pairs(self._about([self.key], []))[b"last-generated-id"]
        return last

    def next_id(self, entry_id: bytes) -> bytes | None:
        """Return the id of the first entry behind an id, None if there is none."""
        found: bytes | None = self._next_id([self.key], [entry_id])
        return found

    def entries(self, first: bytes, last: bytes, count: int) -> list[Entry]:
        """Return entries from an id, or behind one with "(" before it, up to and with another, oldest first."""
        with translated_errors():
            reply = self._client.execute_command("XRANGE", self.key, first, last, "COUNT", count)
        return self.parsed(reply)

    def delete(self, ids: Sequence[bytes]) -> int:
        """Delete entries; return how many there were."""
        with translated_errors():
            return int(self._client.execute_command("XDEL", self.key, *ids))

    def newest(self, key: str, count: int, *, before: int | None = None) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """
        Return the newest entries of another stream in the same slot, newest first: their ids and fields.

        ``before``: only those older than this time, in milliseconds since the epoch.
        """
        if before is not None and before <= 0:
            return []
        last = "+" if before is None else str(before - 1)
        with translated_errors():
            reply = self._client.execute_command("XREVRANGE", key, last, "-", "COUNT", count)
        return [(entry_id, _pairs(fields)) for entry_id, fields in reply]

    def keeps_lag_when_trimmed(self) -> bool:
        """Return whether the lag that the server reports is right also after entries were trimmed unread."""
        with translated_errors():
            about = self._client.info("server")
        # Redis 7.0 goes on counting from where it was when a group reads over a gap.
        version, least = ("valkey_version", 9) if "valkey_version" in about else ("redis_version", 8)
        return int(str(about.get(version, "0")).partition(".")[0]) >= least

    def pending(self, group: str) -> Pending:
        """Return what is pending for all consumers of the group. Raises GroupMissing."""
        with translated_errors():
            count, oldest, _, _ = self._client.execute_command("XPENDING", self.key, group)
        return Pending(count, oldest or b"0-0")

    def pending_count(self, group: str, consumer: str) -> int:
        """Return the number of the consumer's pending entries. Raises GroupMissing."""
        with translated_errors():
            _, _, _, consumers = self._client.execute_command("XPENDING", self.key, group)
        return next((int(count) for name, count in consumers or () if name == consumer.encode()), 0)

    def acknowledge(self, group: str, ids: Sequence[bytes]) -> None:
        """Acknowledge entries, in one round trip."""
        with translated_errors(self.key):
            self._client.execute_command(*self._acknowledgement(group, ids))

    def send_acknowledgement(self, group: str, ids: Sequence[bytes]) -> SentAhead:
        """Have entries acknowledged, without waiting for the reply. Raises nothing: what is returned tells."""
        return SentAhead(self._client, *self._acknowledgement(group, ids))

    def _acknowledgement(self, group: str, ids: Sequence[bytes]) -> tuple[Any, ...]:
        return "XACK", self.key, group, *ids

    def read_pending(self, group: str, consumer: str, after: bytes, count: int) -> list[Entry]:
        """
        Return the consumer's own pending entries behind an id, oldest first. Raises GroupMissing.

        They are fewer than there are, and than ``count``, if more would have too many bytes.
        """
        arguments = [group, consumer, after, count, self.largest, READ_AHEAD_BYTES]
        return self.parsed(self._read_pending([self.key], arguments))

    def read_new_after(
        self,
        command: tuple[Any, ...],
        group: str,
        consumer: str,
        count: int,
        *,
        acknowledge: Sequence[bytes] = (),
        block: float | None = None,
        twice: bool = False,
    ) -> tuple[list[Entry], list[Reply]]:
        """
        Return entries that no consumer of the group has had, which are pending for this consumer from then on.

        Arguments:
            command: to be run right before the read, in the same round trip; an empty one is none. The two are one
                transaction unless the read blocks, which a transaction cannot do. Then they reach the server in one
                piece, and it does one after the other.
            group: name of the group.
            consumer: name of the consumer.
            count: entries to return at the most.
            acknowledge: ids to acknowledge first, in the same round trip too.
            block: seconds to wait for an entry, None not to wait. Must be less than the client's time-out.
            twice: whether to run the command right behind the read, too.

        Returns:
            The entries, and the replies to the command: an exception where it failed.

        Raises:
            GroupMissing: the stream or its group is gone.
        """
        milliseconds = None if block is None else max(1, int(block * 1000))
        blocking = () if milliseconds is None else ("BLOCK", milliseconds)
        read = ("XREADGROUP", "GROUP", group, consumer, "COUNT", count, *blocking, "STREAMS", self.key, b">")
        with translated_errors(self.key):
            if not acknowledge and not command:
                return self._entries(self._client.execute_command(*read)), []
            before = [("XACK", self.key, group, *acknowledge)] if acknowledge else []
            around = [command] if command else []
            commands = [*before, *around, read, *(around if twice else [])]
            replies = self._together(commands, is_transaction=bool(command) and block is None)
            acknowledged, reply = replies[: len(before)], replies.pop(len(before) + len(around))
            for result in (*acknowledged, reply):
                if isinstance(result, Exception):
                    raise result
            return self._entries(reply), replies[len(before) :]

    def parsed(self, raw: Iterable[Any]) -> list[Entry]:
        """Return entries from their raw replies, ``[id, [name, value, …]]``, and its size if a script shortened it."""
        return [self._entry(*each) for each in raw]

    def _together(self, commands: Sequence[tuple[Any, ...]], *, is_transaction: bool) -> list[Reply]:
        """Send commands in one piece; return their replies, which may be exceptions."""
        pipeline = self._client.pipeline(transaction=is_transaction)
        for command in commands:
            pipeline.execute_command(*command)
        try:
            # redis-py would put the failed command's arguments into the message of an error that it raises itself.
            replies: list[Reply] = pipeline.execute(raise_on_error=False)
            return replies
        except exceptions.ResponseError as error:
            # Redis 7.0 accepts no transaction at all while its memory is full. Nothing of it has been done.
            if not is_transaction or "maxmemory" not in str(error):
                raise
            return self._together(commands, is_transaction=False)

    def _entries(self, reply: Reply) -> list[Entry]:
        # One stream was asked for, so there is one at the most: [[key, [[id, [name, value, …]], …]]]
        return self.parsed(reply[0][1]) if reply else []

    def _entry(self, entry_id: bytes, fields: list[bytes] | None, *shortened_from: int) -> Entry:
        size = shortened_from[0] if shortened_from else size_of(fields)
        if fields and size > self.largest:
            fields = shortened(fields)
        return Entry(entry_id, fields, None, 0, b"", size)


def _pairs(raw: list[Any]) -> dict[bytes, Any]:
    return dict(zip(raw[::2], raw[1::2], strict=True))
