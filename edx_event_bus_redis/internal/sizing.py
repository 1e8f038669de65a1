"""
How many workers a pool with a range of them should have: decided from what its monitor sees once a second.

It grows by half when all workers were busy for some seconds and the group falls behind: its backlog grows, or would
take long to work off. It shrinks by a quarter when what was done for longer would have kept no more than half of the
workers that are left busy. So it is quick to grow, because events wait, and slow to shrink, because an idle worker only
costs memory.

Under a steady load it does not flap. After every change it begins to look anew; workers of whom half are busy are far
from all being busy; and where all were busy there is work for more than half of one and a half times as many.

It only wishes: the supervisor forks, within the range.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

from edx_event_bus_redis.internal.amounts import amount

# Seconds for which all workers must have been busy before there are more of them: several looks, and longer than a
# burst that is over by itself.
GROW_SECONDS = 5.0

# Seconds for which there must have been too many: longer than most pauses between bursts, short against a quiet night.
SHRINK_SECONDS = 30.0

# Share of the workers that were busy, on average over the looks, for all to count as busy: between two events one may
# be found reading.
_ALL_BUSY = 0.9

# Share of the workers that are left which what was done would keep busy.
_STILL_BUSY = 0.5

# Seconds of work, at the rate at which the pool handles events, that are a backlog if it grows, and if it does not.
_GROWING_SECONDS = 1.0
_LASTING_SECONDS = 10.0


class Load(NamedTuple):
    """
    What the monitor sees at one moment.

    Attributes:
        at: when, in seconds of the monotonic clock.
        workers: how many the pool has.
        busy: how many of them have something to do and no trouble with it.
        handled: events that the pool has handled since its start.
        unread: entries that the group has not read, None if that is not known.
    """

    at: float
    workers: int
    busy: int
    handled: int
    unread: int | None


class Wanted(NamedTuple):
    """How many workers there should be, and why."""

    workers: int
    reason: str


class Sizing:
    """
    Decides for one pool.

    Arguments:
        fewest: workers that the pool has at the least.
        most: workers that it has at the most.
    """

    def __init__(self, fewest: int, most: int) -> None:
        self._fewest = fewest
        self._most = most
        self._loads: deque[Load] = deque()

    def looked(self, load: Load) -> Wanted | None:
        """Return how many workers there should be from now on, None for as many as there are."""
        if self._loads and self._loads[-1].workers != load.workers:
            self._loads.clear()
        self._loads.append(load)
        # One from before the window stays, so that the window is always covered.
        while len(self._loads) > 1 and self._loads[1].at <= load.at - SHRINK_SECONDS:
            self._loads.popleft()
        wanted = self._more() or self._fewer()
        if wanted is not None:
            self._loads.clear()
        return wanted

    def _more(self) -> Wanted | None:
        now = self._loads[-1]
        window = [load for load in self._loads if load.at >= now.at - GROW_SECONDS]
        workers, first = now.workers, window[0]
        if workers >= self._most or now.at - self._loads[0].at < GROW_SECONDS or _busy(window) < _ALL_BUSY * workers:
            return None
        if not now.unread or any(load.unread is None for load in window):
            return None
        rate = (now.handled - first.handled) / (now.at - first.at)
        seconds = now.unread / rate if rate > 0 else math.inf
        grows = now.unread > (first.unread or 0)
        if seconds < (_GROWING_SECONDS if grows else _LASTING_SECONDS):
            return None
        backlog = "without an end" if math.isinf(seconds) else f"{seconds:.1f} s of work"
        if grows:
            backlog += f" and {now.unread - (first.unread or 0)} more than {now.at - first.at:.0f} s ago"
        # No more than there are entries for.
        wanted = min(self._most, workers + math.ceil(workers / 2), workers + now.unread)
        return Wanted(wanted, f"all are busy, and {amount(now.unread, 'entry is', 'entries are')} unread, {backlog}")

    def _fewer(self) -> Wanted | None:
        now = self._loads[-1]
        wanted = max(self._fewest, now.workers - math.ceil(now.workers / 4))
        if wanted >= now.workers or now.at - self._loads[0].at < SHRINK_SECONDS:
            return None
        busy = _busy(self._loads)
        if busy > _STILL_BUSY * wanted:
            return None
        return Wanted(wanted, f"{busy:.1f} of them were busy on average over {now.at - self._loads[0].at:.0f} s")


def _busy(loads: deque[Load] | list[Load]) -> float:
    return sum(load.busy for load in loads) / len(loads)
