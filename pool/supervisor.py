"""
The parent's side. Its duties, in the order of its loop:

1. Answer signals. The first SIGTERM or SIGINT asks all children to stop, the second kills them. SIGHUP has all of them
   replaced, one after the other (``renewal.py``), SIGTTIN and SIGTTOU change the number of workers, and SIGUSR1 asks
   where everybody is (``stack_call.py``).
2. Bury the dead, say why they died, and set the time of their replacement, or give up (``workforce.py``).
3. Fork what is due, the monitor before the workers, and end what takes too long (``seat.py``); while stopping, see to
   it that every child leaves in time (``stopping.py``).
4. Sleep until a signal arrives, SIGCHLD included, or a time is due.

It ends when it was asked to and every child is gone (STOPPED), when replacements went on and nothing was achieved
(GAVE_UP), or when its monitor wants the pool to be begun anew (START_ANEW). It never ends with a child left, not even
by an exception.
"""

from __future__ import annotations

import enum
import gc
import math
import os
import signal
import sys
import time
from collections.abc import Callable

from pool.child import EXIT_START_ANEW, MANAGED, Monitor, Prepare, Work
from pool.config import PoolConfig
from pool.events import Cause, Event, GaveUp, MonitorDied, Stopped, Stopping
from pool.gaps import fill_gaps
from pool.immortals import make_immortal
from pool.monitor import DeadMonitor, MonitorSeat
from pool.process import ChildProcess
from pool.seat import Hooks, Seat, kill, living
from pool.service_manager import ServiceManager
from pool.service_report import ServiceReport
from pool.signals import SignalInbox, blocked
from pool.slots import SUPERVISOR_SECONDS, Slots
from pool.stack_call import StackCall
from pool.stacks import DUMP_SIGNAL
from pool.stop import Stop
from pool.stopping import GracefulStop
from pool.workforce import Workforce

_STOPPING = frozenset({signal.SIGTERM, signal.SIGINT})


class Outcome(enum.Enum):
    """How a pool ended."""

    STOPPED = "stopped"
    GAVE_UP = "gave up"
    START_ANEW = "start anew"


def _ignore(event: Event) -> None:
    pass


def _prepare_nothing(stop: Stop) -> None:
    pass


class Supervisor:
    """
    Runs a pool in this process.

    Arguments:
        config: the pool's settings.
        work: what each worker runs, called with its Child in the forked process. A worker leaves by returning; to say
            that it has seen too many errors, by ``SystemExit(EXIT_TOO_MANY_ERRORS)``.
        monitor: what the monitor runs, called with its MonitorChild in a forked process of its own; None for no such
            process. It calls ``slot.idle()`` more often than every ``monitor_timeout`` seconds, and returns when it is
            asked to stop. To have the pool stopped and begun anew, it leaves by ``SystemExit(EXIT_START_ANEW)``.
        prepare: what a worker that is to replace one that still lives does before that one is asked to leave, called
            with its Stop. What it returns is ``prepared`` of the worker's Child; if it raises, the old worker stays.
        on_event: called in this process with each event; must not block.
        before_fork: called in this process before each fork, to close what must not be shared.
        on_wake: called in this process whenever it wakes, which is every five seconds at the least; must not block.
        service_manager: what is told when all workers have begun, when they are replaced, and when the pool stops.

    An exception of ``on_event``, ``before_fork`` or ``on_wake`` kills the pool and leaves ``run``. The supervisor
    buries every dead child of this process, so the caller must not wait for children of its own meanwhile.
    """

    def __init__(
        self,
        config: PoolConfig,
        work: Work,
        monitor: Monitor | None = None,
        *,
        prepare: Prepare = _prepare_nothing,
        on_event: Callable[[Event], None] = _ignore,
        before_fork: Callable[[], None] = lambda: None,
        on_wake: Callable[[], None] = lambda: None,
        service_manager: ServiceManager | None = None,
    ) -> None:
        self.slots = Slots(config.workers, config.most)
        self._config = config
        report = self._report = ServiceReport(service_manager or ServiceManager({}), self.slots)

        # No method: that would keep the supervisor, and the files that it has open, until garbage is collected.
        def tell(event: Event) -> None:
            on_event(event)
            report.happened(event)

        self._tell = tell
        self._on_wake = on_wake
        hooks = Hooks(tell, before_fork)
        self._monitor = None if monitor is None else MonitorSeat(self.slots, config, monitor, hooks)
        self._workforce = Workforce(self.slots, config, work, prepare, hooks)
        self._outcome = Outcome.STOPPED
        self._stop: GracefulStop | None = None
        self._asked = False
        self._stack_call: StackCall | None = None
        self._gaps: list[object] = []

    def run(self) -> Outcome:
        """
        Run the pool until it is stopped by a signal, gives up, or is to be begun anew; return which.

        Call it once, in the main thread. To begin anew make another Supervisor, in this process if you like.

        A caller that has to answer signals until then may call it with them blocked: they are let through as soon as
        the pool can answer them, and those that come after the pool's last look at them wait for the caller.
        """
        with SignalInbox(MANAGED) as inbox:
            # Within the inbox, what blocks and lets through puts the caller's mask back before its handlers.
            with blocked(()):
                signal.pthread_sigmask(signal.SIG_UNBLOCK, MANAGED)
                # What the parent has loaded is never collected in the children, who uses it is not counted, and what
                # they make is put beside it and not in between: so its pages stay shared.
                gc.collect()
                make_immortal()
                self._gaps = fill_gaps()
                gc.freeze()
                try:
                    stop = self._supervise(inbox)
                finally:
                    self._workforce.abandon_renewal()
                    kill(self._seats)
                    gc.unfreeze()
                    self._gaps.clear()
            # One that came after the last child was gone must not be lost: who is asked to stop does not begin anew.
            self._answer(inbox.take())
        left = sum(slot.left_count for slot in self.slots)
        self._tell(Stopped(seconds=stop.seconds, left=left, killed=stop.killed))
        return self._outcome

    def _supervise(self, inbox: SignalInbox) -> GracefulStop:
        while self._stop is None or self._living():
            self._answer(inbox.take())
            self._answer_wish()
            self._bury()
            self._keep_time()
            self._report.keep_time()
            self._on_wake()
            answers = math.inf if self._stack_call is None else self._stack_call.next_time()
            self.slots.supervise()
            due = min(answers, self._report.next_time(), self._next_time()) - time.monotonic()
            inbox.wait(min(due, SUPERVISOR_SECONDS))
        return self._stop

    def _answer(self, signals: list[signal.Signals]) -> None:
        for number in signals:
            if number in _STOPPING:
                self._answer_stop(number)
            elif number is DUMP_SIGNAL:
                self._take_stacks()
            elif self._stop is None:
                self._steer(number)

    def _steer(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP:
            self._workforce.replace_all(self._monitor, number.name)
        elif number is signal.SIGTTIN:
            self._workforce.grow(1, number.name)
        elif number is signal.SIGTTOU:
            self._workforce.grow(-1, number.name)

    def _answer_wish(self) -> None:
        wished = None if self._monitor is None else self._monitor.wish.take()
        if wished is not None and self._stop is None:
            self._workforce.resize(wished, "the monitor asks for it")

    def _take_stacks(self) -> None:
        if self._stack_call is None:
            self._stack_call = StackCall(self._seats, self._tell)

    @property
    def _seats(self) -> list[Seat]:
        return [*([] if self._monitor is None else [self._monitor]), *self._workforce.shards]

    def _answer_stop(self, number: signal.Signals) -> None:
        if self._stop is None:
            self._begin_to_stop(Outcome.STOPPED, number.name)
        elif self._asked:
            self._stop.kill_all()
        elif self._outcome is Outcome.START_ANEW:
            self._outcome = Outcome.STOPPED
        self._asked = True

    def _living(self) -> list[ChildProcess]:
        """Return all children, those included that are dead and not buried."""
        return [*living(self._seats), *self._workforce.successors]

    def _bury(self) -> None:
        monitor = self._monitor.bury() if self._monitor is not None else None
        if monitor is not None and self._stop is None:
            self._answer_death_of_monitor(monitor)
        last = self._workforce.bury(stopping=self._stop is not None)
        if last is not None:
            self._give_up(last)
        self._reap_strangers()

    def _reap_strangers(self) -> None:
        """Bury the dead that are not ours: process 1 inherits the orphans of its container."""
        if sys.platform != "linux":
            return
        ours = {process.pid for process in self._living()}
        while True:
            try:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            # One of ours, dead only now, wakes the loop again by its SIGCHLD.
            if dead is None or dead.si_pid in ours:
                return
            os.waitpid(dead.si_pid, os.WNOHANG)

    def _give_up(self, last: Cause) -> None:
        self._tell(GaveUp(self._workforce.replacements, last))
        self._begin_to_stop(Outcome.GAVE_UP, Outcome.GAVE_UP.value)

    def _answer_death_of_monitor(self, monitor: DeadMonitor) -> None:
        if monitor.cause.exit_code == EXIT_START_ANEW:
            self._begin_to_stop(Outcome.START_ANEW, Outcome.START_ANEW.value)
            return
        assert self._monitor is not None
        if not monitor.gave_way:
            self._tell(MonitorDied(monitor.pid, monitor.cause, monitor.delay, monitor.stack))
        self._monitor.replace_in(monitor.delay)

    def _keep_time(self) -> None:
        if self._stack_call is not None:
            self._stack_call.keep_time()
            if self._stack_call.is_over:
                self._stack_call = None
        if self._stop is not None:
            self._stop.keep_time()
            return
        if self._monitor is not None:
            self._monitor.keep_time()
        self._workforce.keep_time(self._monitor)

    def _next_time(self) -> float:
        if self._stop is not None:
            return self._stop.next_time()
        monitor = math.inf if self._monitor is None else self._monitor.next_time()
        return min(monitor, self._workforce.next_time())

    def _begin_to_stop(self, outcome: Outcome, reason: str) -> None:
        self._outcome = outcome
        self._workforce.abandon_renewal()
        self._tell(Stopping(reason, self._config.shutdown_timeout))
        self._stop = GracefulStop(self._config.shutdown_timeout, self._workforce.shards, self._monitor, self._tell)
