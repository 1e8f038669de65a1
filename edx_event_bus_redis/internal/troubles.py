"""
Failures that are no event's fault: said once in the log, and once that they are over.

1. A consumer does several things with the server, and one of them may fail while the others succeed: full memory
   refuses a retry and lets entries be read. What failed has to succeed itself before the row of failures is over.
2. Within a row each kind of failure is said once. Numbers, ids and ports make no other kind.
3. What comes and goes is said a few times a minute at the most; what stays is said, however often it came and went.
"""

from __future__ import annotations

import collections
import logging
import re
import time

from edx_event_bus_redis.internal.log_lines import GOES_ON
from edx_event_bus_redis.internal.message import Message
from edx_event_bus_redis.internal.telemetry import RunContext

logger = logging.getLogger(__name__)

# Delays between failures double up to so many times the first, or up to so many seconds, whichever is more.
_LONGEST_SLEEP_FACTOR = 5
_LONGEST_SLEEP = 5.0

# How often one kind of failure may be said within so many seconds.
_TIMES = 3
_PERIOD = 60.0

# Kinds said in one row, should the text of an error hold more that varies than what is removed from it.
_MOST_KINDS = 20

# Numbers, also hexadecimal ones: ports, times, ids, hashes; and the keys that one command after the other is refused.
_VARIES = re.compile(r"0x[0-9a-f]+|[0-9a-f]*[0-9][0-9a-f]*|\(key .*\)$", re.IGNORECASE)


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
        self._failing: collections.Counter[str] = collections.Counter()
        self._said: set[str] = set()
        self._times_said: dict[str, collections.deque[float]] = {}
        self._began = 0.0
        self.count = 0

    def happened(self, error: Exception, message: Message | None = None, *, at: str = "") -> float:
        """
        Record a failure; return the seconds to wait before the next try of the same.

        Arguments:
            error: what failed.
            message: that was in hand, None if there was none.
            at: what was tried.
        """
        now = time.monotonic()
        if not self.count:
            self._began = now
        self.count += 1
        self._failing[at] += 1
        self._context.record_error(error, message, quiet=not self._is_worth_saying(error, now))
        longest = max(self._first_sleep * _LONGEST_SLEEP_FACTOR, _LONGEST_SLEEP)
        return min(self._first_sleep * 2.0 ** min(self._failing[at] - 1, 16), longest)

    def over(self, at: str = "") -> None:
        """Take note that something succeeded; say that the failures are over, if there were any and nothing fails."""
        if not self._failing.pop(at, 0) or self._failing:
            return
        if self._said:
            seconds = time.monotonic() - self._began
            GOES_ON.log(logger, consumer_name=self._context.consumer_name, count=self.count, seconds=seconds)
        self._said.clear()
        self.count = 0

    def _is_worth_saying(self, error: Exception, now: float) -> bool:
        kind = f"{type(error).__name__}: {_VARIES.sub('#', str(error))}"
        if kind in self._said or len(self._said) >= _MOST_KINDS:
            return False
        times = self._times_said.setdefault(kind, collections.deque(maxlen=_TIMES))
        if len(times) == _TIMES and now - times[0] < _PERIOD:
            return False
        times.append(now)
        self._said.add(kind)
        if len(self._times_said) > _MOST_KINDS:
            del self._times_said[next(iter(self._times_said))]
        return True
