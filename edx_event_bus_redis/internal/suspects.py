"""
Entries that may have killed a worker: each of their starts is counted in Redis before it happens.

1. What the predecessor of this worker had in hand when it died is certain: the supervisor says so. All else that it
   left was merely read ahead.
2. When a whole pool died nobody is left who knows, so everything that it left is suspect. Each is reckoned to have been
   started once, without being counted, which would cost every event a round trip. One that was merely read ahead is
   handled and forgotten; one that does kill gets a start less than it might, but never none.
3. An entry whose starts are counted already is a suspect wherever it turns up again.
"""

from __future__ import annotations

import attrs

from edx_event_bus_redis.internal.message import Entry
from edx_event_bus_redis.internal.private import GroupStore
from edx_event_bus_redis.internal.reader import Batch, LeftBy


@attrs.frozen
class Death:
    """
    How the predecessor of this worker died.

    Attributes:
        entry_id: what it had in hand.
        again: whether that was delivered again, from the group's own stream.
        cause: in words.
        worker_exit: name of the signal or exit status.
        stack: Python stack that it hung in, empty if unknown.
    """

    entry_id: bytes
    again: bool
    cause: str
    worker_exit: str
    stack: str = ""


_UNKNOWN = "its worker was killed together with the pool"


class Suspects:
    """
    The suspects among what one consumer reads.

    Arguments:
        store: of the group.
        most: starts that an entry gets.
        death: of the predecessor; None if there was none in this pool, or it had nothing in hand.
        replaces: whether there was a predecessor in this pool.
    """

    def __init__(self, store: GroupStore, most: int, death: Death | None, *, replaces: bool) -> None:
        self._store = store
        self._most = most
        self._death = death
        self._replaces = replaces
        self._likely: set[tuple[bool, bytes]] = set()
        self._counted: set[tuple[bool, bytes]] = set()

    def look_at(self, batch: Batch) -> None:
        """Find the suspects among what was pending before."""
        if batch.left_by is None or not batch.entries:
            return
        again = batch.entries[0].origin is not None
        if batch.left_by is LeftBy.ANOTHER or not self._replaces:
            self._likely |= {(again, entry.id) for entry in batch.entries}
        self._counted |= {(again, entry_id) for entry_id in self._store.counted_starts(batch.entries)}

    def is_suspect(self, entry: Entry) -> bool:
        """Return whether a worker may have died of the entry."""
        key = (entry.origin is not None, entry.id)
        return key in self._likely or key in self._counted or self._died_of(entry)

    def begin(self, entry: Entry) -> int:
        """Count the start of a suspect, before it happens; return minus the number of its starts if it gets no more."""
        return self._store.begin_suspect(entry, before=1, certain=self._died_of(entry), most=self._most)

    def clear(self, entry: Entry) -> None:
        """Say that a suspect did not kill its worker this time and is done with."""
        key = (entry.origin is not None, entry.id)
        self._likely.discard(key)
        self._counted.discard(key)
        if self._died_of(entry):
            self._death = None

    def death_by(self, entry: Entry) -> Death:
        """Return how the entry killed, as far as anybody knows."""
        if self._death is not None and self._died_of(entry):
            return self._death
        return Death(entry.id, entry.origin is not None, _UNKNOWN, "unknown")

    def _died_of(self, entry: Entry) -> bool:
        death = self._death
        return death is not None and death.entry_id == entry.id and death.again == (entry.origin is not None)
