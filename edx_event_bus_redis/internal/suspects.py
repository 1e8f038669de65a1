"""
Entries that may have killed a worker: each of their starts is counted in Redis before it happens.

1. What the predecessor of this worker had in hand when it died is certain: the supervisor says so. It is counted first
   of all, because nobody but this worker knows, and how it died is kept with the count, for whoever has to tell of it
   later. All else that it left was merely read ahead.
2. When a whole pool died nobody is left who knows, so everything that it left is suspect. Each is reckoned to have been
   started once, without being counted, which would cost every event a round trip. One that was merely read ahead is
   handled and forgotten; one that does kill gets a start less than it might, but never none.
3. All of them are marked in Redis as soon as they are read: who has several may die of one, and the next worker must
   not take the others for innocent. What others have left is marked when it is taken over, but for what was merely read
   ahead by one that left on purpose: it had nothing in hand.
4. Where an entry gets one start only, every entry is a suspect and every start is counted: there is no second one to
   find out with.
5. An entry that is marked, or whose starts are counted, is a suspect wherever it turns up again.
"""

from __future__ import annotations

from edx_event_bus_redis.internal.death import Death
from edx_event_bus_redis.internal.message import Entry
from edx_event_bus_redis.internal.private import GroupStore
from edx_event_bus_redis.internal.reader import Batch, LeftBy


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
        self._marked: set[tuple[bool, bytes]] = set()

    def count_death(self) -> None:
        """Count the start that the predecessor died of. Raises ServerError; it may be called again."""
        if self._death is not None:
            self._store.count_death(self._death)

    def look_at(self, batch: Batch) -> None:
        """Find the suspects among what was pending before. Raises ServerError."""
        if batch.left_by is None or not batch.entries:
            return
        again = batch.entries[0].origin is not None
        # Of what others left the suspects are marked already, in the step in which it was taken over.
        if batch.left_by is LeftBy.PREDECESSOR and not self._replaces:
            self._store.mark_suspects(batch.entries)
            self._marked |= {(again, entry.id) for entry in batch.entries}
        else:
            self._marked |= {(again, entry_id) for entry_id in self._store.counted_starts(batch.entries)}

    def is_suspect(self, entry: Entry) -> bool:
        """Return whether a worker may have died of the entry."""
        return self._most == 1 or (entry.origin is not None, entry.id) in self._marked

    def begin(self, entry: Entry) -> int:
        """Count the start of a suspect, before it happens; return minus the number of its starts if it gets no more."""
        return self._store.begin_suspect(entry, most=self._most, uncounted=0 if self._most == 1 else 1)

    def clear(self, entry: Entry) -> None:
        """Say that a suspect did not kill its worker this time and is done with."""
        self._marked.discard((entry.origin is not None, entry.id))
        if self._died_of(entry):
            self._death = None

    def certain_death_by(self, entry: Entry) -> Death | None:
        """Return how the predecessor died of the entry, None if it did not."""
        return self._death if self._died_of(entry) else None

    def last_death_by(self, entry: Entry, starts: int) -> tuple[int, Death] | None:
        """
        Return the last of so many starts of which it is known how the entry killed, and how; None if it is of none.

        Raises ServerError. At a later start whoever knew how is gone too, or there was no supervisor.
        """
        certain = self.certain_death_by(entry)
        return self._store.known_death(entry) if certain is None else (starts, certain)

    def _died_of(self, entry: Entry) -> bool:
        death = self._death
        return death is not None and death.entry_id == entry.id and death.again == (entry.origin is not None)
