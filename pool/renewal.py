"""
Replacing processes that live, one after the other, so that work is never left lying.

1. The successor of a worker is forked. When it is ready the worker is asked to leave, and when that is gone it is the
   successor's turn (``handover.py``).
2. If the successor dies before it is ready the worker stays, and the rest of the round is given up: the next one would
   most likely fare no better. A worker that wants to be replaced by itself is tried again, each time later.
3. The monitor leaves first, and is forked anew then: it holds what only one process can have.
4. A round that is asked for during a round begins when that is over. Who was forked since a round was asked for is not
   replaced again.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pool.config import PoolConfig
from pool.events import ForkFailed, Renewed, Renewing
from pool.monitor import MonitorSeat
from pool.process import ChildProcess
from pool.seat import Hooks
from pool.shard import Shard
from pool.successor import Successor


@dataclass
class _Round:
    """All processes at one time; ``complete`` until a successor fails."""

    reason: str
    began: float
    complete: bool = True


@dataclass
class _Place:
    """
    A process that is to be replaced.

    Attributes:
        round: None if it wants to be replaced by itself.
        successor: what is to replace it; None for the monitor, and before its turn.
    """

    seat: Shard | MonitorSeat
    process: ChildProcess
    reason: str
    round: _Round | None = None
    successor: Successor | None = None

    @property
    def is_done(self) -> bool:
        """Whether the process is gone, or the pool has no such place any more."""
        return self.seat.process is not self.process or (isinstance(self.seat, Shard) and not self.seat.wanted)


class Renewal:
    """Replaces processes of one pool. It is asked, and looks after what is under way; it waits for nothing."""

    def __init__(self, config: PoolConfig, hooks: Hooks) -> None:
        self._config = config
        self._hooks = hooks
        self._waiting: deque[_Place] = deque()
        self._current: _Place | None = None
        self._round: _Round | None = None
        self._asked_again: str | None = None
        self._failures = 0
        self._not_before = -math.inf

    @property
    def successor(self) -> ChildProcess | None:
        """The process that is to replace another one, if there is one at this moment."""
        successor = self._current.successor if self._current is not None else None
        return None if successor is None else successor.process

    def replace_all(self, seats: Sequence[Shard | MonitorSeat], reason: str) -> None:
        """Replace every process that lives now, or if that is under way already, all of them again after it."""
        if self._round is not None:
            self._asked_again = reason
            return
        self._round = _Round(reason, time.monotonic())
        if self._current is not None and isinstance(self._current.seat, Shard) and self._current.seat.is_leaving:
            self._ask_to_leave(self._current)
        self._hooks.on_event(Renewing(reason))
        self._waiting.extend(
            _Place(seat, seat.process, reason, self._round) for seat in seats if seat.process is not None
        )

    def replace(self, shard: Shard, reason: str) -> None:
        """Replace the worker of a shard, if that is not going to happen already."""
        places = [*self._waiting, *([self._current] if self._current is not None else [])]
        if shard.process is not None and all(each.process is not shard.process for each in places):
            self._waiting.append(_Place(shard, shard.process, reason))

    def succeed(self, shard: Shard) -> bool:
        """Let the successor of a worker that has given way begin; return False if there is none."""
        place = self._current
        if place is None or place.seat is not shard or place.successor is None:
            return False
        if place.successor.bury():
            place.successor = None
            return False
        successor, place.successor = place.successor, None
        self._failures = 0
        shard.succeed(successor)
        return True

    def _drop(self) -> None:
        """End the successor, if there is one."""
        place = self._current
        if place is not None and place.successor is not None:
            place.successor.drop()
            place.successor = None

    def abandon(self) -> None:
        """Replace nothing any more: the pool stops."""
        self._drop()
        self._waiting.clear()
        self._current = self._round = self._asked_again = None

    def keep_time(self, seats: Sequence[Shard | MonitorSeat]) -> None:
        """Do what is due; ``seats`` are those that the pool has."""
        self._look_after_current()
        while self._current is None and self._waiting and time.monotonic() >= self._not_before:
            place = self._waiting.popleft()
            if not place.is_done:
                self._begin(place)
        if self._current is None and self._round is not None and not self._is_round_waiting():
            over, self._round = self._round, None
            self._hooks.on_event(Renewed(over.reason, time.monotonic() - over.began, over.complete))
            if self._asked_again is not None:
                reason, self._asked_again = self._asked_again, None
                self.replace_all(seats, reason)
                self.keep_time(seats)

    def next_time(self) -> float:
        """Return the time, of the monotonic clock, at which something may be due."""
        if self._current is not None:
            successor = self._current.successor
            return math.inf if successor is None else successor.next_time()
        return self._not_before if self._waiting else math.inf

    def _is_round_waiting(self) -> bool:
        return any(place.round is not None for place in self._waiting)

    def _look_after_current(self) -> None:
        place = self._current
        if place is None:
            return
        successor = place.successor
        if place.is_done:
            # A successor that is left was forked before a death of which the next worker has to know.
            self._drop()
            self._current = None
        elif successor is not None and isinstance(place.seat, Shard):
            if successor.bury():
                place.successor = None
                # One that was ready already has had the worker leave, which is replaced as if there were no successor.
                if not place.seat.is_leaving:
                    self._failed(place)
            elif successor.is_ready and not place.seat.is_leaving:
                self._ask_to_leave(place)
            else:
                successor.keep_time()

    def _ask_to_leave(self, place: _Place) -> None:
        # A worker that is only worn may take for its item what it needs, as long as nobody waits for it.
        if isinstance(place.seat, Shard):
            place.seat.ask_to_leave(math.inf if self._round is None else self._config.shutdown_timeout)

    def _begin(self, place: _Place) -> None:
        self._current = place
        if isinstance(place.seat, MonitorSeat):
            place.seat.give_way(place.reason)
            return
        try:
            place.successor = place.seat.fork_successor(place.reason)
        except OSError as error:
            delay = self._failed(place)
            self._hooks.on_event(ForkFailed(place.seat.number, error, delay))

    def _failed(self, place: _Place) -> float:
        """Leave the worker where it is; return the seconds until anything is tried again."""
        self._current = None
        self._failures += 1
        delay = self._config.backoff.delay(self._failures + 1)
        self._not_before = time.monotonic() + delay
        if place.round is None:
            self._waiting.append(place)
        else:
            place.round.complete = False
            self._waiting = deque(each for each in self._waiting if each.round is None)
        return delay
