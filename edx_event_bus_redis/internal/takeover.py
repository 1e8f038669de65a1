"""
Taking over what others have left pending, by a worker that is going to handle it.

* At once: from shards that this pool does not have any more, from pools that are gone, and from consumers that left.
* After ``claim_msgs_older_than``: from consumers of other software, and from those without a pool.
* Never: from a living pool, however long it takes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import attrs
import redis

from edx_event_bus_redis.internal import takeover_scripts as scripts
from edx_event_bus_redis.internal.board import Board
from edx_event_bus_redis.internal.losses import CheckTrouble
from edx_event_bus_redis.internal.message import split_id
from edx_event_bus_redis.internal.names import group_key, pool_key
from edx_event_bus_redis.internal.pools import Known, Pools
from edx_event_bus_redis.internal.server_errors import translated_errors
from edx_event_bus_redis.internal.sizes import READ_AHEAD_BYTES
from edx_event_bus_redis.internal.stream import Stream

# Seconds between two looks for entries to claim: a tenth of the claim time, within these bounds.
_SHORTEST = 1.0
_LONGEST = 60.0


@attrs.frozen
class Membership:
    """
    The pool that a consumer belongs to.

    Attributes:
        name: of the pool.
        token: of its lease.
        workers: returns the number of its shards, which may change.
    """

    name: str
    token: str
    workers: Callable[[], int]


class Departed(NamedTuple):
    """What consumers that are gone have left in a stream: pending entries, and the pools that some of them are of."""

    pending: int
    pools: list[str]


class TakenOver(NamedTuple):
    """
    What was taken over.

    Attributes:
        entries: as raw replies, ``[id, [name, value, …]]``.
        lost: ids of entries whose data was gone, oldest first; they are in the ledger.
        more: whether there may be more.
    """

    entries: list[Any]
    lost: list[bytes]
    more: bool


class TakeOver:
    """
    Takes over pending entries of one stream.

    Arguments:
        client: of ``make_client``.
        stream: to take them from.
        topic_stream: key of the topic's stream, beside which the group's keys are.
        group: name of the group.
        claimant: name of the consumer that takes them over.
        older_than: milliseconds that consumers of other software must have been idle; None never to claim from them.
        membership: of the claimant's pool; None if it has none.
        board: where the claimant's monitor calls for it.

    Every method raises ServerError or one of its subclasses.
    """

    def __init__(
        self,
        client: redis.Redis,
        stream: Stream,
        *,
        topic_stream: str,
        group: str,
        claimant: str,
        older_than: int | None,
        membership: Membership | None,
        board: Board,
    ) -> None:
        self._stream = stream
        self._group = group
        self._claimant = claimant
        self._older_than = older_than
        self._membership = membership
        self._board = board
        self._pools = Pools(client, topic_stream, group, membership.name if membership else None)
        self._names = Departures(client, stream.key, topic_stream, group, membership)
        self._private = [group_key(topic_stream, kind, group) for kind in ("left", "lost", "starts", "taken")]
        self._again = int(stream.key != topic_stream)
        self._script = client.register_script(scripts.TAKE_OVER)
        self._trouble = CheckTrouble(topic_stream, group)
        self._answered = -1
        self._due_at = 0.0

    @property
    def due_at(self) -> float:
        """When to look next, in seconds of the monotonic clock; infinite for never."""
        if self._older_than is None:
            return float("inf")
        return 0.0 if self._board.calls_for_take_over != self._answered else self._due_at

    def take(self, count: int) -> TakenOver:
        """Take over so many entries at the most; then the next look is due later, or at once if there may be more."""
        assert self._older_than is not None
        calls = self._board.calls_for_take_over
        # Who has no monitor has to judge for itself.
        known = self._pools.known() if self._membership else self._pools.judge()
        keys, arguments = self._names.of(known)
        arguments += [len(known.alive), *known.alive, self._claimant, self._older_than, count, self._again]
        arguments += [self._stream.largest, READ_AHEAD_BYTES]
        with translated_errors(*keys, *self._private):
            entries, lost, more, trouble = self._script(keys=[*keys, *self._private], args=arguments)
        if trouble:
            self._trouble.happened(f"{trouble.decode(errors='replace')} (key {self._private[1]})")
        elif lost:
            self._trouble.over()
        if not more:
            self._answered = calls
            interval = min(max(self._older_than / 10_000, _SHORTEST), _LONGEST)
            self._due_at = time.monotonic() + interval * random.uniform(0.8, 1.2)
        return TakenOver(entries, sorted(lost, key=split_id), bool(more))


class Departures:
    """
    Whose consumers have departed, for the scripts that act on it.

    Arguments:
        client: of ``make_client``.
        stream: key of the stream whose consumers are meant.
        topic_stream: key of the topic's stream.
        group: name of the group.
        membership: of the pool that asks; None if it is none.
    """

    def __init__(
        self, client: redis.Redis, stream: str, topic_stream: str, group: str, membership: Membership | None
    ) -> None:
        self._stream = stream
        self._topic_stream = topic_stream
        self._group = group
        self._membership = membership or Membership("", "", lambda: 0)
        self._tidy = client.register_script(scripts.TIDY)

    def of(self, known: Known) -> tuple[list[str], list[Any]]:
        """Return the keys and the arguments that the scripts begin with."""
        own = self._membership
        keys = [self._stream, *(self._pool_key(name) for name in (own.name, *known.gone))]
        return keys, [self._group, own.name, own.token, own.workers(), len(known.gone), *known.gone]

    def tidy(self, known: Known) -> Departed:
        """Remove departed consumers that have nothing pending; return what the others have."""
        keys, arguments = self.of(known)
        left = group_key(self._topic_stream, "left", self._group)
        with translated_errors(*keys):
            pending, pools = self._tidy(keys=[*keys, left], args=arguments)
        return Departed(pending, [name.decode(errors="surrogateescape") for name in pools])

    def _pool_key(self, name: str) -> str:
        return pool_key(self._topic_stream, self._group, name)


class HoldOn:
    """
    Shows that entries in hand are worked at, to whoever claims what is idle.

    Arguments:
        client: of ``make_client``.
        stream: key of the stream of the entries.
        group: name of the group.
    """

    def __init__(self, client: redis.Redis, stream: str, group: str) -> None:
        self._stream = stream
        self._group = group
        self._script = client.register_script(scripts.HOLD_ON)

    def renew(self, held: Sequence[tuple[str, bytes]]) -> None:
        """Reset the idle times of entries, given with the consumers that have them. Raises ServerError."""
        with translated_errors(self._stream):
            self._script(keys=[self._stream], args=[self._group, *(part for pair in held for part in pair)])
