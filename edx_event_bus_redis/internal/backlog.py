"""
Warns before a group loses events: a stream is trimmed at its cap, whether its groups have read what goes or not.

Said once when the unread part reaches a share of the cap, again after a while if it stays there, and once when it is
over.

Whether anything is lost is up to the producers: it is not if all of them keep what is not acknowledged, or if their cap
is another one. What is known of that is said: the setting of this service, and what the stream has grown to.

What is lost then is not said here: the ledger finds out.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from edx_event_bus_redis.internal.log_lines import CAUGHT_UP, FALLS_BEHIND
from edx_event_bus_redis.internal.trimming import outgrows

logger = logging.getLogger(__name__)

# Share of the cap at which to warn, and below which it is over: apart, so that a backlog near the line is not said
# again and again.
_WARN_AT = 0.8
_OVER_BELOW = 0.7

# Seconds between two warnings while it lasts.
_REPEAT = 600.0

# Seconds over which the rate at which the backlog grows is measured.
_WINDOW = 10.0


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
        self._warned_at: float | None = None

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
            if self._warned_at is None or now - self._warned_at >= _REPEAT:
                self._warn(unread, length)
                self._warned_at = now
        elif self._warned_at is not None and unread < self._cap * _OVER_BELOW:
            self._warned_at = None
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
