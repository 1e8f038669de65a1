"""What a consumer needs of the process that it runs in; ``workers.py`` provides it."""

from __future__ import annotations

from typing import Protocol

from edx_event_bus_redis.internal.message import Entry


class Stop(Protocol):
    """Whether and until when to stop; see ``pool.Stop``."""

    @property
    def requested(self) -> bool:
        """Whether to take nothing new."""

    @property
    def time_left(self) -> float:
        """Seconds until what is left must be let go."""

    def wait(self, seconds: float) -> bool:
        """Block for so many seconds or until a stop is requested; return whether it is."""


class Progress(Protocol):
    """Where a consumer leaves word of what it does, for others to see."""

    def idle(self) -> None:
        """Nothing is in hand."""

    def begin(self, entry: Entry) -> None:
        """An entry is in hand."""

    def succeeded(self) -> None:
        """The entry in hand was handled."""

    def failed(self) -> None:
        """The entry in hand cannot be handled."""

    def disposed_of(self) -> None:
        """An entry that killed workers is out of the way."""

    def errors(self, in_a_row: int) -> None:
        """So many errors have occurred since an event was handled."""

    def held(self, count: int) -> None:
        """So many entries are read and not acknowledged."""

    def seen(self, entry_id: bytes) -> None:
        """No entry up to this one is new to this consumer."""

    def furthest_seen(self) -> bytes:
        """Return the furthest entry that this consumer or one of its siblings has seen."""
