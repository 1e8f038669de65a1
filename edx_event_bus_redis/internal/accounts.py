"""
The accounts of a group as its monitor found them last: what ``/metrics`` tells of the group.

Nothing is asked here: the monitor finds out, and ``exposition`` tells.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import attrs

# Seconds after which what was found is not known any more. As long as a lease holds.
_VALID_SECONDS = 10.0


@attrs.frozen
class Accounts:
    """
    What a group has, and what it has lost.

    Attributes:
        lag: entries that it has not read; None if that cannot be known.
        pending: entries that were delivered and are not acknowledged.
        oldest_unread_seconds: age of the oldest entry that it has not read, 0 if there is none.
        oldest_pending_seconds: age of the oldest entry that was delivered and is not acknowledged, 0 if there is none.
        dead_letters: events that it could not handle.
        lost: events that could never be delivered to it, by reason.
        found_at: when, in seconds of the monotonic clock.
    """

    lag: int | None
    pending: int
    oldest_unread_seconds: float
    oldest_pending_seconds: float
    dead_letters: int
    lost: Mapping[str, int]
    found_at: float = attrs.field(factory=time.monotonic)

    @property
    def are_valid(self) -> bool:
        """Whether this is still what the group has, as far as anybody can know."""
        return time.monotonic() - self.found_at < _VALID_SECONDS
