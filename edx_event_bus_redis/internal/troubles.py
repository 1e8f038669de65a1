"""A row of failures: said once in the log for each kind, and once that it is over."""

from __future__ import annotations

import logging
import time

from edx_event_bus_redis.internal.message import Message
from edx_event_bus_redis.internal.telemetry import RunContext

logger = logging.getLogger(__name__)

# Delays between failures double up to so many times the first, or up to so many seconds, whichever is more.
_LONGEST_SLEEP_FACTOR = 5
_LONGEST_SLEEP = 5.0


class Troubles:
    """
    The failures in a row that are no event's fault.

    Arguments:
        context: of the consumer that has them.
        first_sleep: seconds to wait after the first.
    """

    def __init__(self, context: RunContext, first_sleep: float) -> None:
        self._context = context
        self._first_sleep = first_sleep
        self._said: set[str] = set()
        self._began = 0.0
        self.count = 0

    def happened(self, error: Exception, message: Message | None = None) -> float:
        """Record a failure; return the seconds to wait before the next try."""
        if not self.count:
            self._began = time.monotonic()
        self.count += 1
        what = repr(error)
        self._context.record_error(error, message, quiet=what in self._said)
        self._said.add(what)
        longest = max(self._first_sleep * _LONGEST_SLEEP_FACTOR, _LONGEST_SLEEP)
        return min(self._first_sleep * 2.0 ** min(self.count - 1, 16), longest)

    def over(self) -> None:
        """Say that the failures are over, if there were any."""
        if self.count:
            logger.warning(
                "Consumer %s goes on, after %d failures in %.1f s",
                self._context.consumer_name,
                self.count,
                time.monotonic() - self._began,
            )
            self._said.clear()
            self.count = 0
