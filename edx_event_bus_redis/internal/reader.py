"""
Where a consumer's next entries come from: its own pending ones, then those it claims, then new ones.

1. Own pending entries are those that this name had when its process died, or whose reply was lost with a connection.
   They are read at the start, after each failure (twice: the server may still be handling a request that its client
   has given up), and now and then.
2. Entries that others have held for too long are claimed, at the start and periodically.
3. New entries are waited for, no longer than the next of the above is due.
"""

from __future__ import annotations

import enum
import random
import time
from collections.abc import Sequence
from typing import NamedTuple

from edx_event_bus_redis.internal.message import Entry
from edx_event_bus_redis.internal.stream import Stream

_START = b"0-0"

# Seconds between two looks at own pending entries when nothing has failed.
_SWEEP_INTERVAL = 60.0

# Seconds after a failure until the second look. Longer than a reply may take.
_SWEEP_AGAIN = 6.0

# Seconds between two looks for entries to claim: a tenth of the claim time, within these bounds.
_CLAIM_SHORTEST = 1.0
_CLAIM_LONGEST = 60.0

# Seconds of a blocking read when something else is due right now.
_SHORTEST_BLOCK = 0.001


class LeftBy(enum.Enum):
    """Whose pending entries were read."""

    PREDECESSOR = "the process that had this consumer name before"
    ANOTHER = "a consumer of another name"


class Batch(NamedTuple):
    """
    What was read.

    Attributes:
        entries: to be handled.
        gone: ids of entries whose data was trimmed or deleted, and which are still pending.
        gone_already: number of such entries that the server has taken off the pending entries list itself.
        left_by: the process that may have had one of them in hand when it died, or None: the entries are new, or were
            on their way to this consumer when a connection broke.
    """

    entries: list[Entry]
    gone: list[bytes]
    gone_already: int = 0
    left_by: LeftBy | None = None


class Reader:
    """
    Reads for one consumer.

    Arguments:
        stream: to read.
        group: consumer group.
        consumer: consumer name.
        claim_older_than: milliseconds, None not to claim.
    """

    def __init__(self, stream: Stream, group: str, consumer: str, claim_older_than: int | None) -> None:
        self._stream = stream
        self._group = group
        self._consumer = consumer
        self._claim_older_than = claim_older_than
        self._pending_cursor: bytes | None = _START
        self._first_pass = True
        self._sweep_due = self._again(_SWEEP_INTERVAL)
        self._claim_cursor: bytes | None = _START if claim_older_than is not None else None
        self._claim_due = 0.0

    def failed(self) -> None:
        """Say that a read failed: entries may have been given to this consumer that it has never seen."""
        self._pending_cursor = _START
        self._sweep_due = time.monotonic() + _SWEEP_AGAIN

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
        if self._pending_cursor is not None or self._claims():
            # What is acknowledged now must not be read as pending.
            if acknowledge:
                self._stream.acknowledge(self._group, acknowledge)
                acknowledge = ()
            batch = self._pending(count) or self._claimed(count)
            if batch is not None:
                return batch
        return self._new(count, acknowledge, block)

    def _pending(self, count: int) -> Batch | None:
        if self._pending_cursor is None:
            return None
        entries = self._stream.read_pending(self._group, self._consumer, self._pending_cursor, count)
        if not entries:
            self._pending_cursor = None
            self._first_pass = False
            return None
        self._pending_cursor = entries[-1].id
        return _sorted_out(entries)._replace(left_by=LeftBy.PREDECESSOR if self._first_pass else None)

    def _claims(self) -> bool:
        return self._claim_cursor is not None and time.monotonic() >= self._claim_due

    def _claimed(self, count: int) -> Batch | None:
        while self._claims():
            assert self._claim_cursor is not None
            assert self._claim_older_than is not None
            claimed = self._stream.claim(self._group, self._consumer, self._claim_older_than, self._claim_cursor, count)
            self._claim_cursor = claimed.cursor
            if claimed.cursor == _START:
                interval = min(max(self._claim_older_than / 10_000, _CLAIM_SHORTEST), _CLAIM_LONGEST)
                self._claim_due = self._again(interval)
            if claimed.entries or claimed.gone:
                return _sorted_out(claimed.entries)._replace(gone_already=claimed.gone, left_by=LeftBy.ANOTHER)
        return None

    def _new(self, count: int, acknowledge: Sequence[bytes], block: float | None) -> Batch:
        # Without blocking while there is something to acknowledge: a busy consumer asks once, an idle one twice.
        if acknowledge or block is None:
            entries = self._stream.read_new(self._group, self._consumer, count, acknowledge=acknowledge)
            return _sorted_out(entries)
        due = self._sweep_due if self._claim_cursor is None else min(self._sweep_due, self._claim_due)
        block = max(_SHORTEST_BLOCK, min(block, due - time.monotonic()))
        return _sorted_out(self._stream.read_new(self._group, self._consumer, count, block=block))

    @staticmethod
    def _again(interval: float) -> float:
        """A time that is due in about the interval; the consumers of a pool, started together, spread out."""
        return time.monotonic() + interval * random.uniform(0.8, 1.2)


def _sorted_out(entries: list[Entry]) -> Batch:
    if all(entry.fields for entry in entries):
        return Batch(entries, [])
    return Batch([entry for entry in entries if entry.fields], [entry.id for entry in entries if not entry.fields])
