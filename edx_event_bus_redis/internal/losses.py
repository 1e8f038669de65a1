"""
What is lost: the words for it, and the lines in the log, which are few however often something is lost.

Nothing is found out or counted here; the ledger does that.
"""

from __future__ import annotations

import enum
import logging

import attrs

from edx_event_bus_redis.internal.log_lines import CAN_CHECK_AGAIN, CANNOT_CHECK, LOST_TRIMMED, Line

logger = logging.getLogger(__name__)

# Seconds between two lines about such losses. A consumer that is too slow loses some with each read.
_INTERVAL = 10.0


class Reason(enum.StrEnum):
    """Why events cannot be delivered any more; as in the ledger."""

    TRIMMED = "trimmed"
    """They were trimmed, or deleted, before they were read."""
    DELETED = "deleted"
    """They were trimmed or deleted while they were pending."""
    SKIPPED = "skipped"
    """The cursor was moved over them."""
    GROUP_GONE = "group_gone"
    """The group was gone and had to be made anew."""
    FORGOTTEN = "forgotten"
    """The stream went back to what it was before it had them."""
    DROPPED_DEAD_LETTERS = "dropped_dead_letters"
    """They had failed, and their dead letters had to make room for newer ones."""


@attrs.frozen
class Loss:
    """
    Events that cannot be delivered any more.

    Attributes:
        count: how many.
        first: the first id that one of them may have had.
        last: the last such id.
    """

    count: int
    first: bytes
    last: bytes


class CheckTrouble:
    """
    Says that losses cannot be found out or entered, once, and once that it is over.

    Arguments:
        stream: key of the stream.
        group: name of the group.
    """

    def __init__(self, stream: str, group: str) -> None:
        self._stream = stream
        self._group = group
        self._is_said = False

    def happened(self, error: object) -> None:
        """Say it, unless it was said already."""
        if not self._is_said:
            self._is_said = True
            CANNOT_CHECK.log(logger, group=self._group, stream=self._stream, error=error)

    def over(self) -> None:
        """Say that it is over, if there was something."""
        if self._is_said:
            self._is_said = False
            CAN_CHECK_AGAIN.log(logger, group=self._group, stream=self._stream)


class LossLog:
    """
    Says how much was lost of what may be lost again and again: at once, then the sum of what follows every ten seconds.

    Arguments:
        stream: key of the stream.
        group: name of the group.
        line: what it says; by default that entries were trimmed before they were read.

    The times are those of one clock, in seconds.
    """

    def __init__(self, stream: str, group: str, line: Line = LOST_TRIMMED) -> None:
        self._stream = stream
        self._group = group
        self._line = line
        self._unsaid: Loss | None = None
        self._due = float("-inf")

    def add(self, loss: Loss) -> None:
        """Take note of a loss, to be said when it is due."""
        before = self._unsaid
        self._unsaid = loss if before is None else Loss(before.count + loss.count, before.first, loss.last)

    def say(self, now: float) -> None:
        """Say what has not been said, unless something was a moment ago."""
        if self._unsaid is not None and now >= self._due:
            self._due = now + _INTERVAL
            self.say_all()

    def say_all(self) -> None:
        """Say what has not been said."""
        if self._unsaid is None:
            return
        self._line.log(logger, group=self._group, stream=self._stream, **attrs.asdict(self._unsaid))
        self._unsaid = None
