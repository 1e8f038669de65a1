"""
Where a consumer's next entries come from: its own pending ones, then those it claims, then new ones.

1. Own pending entries are those that this name had when its process died, or whose reply was lost with a connection.
   They are read at the start, after each failure (twice: the server may still be handling a request that its client
   has given up), and now and then.
2. Entries that others have left, or held for too long, are taken over: at the start, periodically, and when the monitor
   calls for it.
3. New entries are waited for, no longer than the next of the above is due. Right before, the ledger is told what was
   trimmed before anybody read it: once the gap is read over nobody can tell any more.
"""

from __future__ import annotations

import enum
import itertools
import random
import time
from collections.abc import Sequence
from typing import NamedTuple

from edx_event_bus_redis.internal.connections import SentAhead
from edx_event_bus_redis.internal.errors import AccessRefused, ServerUnavailable, SlotSplit
from edx_event_bus_redis.internal.ledger import Ledger
from edx_event_bus_redis.internal.message import Entry
from edx_event_bus_redis.internal.server_errors import has_timed_out
from edx_event_bus_redis.internal.sizes import READ_AHEAD_BYTES
from edx_event_bus_redis.internal.stream import Stream
from edx_event_bus_redis.internal.takeover import TakeOver

_START = b"0-0"

# Seconds between two looks at own pending entries when nothing has failed.
_SWEEP_INTERVAL = 60.0

# Seconds after a failure until the second look. Longer than a reply may take.
_SWEEP_AGAIN = 6.0

# Seconds of a blocking read when something else is due right now.
_SHORTEST_BLOCK = 0.001


class LeftBy(enum.Enum):
    """Whose pending entries were read."""

    PREDECESSOR = "the process that had this consumer name before"
    ANOTHER = "a consumer of another name"
    ITSELF = "nobody: they were on their way when a connection broke, or were left to be read again"


class Batch(NamedTuple):
    """
    What was read.

    Attributes:
        entries: to be handled.
        gone: ids of entries whose data was trimmed or deleted, and which are still pending.
        gone_already: ids of such entries that are in the ledger already.
        left_by: who had them before; None if they are new.
    """

    entries: list[Entry]
    gone: list[bytes]
    gone_already: Sequence[bytes] = ()
    left_by: LeftBy | None = None


class Reader:
    """
    Reads for one consumer.

    Arguments:
        stream: to read.
        group: consumer group.
        consumer: consumer name.
        take_over: what takes over the entries of others.
        ledger: of the group, None if the stream is never trimmed.
    """

    def __init__(
        self, stream: Stream, group: str, consumer: str, take_over: TakeOver, ledger: Ledger | None = None
    ) -> None:
        self.stream = stream
        self._group = group
        self._consumer = consumer
        self._take_over = take_over
        self._gaps = None if ledger is None else ledger.gaps
        self._pending_cursor: bytes | None = _START
        self._first_pass = True
        self._sweep_due = self._again(_SWEEP_INTERVAL)

    def acknowledge(self, ids: Sequence[bytes]) -> None:
        """Acknowledge entries. Raises ServerError and its subclasses."""
        self.stream.acknowledge(self._group, ids)

    def send_acknowledgement(self, ids: Sequence[bytes]) -> SentAhead:
        """Have entries acknowledged, without waiting for the reply. Raises nothing: what is returned tells."""
        return self.stream.send_acknowledgement(self._group, ids)

    def begin_again(self) -> None:
        """Say that what was read is forgotten: it is still pending, unless somebody has claimed it meanwhile."""
        self._pending_cursor = _START

    def failed(self) -> None:
        """Say that a read failed: entries may have been given to this consumer that it has never seen."""
        self._pending_cursor = _START
        self._sweep_due = time.monotonic() + _SWEEP_AGAIN
        if self._gaps is not None:
            self._gaps.failed()

    def read(self, count: int, acknowledge: Sequence[bytes] = (), block: float | None = None) -> Batch:
        """
        Return the next entries.

        Arguments:
            count: entries to return at the most.
            acknowledge: ids to acknowledge before; they are, if this returns.
            block: seconds to wait at the most if there is nothing, None not to wait.

        Raises:
            ServerError: and its subclasses; ``failed`` must be called then, before the next read.
        """
        if time.monotonic() >= self._sweep_due:
            self._pending_cursor = _START
            self._sweep_due = self._again(_SWEEP_INTERVAL)
        if self._pending_cursor is not None or self._is_take_over_due():
            # What is acknowledged now must not be read as pending.
            if acknowledge:
                self.acknowledge(acknowledge)
                acknowledge = ()
            batch = self._pending(count) or self._claimed(count)
            if batch is not None:
                return batch
        return self._new(count, acknowledge, block)

    def _pending(self, count: int) -> Batch | None:
        if self._pending_cursor is None:
            return None
        entries = self.stream.read_pending(self._group, self._consumer, self._pending_cursor, count)
        if not entries:
            self._pending_cursor = None
            self._first_pass = False
            return None
        self._pending_cursor = entries[-1].id
        return _sorted_out(entries)._replace(left_by=LeftBy.PREDECESSOR if self._first_pass else LeftBy.ITSELF)

    def _is_take_over_due(self) -> bool:
        return time.monotonic() >= self._take_over.due_at

    def _claimed(self, count: int) -> Batch | None:
        while self._is_take_over_due():
            taken = self._take_over.take(count)
            if taken.entries or taken.lost:
                entries = self.stream.parsed(taken.entries)
                return Batch(entries, [], gone_already=taken.lost, left_by=LeftBy.ANOTHER)
        return None

    def _new(self, count: int, acknowledge: Sequence[bytes], block: float | None) -> Batch:
        # Without blocking while there is something to acknowledge: a busy consumer asks once, an idle one twice.
        if acknowledge or block is None:
            block = None
        else:
            due = min(self._sweep_due, self._take_over.due_at)
            block = max(_SHORTEST_BLOCK, min(block, due - time.monotonic()))
        check, twice = ((), False) if self._gaps is None else (self._gaps.command(), self._gaps.is_due_behind)
        try:
            entries, replies = self.stream.read_new_after(
                check, self._group, self._consumer, count, acknowledge=acknowledge, block=block, twice=twice
            )
        except (AccessRefused, SlotSplit) as error:
            if self._gaps is None or not check:
                raise
            # It may be the check alone, which takes the whole transaction along; it needs more keys than the read.
            self._gaps.refused(error)
            return self._new(count, acknowledge, block)
        except ServerUnavailable as error:
            if self._gaps is not None and check and has_timed_out(error):
                self._gaps.timed_out()
            raise
        if self._gaps is not None:
            self._gaps.checked(replies)
        within = _within(entries, READ_AHEAD_BYTES)
        if within < len(entries):
            # The rest is pending, and read as such, in portions that are measured on the server.
            self._pending_cursor = _START
        return _sorted_out(entries[:within])

    @staticmethod
    def _again(interval: float) -> float:
        """A time that is due in about the interval; the consumers of a pool, started together, spread out."""
        return time.monotonic() + interval * random.uniform(0.8, 1.2)


def _within(entries: Sequence[Entry], most_bytes: int) -> int:
    """Return how many of the first entries have so many bytes together, and the one that exceeds them."""
    sizes = itertools.accumulate(entry.size for entry in entries)
    return next((number for number, size in enumerate(sizes, 1) if size >= most_bytes), len(entries))


def _sorted_out(entries: list[Entry]) -> Batch:
    gone = [entry.id for entry in entries if entry.is_gone]
    return Batch([entry for entry in entries if not entry.is_gone] if gone else entries, gone)
