"""
``event_bus_status --watch``: looks again and again, and shows each time what has become of it.

It ends by SIGINT or SIGTERM, as it is meant to: with status 0. While Redis is away it says so, keeps showing what was
seen last, and goes on when Redis is back.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

from edx_event_bus_redis.internal.errors import ServerError
from edx_event_bus_redis.internal.findings import Limits, findings
from edx_event_bus_redis.internal.progress import Look, still_needed
from edx_event_bus_redis.internal.survey import Survey
from edx_event_bus_redis.management.picture import Picture, Trouble
from edx_event_bus_redis.management.screens import Screen

# Seconds over which rates are measured at the least, so that they do not jump: pools tell what they do once a second.
_WINDOW = 5.0

# Seconds between two glances at whether the terminal has another size.
_GLANCE = 0.2


class _Ended(BaseException):
    """A signal says that it is enough."""


class Watch:
    """
    Looks at streams until a signal ends it.

    Arguments:
        survey: that looks.
        screen: to show it on.
        limits: of what is all right.
        interval: seconds from the beginning of one look to that of the next.
        told: returns in one line what is wrong with the server.
    """

    def __init__(
        self, survey: Survey, screen: Screen, limits: Limits, interval: float, *, told: Callable[[ServerError], str]
    ) -> None:
        self._survey = survey
        self._screen = screen
        self._limits = limits
        self._interval = interval
        self._told = told
        # Looks without a failure between them, oldest first; the last one stays when there is a failure.
        self._looks: list[Look] = []
        self._trouble: Trouble | None = None
        self._ended = False

    def run(self) -> None:
        """Look and show, from now until SIGINT or SIGTERM."""
        with self._ended_by_signals(), self._screen:
            while not self._ended:
                began = time.monotonic()
                self._look()
                self._screen.show(self._picture())
                self._wait(began + self._interval)

    def _look(self) -> None:
        try:
            look = self._survey.look()
        except ServerError as error:
            since = self._trouble.since if self._trouble else time.time()
            self._trouble = Trouble(self._told(error), since)
            return
        if self._trouble:
            # What was not seen may be anything, also another server's doing.
            self._trouble, self._looks = None, []
        self._looks = still_needed([*self._looks, look], _WINDOW)

    def _picture(self) -> Picture:
        look = self._looks[-1] if self._looks else None
        before = self._looks[0] if len(self._looks) > 1 else None
        found = findings(before, look, self._limits) if look else []
        return Picture(time.time(), self._interval, look, before, found, self._trouble)

    def _wait(self, until: float) -> None:
        while not self._ended and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _GLANCE))
            self._screen.glance()

    @contextlib.contextmanager
    def _ended_by_signals(self) -> Iterator[None]:
        def end(_number: int, _frame: FrameType | None) -> None:
            # A second one must not interrupt what the first has begun: the terminal is put in order.
            for number in former:
                signal.signal(number, signal.SIG_IGN)
            # An exception that comes while the interpreter tidies up is lost; then the loop sees this.
            self._ended = True
            raise _Ended

        # Who is started in the background of a shell is not meant by its Ctrl-C, and ignores it from the start.
        numbers = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) != signal.SIG_IGN]
        former = {number: signal.getsignal(number) for number in numbers}
        try:
            for number in numbers:
                signal.signal(number, end)
            yield
        except _Ended:
            return
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
