"""
Which pools a group has, and which of them are gone; what is pending under the names of those may be taken over.

Taking it over is done by ``takeover``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from typing import Any, NamedTuple

import redis

from edx_event_bus_redis.internal import takeover_scripts as scripts
from edx_event_bus_redis.internal.holder import is_surely_dead
from edx_event_bus_redis.internal.lease import holder_of
from edx_event_bus_redis.internal.log_lines import POOL_IS_GONE
from edx_event_bus_redis.internal.names import group_key, pool_key
from edx_event_bus_redis.internal.server_errors import translated_errors

logger = logging.getLogger(__name__)

# Seconds for which a lease has to be seen missing, by two looks of which each was answered, until its pool counts as
# gone: after the server itself has stood still, all leases have run out and every living pool needs a moment.
_MISSING_SECONDS = 3.0


class Known(NamedTuple):
    """
    The names of a group's pools.

    Attributes:
        alive: that are there.
        gone: that are not any more.
        stopped: those of ``gone`` that have given their name back themselves.
    """

    alive: list[str]
    gone: list[str]
    stopped: Collection[str] = ()


class Pools:
    """
    The pools of one group.

    Arguments:
        client: of ``make_client``.
        stream: key of the topic's stream.
        group: name of the group.
        own: name of the pool that asks, which is never judged; None if it is none.

    Every method raises ServerError or one of its subclasses.
    """

    def __init__(self, client: redis.Redis, stream: str, group: str, own: str | None) -> None:
        self._client = client
        self._stream = stream
        self._group = group
        self._own = own
        self._registry = group_key(stream, "pools", group)
        self._left = group_key(stream, "left", group)
        self._end = client.register_script(scripts.END)
        self._forget = client.register_script(scripts.FORGET)
        self._missing: dict[str, float] = {}

    def known(self) -> Known:
        """Return the pools as they were judged last."""
        judged = self._fields(self._registry).items()
        alive, gone, stopped = (
            [name for raw, state in judged if state == wanted and (name := _text(raw)) is not None]
            for wanted in (b"alive", b"gone", b"stopped")
        )
        return Known(alive, gone + stopped, stopped)

    def judge(self) -> Known:
        """Find the pools that are gone; to be called about once a second."""
        known = self.known()
        for name in [name for name in known.alive if name != self._own]:
            if self._is_gone(name):
                known.alive.remove(name)
                known.gone.append(name)
        return known

    def holds(self, name: str) -> bool:
        """Return whether somebody holds the lease of this name who is not known to be dead."""
        lease = self.lease(name)
        return bool(lease) and not is_surely_dead(holder_of(lease))

    def lease(self, name: str) -> dict[bytes, bytes]:
        """Return what the holder of this name publishes of itself; empty if nobody holds it."""
        return self._fields(pool_key(self._stream, self._group, name))

    def forget(self, names: Collection[str]) -> None:
        """Forget pools that are gone and have no consumers any more."""
        for name in names:
            with translated_errors():
                self._forget(keys=[pool_key(self._stream, self._group, name), self._registry, self._left], args=[name])

    def _fields(self, key: str) -> dict[bytes, bytes]:
        with translated_errors():
            fields: dict[Any, Any] = self._client.hgetall(key)
        return fields

    def _is_gone(self, name: str) -> bool:
        lease = self.lease(name)
        if lease:
            self._missing.pop(name, None)
            if not is_surely_dead(holder_of(lease)):
                return False
            token, why = lease[b"token"].decode(), "its process is dead"
        else:
            missing_since = self._missing.setdefault(name, time.monotonic())
            if time.monotonic() - missing_since < _MISSING_SECONDS:
                return False
            token, why = "", "it has shown no sign of life"
        with translated_errors():
            keys = [pool_key(self._stream, self._group, name), self._registry]
            is_gone, is_first = self._end(keys=keys, args=[name, token, "gone"])
        self._missing.pop(name, None)
        # Only who has marked it says so. The others act on it, too.
        if is_first:
            POOL_IS_GONE.log(logger, gone=name, group=self._group, stream=self._stream, why=why)
        return bool(is_gone)


def _text(raw: bytes) -> str | None:
    """Return a name as text; None if it is none, and so not that of a pool."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None
