"""
How a producer trims with ``EVENT_BUS_REDIS_STREAM_KEEP_UNACKED``: only entries that every group has acknowledged.
Without the setting nothing is decided here: each XADD trims.

A server that does not know the option is found out by its first refusal, which costs one round trip and no event. It is
asked again after a while, because it may have been updated. Whoever sends nothing can ask without trying.

Looking for what may be trimmed is not free: while the entries at the head of a stream are unacknowledged, the server
looks through all that is above the cap, each time. So only one event in many asks for it.
"""

from __future__ import annotations

import enum
import logging
import math
import time

import redis
from redis import exceptions

from edx_event_bus_redis.internal.log_lines import KEEP_UNACKED_HAS_NO_EFFECT
from edx_event_bus_redis.internal.server_errors import translated_errors

logger = logging.getLogger(__name__)

# Events of one stream for which the server trims once. The first of a process is one of them, however short the process
# lives.
_EVENTS_PER_TRIM = 100

# Seconds after which a server without memory may look once more for what can be trimmed of a stream: it is not free.
_SECONDS_PER_ROOM = 1.0

# Seconds after which a server that has refused is asked again.
_REFUSAL_HOLDS = 300.0

# Entries that a stream may have above its cap though it is trimmed there: by whole nodes of a hundred, or once in a
# hundred events. Many processes that begin at once may leave more, for a while.
_SLACK, _SHARE_OF_SLACK = 2 * _EVENTS_PER_TRIM, 0.1


class Trim(enum.Enum):
    """What an entry that is appended does to the rest of the stream."""

    NOTHING = enum.auto()
    """It leaves the stream as it is."""
    OLDEST = enum.auto()
    """The oldest entries are trimmed, whatever they are."""
    ACKNOWLEDGED = enum.auto()
    """Those of the oldest entries are trimmed that every group has acknowledged."""


def outgrows(length: int, cap: int) -> bool:
    """Return whether a stream of so many entries is most likely not trimmed at that cap, whatever the settings are."""
    return length > cap + _SLACK + cap * _SHARE_OF_SLACK


def longest_if_acknowledged(cap: int) -> int:
    """
    Return how many entries a stream of that cap may have whose producers all keep what is not acknowledged, and whose
    groups acknowledge what they read.

    It is so much, twice the cap and a thousand, because trimming comes with every hundredth event of a process: each
    process that produces to the stream may leave a hundred above the cap, and there are some where the cap is small and
    many where it is large. What has that length for more than a moment is kept, or is not trimmed at all.
    """
    return 2 * cap + 10 * _EVENTS_PER_TRIM


def knows_acknowledged_trimming(client: redis.Redis) -> bool:
    """
    Return whether the server knows ``Trim.ACKNOWLEDGED``; changes nothing and needs no right.

    Raises ServerError or one of its subclasses.
    """
    with translated_errors():
        try:
            # A command that came with that option, in Redis 8.2. That it lacks its arguments is found out before rights
            # are looked at, and after it is known that there is such a command.
            client.execute_command("XACKDEL")
        except exceptions.ResponseError as error:
            return str(error).startswith("wrong number of arguments")
    return False


def server_without_acknowledged_trimming(client: redis.Redis) -> str | None:
    """
    Return name and version of the server if it does not know ``Trim.ACKNOWLEDGED``, None if it does.

    Raises ServerError or one of its subclasses.
    """
    if knows_acknowledged_trimming(client):
        return None
    with translated_errors():
        about = client.info("server")
    name, version = next(
        (name, about[field])
        for name, field in (("Valkey", "valkey_version"), ("Redis", "redis_version"))
        if field in about
    )
    return f"{name} {version}"


class KeepUnacked:
    """What one producer knows of its server, and of when it is time to trim. Threads may share it."""

    def __init__(self) -> None:
        self._refused_until = 0.0
        self._warned = False
        self._since_trim: dict[str, int] = {}
        self._made_room_at: dict[str, float] = {}

    def next_trim(self, stream: str) -> Trim:
        """Return how the next entry of this stream is to trim it."""
        if time.monotonic() < self._refused_until:
            return Trim.OLDEST
        count = self._since_trim.get(stream, 0)
        self._since_trim[stream] = (count + 1) % _EVENTS_PER_TRIM
        return Trim.NOTHING if count else Trim.ACKNOWLEDGED

    def may_make_room(self, stream: str) -> bool:
        """Return whether it is time to look for what may go, as the server has no memory for an event."""
        now = time.monotonic()
        if now - self._made_room_at.get(stream, -math.inf) < _SECONDS_PER_ROOM:
            return False
        self._made_room_at[stream] = now
        return True

    def refused(self) -> None:
        """Take note that the server does not know the option, and say so once."""
        self._refused_until = time.monotonic() + _REFUSAL_HOLDS
        self._since_trim.clear()
        if not self._warned:
            self._warned = True
            KEEP_UNACKED_HAS_NO_EFFECT.log(logger)
