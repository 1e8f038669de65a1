"""What a consumer or a monitor needs of the process that it runs in; ``crew.py`` and ``pool.Stop`` provide it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from edx_event_bus_redis.internal.message import Entry


class Stop(Protocol):
    """Whether and until when to stop; see ``pool.Stop``."""

    @property
    def requested(self) -> bool:
        """Whether to take nothing new."""

    @property
    def time_left(self) -> float:
        """Seconds until what is left must be let go."""

    @property
    def hands_over(self) -> bool:
        """Whether somebody else goes on with what is not begun."""

    def wait(self, seconds: float) -> bool:
        """Block for so many seconds or until a stop is requested; return whether it is."""


class Held(NamedTuple):
    """Entries that were read and not finished: their ids, and whether they are of those that are delivered again."""

    ids: list[bytes]
    again: bool


class Progress(Protocol):
    """Where a consumer leaves word of what it does, for others to see."""

    def idle(self) -> None:
        """Nothing is in hand."""

    def begin(self, entry: Entry) -> None:
        """An entry is in hand."""

    def succeeded(self, event_type: str, seconds: float) -> None:
        """The entry in hand was handled, which took so many seconds."""

    def failed(self, event_type: str | None, seconds: float | None) -> None:
        """
        The entry in hand cannot be handled.

        Arguments:
            event_type: None if it has none that is known here.
            seconds: that receivers took; None if there was nothing to give to them.
        """

    def retried(self) -> None:
        """An entry that failed was put aside for a retry."""

    def disposed_of(self, event_type: str | None) -> None:
        """An entry that killed workers is out of the way."""

    def errors(self, in_a_row: int) -> None:
        """So many errors have occurred since an event was handled."""

    def took(self, entries: Sequence[Entry]) -> None:
        """These entries were read; all that were read before are finished."""

    def held(self, count: int, unacknowledged: int = 0) -> None:
        """
        Of the entries that were read, the last ``count`` are not finished.

        Of those before them, ``unacknowledged`` are handled, and their acknowledgement is still to be sent.
        """

    def inherited(self) -> Held:
        """Return what the process before this one had read and not finished, until something is read."""

    def held_in_all(self) -> int:
        """Return how many entries this consumer and its siblings have read and not acknowledged."""

    def seen(self, entry_id: bytes) -> None:
        """No entry up to this one is new to this consumer."""

    def furthest_seen(self) -> bytes:
        """Return the furthest entry that this consumer or one of its siblings has seen."""


class InHand(NamedTuple):
    """
    An entry that a worker has in hand.

    Attributes:
        consumer: name of the worker in the group.
        entry_id: id of the entry.
        again: whether it is one of those that are delivered again.
        seconds: for how long.
    """

    consumer: str
    entry_id: bytes
    again: bool
    seconds: float


class WorkerLook(NamedTuple):
    """
    A worker, as its monitor sees it.

    Attributes:
        shard: its number.
        pid: its process id, or that of the one that had the shard last; 0 if there was none.
        state: ``gone``, ``starting``, ``idle`` or ``busy``.
        entry: id of the entry in hand, None if there is none.
        again: whether that is one of those that are delivered again.
        seconds: for how long it is in hand.
        handled: events that the shard has handled since the pool's start.
        failed: events that it has failed to handle.
        errors: errors in a row.
        restarts: how often its workers died.
        last_death: what the last one died of, None if none died.
        seconds_since_death: infinite if none died.
        deaths_in_a_row: with nothing handled in between, nor since.
        seconds_silent: since the worker gave a sign of life; if it is gone, since it is.
    """

    shard: int
    pid: int
    state: str
    entry: str | None
    again: bool
    seconds: float
    handled: int
    failed: int
    errors: int
    restarts: int
    last_death: str | None
    seconds_since_death: float
    deaths_in_a_row: int
    seconds_silent: float


class Crew(Protocol):
    """The workers of a pool, as their monitor sees them."""

    def load(self) -> tuple[int, int, int]:
        """Return how many workers there are, how many are busy and not in trouble, and how much all have handled."""

    def wish_for_workers(self, number: int) -> None:
        """Have the pool get so many workers, as far as it may have them."""

    def beat(self) -> None:
        """Say that the monitor is alive."""

    def in_hand(self) -> list[InHand]:
        """Return what the workers have in hand."""

    def workers(self) -> list[WorkerLook]:
        """Return what each worker does."""

    def seconds_unsupervised(self) -> float:
        """Return the seconds since the supervisor gave its last sign of life; it gives one every five seconds."""

    def deaths(self) -> dict[str, int]:
        """Return how many workers have died since the pool's start, by cause; the common ones are always there."""

    def held_in_all(self) -> int:
        """Return how many entries the workers have read and not acknowledged."""

    def furthest_seen(self) -> bytes:
        """Return the furthest entry that any worker has seen."""
