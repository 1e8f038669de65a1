"""
The failures of one consumer: what is said of them, how long to wait after one, and when there are too many.

What becomes of an event that failed is the business of ``outcomes``; what is said of the rest, of ``troubles``.
"""

from __future__ import annotations

import enum

from edx_event_bus_redis.internal.errors import TooManyErrors
from edx_event_bus_redis.internal.message import Message
from edx_event_bus_redis.internal.protocols import Progress
from edx_event_bus_redis.internal.troubles import Troubles


class Doing(enum.Enum):
    """What may fail by itself while the rest succeeds."""

    SETTLE = "settle what was not handled"
    READ = "read and acknowledge"
    READ_AGAIN = "read what is delivered again"
    HANDLE = "handle"


class Failures:
    """
    The failures of one consumer.

    Arguments:
        troubles: those that are no event's fault.
        limit: errors in a row, of whatever kind, after which it gives up; None for never.
        progress: where the number of errors in a row is left.

    Attributes:
        doing: what is being done right now, to be set before.
    """

    def __init__(self, troubles: Troubles, limit: int | None, progress: Progress) -> None:
        self._troubles = troubles
        self._limit = limit
        self._progress = progress
        self._in_a_row = 0
        self.doing = Doing.READ

    @property
    def in_trouble(self) -> bool:
        """Whether something fails that is no event's fault."""
        return self._troubles.count > 0

    def happened(self, error: Exception, message: Message | None = None) -> float:
        """Record a failure that is no event's fault; return the seconds to wait. Raises TooManyErrors."""
        seconds = self._troubles.happened(error, message, at=self.doing.value)
        self.count()
        return seconds

    def over(self) -> None:
        """Take note that what is being done has succeeded."""
        if self.in_trouble:
            self._troubles.over(self.doing.value)

    def count(self) -> None:
        """Count an error. Raises TooManyErrors at the limit."""
        self._in_a_row += 1
        self._progress.errors(self._in_a_row)
        if self._limit is not None and self._in_a_row >= self._limit:
            raise TooManyErrors(f"Too many consecutive errors, exiting ({self._in_a_row} in a row)")

    def begin_new_row(self) -> None:
        """Take note that an event was handled."""
        self._in_a_row = 0
