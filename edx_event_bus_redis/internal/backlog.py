"""
Warns before a group loses events: a stream is trimmed at its cap, whether its groups have read what goes or not. And
before the server has no memory left, where it is not: a stream that keeps what is not acknowledged has no bound.

Said once when the unread part reaches a share of the cap, or the stream is far above it, again after a while if it
stays there, and once when it is over.

Whether anything is lost is up to the producers: it is not if all of them keep what is not acknowledged, or if their cap
is another one. What is known of that is said: the setting of this service, and what the stream has grown to.

What is lost then is not said here: the ledger finds out.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from edx_event_bus_redis.internal.log_lines import CAUGHT_UP, FALLS_BEHIND, STREAM_OUTGROWN, STREAM_SHRUNK
from edx_event_bus_redis.internal.trimming import longest_if_acknowledged, outgrows

logger = logging.getLogger(__name__)

# Share of the cap at which to warn, and below which it is over: apart, so that a backlog near the line is not said
# again and again.
_WARN_AT = 0.8
_OVER_BELOW = 0.7

# Share of the length at which to warn of a stream below which that is over, for the same reason.
_SHRUNK_BELOW = 0.9

# Seconds between two warnings while it lasts.
_REPEAT = 600.0

# Seconds over which the rate at which the backlog grows is measured.
_WINDOW = 10.0


class _Trouble:
    """When to say that something lasts, and that it is over."""

    def __init__(self) -> None:
        self._said_at: float | None = None

    def is_due(self, now: float) -> bool:
        """Return whether to say that it lasts: that was never said, or not for a while."""
        return self._said_at is None or now - self._said_at >= _REPEAT

    def said(self, now: float) -> None:
        """Take note that it was said."""
        self._said_at = now

    def over(self) -> bool:
        """Take note that it does not last. Returns whether to say so: it was said that it does."""
        was_said, self._said_at = self._said_at is not None, None
        return was_said


class Backlog:
    """
    The unread part of a stream, as one group has it.

    Arguments:
        stream: key of the stream.
        group: name of the group.
        cap: entries that the stream keeps, approximately.
        is_kept: tells whether what is unread is kept beyond that, as far as this service knows. It is asked before a
            warning, and may raise ServerError.
    """

    def __init__(self, stream: str, group: str, cap: int, is_kept: Callable[[], bool]) -> None:
        self._stream = stream
        self._group = group
        self._cap = cap
        self._is_kept = is_kept
        self._history: list[tuple[float, int]] = []
        self._trouble = _Trouble()

    def looked(self, unread: int, length: int, now: float | None = None) -> None:
        """
        Take note of the unread entries, and of all that the stream has; ``now`` is in seconds of the monotonic clock.

        Raises ServerError; what was to be said then is said at the next look.
        """
        now = time.monotonic() if now is None else now
        # One look from before the window stays, so that the window is always covered.
        while len(self._history) > 1 and self._history[1][0] <= now - _WINDOW:
            del self._history[0]
        self._history.append((now, unread))
        if unread >= self._cap * _WARN_AT:
            if self._trouble.is_due(now):
                self._warn(unread, length)
                self._trouble.said(now)
        elif unread < self._cap * _OVER_BELOW and self._trouble.over():
            CAUGHT_UP.log(logger, group=self._group, stream=self._stream, unread=unread, cap=self._cap)

    def seconds_until_loss(self) -> float:
        """Return when the cap is reached if the backlog goes on to grow as it does; infinite if it does not grow."""
        (began, first), (ended, last) = self._history[0], self._history[-1]
        growth = (last - first) / (ended - began) if ended > began else 0.0
        return max(0.0, self._cap - last) / growth if growth > 0 else math.inf

    def _warn(self, unread: int, length: int) -> None:
        seconds = self.seconds_until_loss()
        if outgrows(length, self._cap):
            when = f"but so far the stream is not trimmed there: it has {length}"
        elif self._is_kept():
            when = "which are kept if all producers have EVENT_BUS_REDIS_STREAM_KEEP_UNACKED as here"
        elif unread >= self._cap:
            when = "what is not read in time is lost"
        elif len(self._history) == 1:
            when = "how fast it grows is not known yet"
        elif math.isinf(seconds):
            when = "it does not grow now"
        else:
            when = f"at the present rates it loses events in {seconds:.0f} s"
        FALLS_BEHIND.log(logger, group=self._group, stream=self._stream, unread=unread, cap=self._cap, when=when)


class Outgrowth:
    """
    What a stream has above its cap, where its producers keep what is not acknowledged.

    Every pool of the stream says it, whichever group it is of: that of the group that does not acknowledge may be dead.

    Arguments:
        stream: key of the stream.
        cap: entries that the stream keeps, approximately.
        is_kept: as of Backlog. Where nothing is kept the length says nothing: then producers have another cap.
    """

    def __init__(self, stream: str, cap: int, is_kept: Callable[[], bool]) -> None:
        self._stream = stream
        self._cap = cap
        self._longest = longest_if_acknowledged(cap)
        self._is_kept = is_kept
        self._trouble = _Trouble()

    def looked(self, length: int, now: float | None = None) -> None:
        """
        Take note of the entries that the stream has; ``now`` is in seconds of the monotonic clock.

        Raises ServerError; what was to be said then is said at the next look.
        """
        now = time.monotonic() if now is None else now
        if length > self._longest:
            if self._trouble.is_due(now) and self._is_kept():
                STREAM_OUTGROWN.log(logger, stream=self._stream, length=length, cap=self._cap)
                self._trouble.said(now)
        elif length < self._longest * _SHRUNK_BELOW and self._trouble.over():
            STREAM_SHRUNK.log(logger, stream=self._stream, length=length, cap=self._cap)
