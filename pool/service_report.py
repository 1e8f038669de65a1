"""What the service manager is told of a pool: when it is ready, reloads and stops, and how many workers it has."""

from __future__ import annotations

import time

from pool.events import Event, Renewed, Renewing, Resized, Stopping
from pool.service_manager import ServiceManager
from pool.slots import Slots, State

# Seconds between two looks whether all workers have begun. Nobody wakes the supervisor for that.
_LOOK = 0.05


class ServiceReport:
    """
    Tells the service manager of one pool.

    Arguments:
        manager: to be told; nothing is if there is none.
        slots: of the workers.
    """

    def __init__(self, manager: ServiceManager, slots: Slots) -> None:
        self._manager = manager
        self._slots = slots
        self._awaits_workers = manager.listens

    def happened(self, event: Event) -> None:
        """Tell what is to be told of an event."""
        match event:
            case Renewing():
                self._manager.reloading("Replacing all workers, one after the other")
            case Renewed():
                self._manager.ready(self._status())
            case Resized():
                self._manager.status(self._status())
            case Stopping("start anew"):
                self._manager.reloading("Starting anew under another name")
                self._awaits_workers = False
            case Stopping(reason, timeout):
                self._manager.stopping(timeout, f"Stopping: {reason}")
                self._awaits_workers = False

    def keep_time(self) -> None:
        """Tell what is due."""
        self._manager.keep_time()
        if self._awaits_workers and all(slot.state in {State.IDLE, State.BUSY} for slot in self._slots):
            self._awaits_workers = False
            self._manager.ready(self._status())

    def next_time(self) -> float:
        """Return the time, of the monotonic clock, at which something may be due."""
        if self._awaits_workers:
            return min(self._manager.next_time(), time.monotonic() + _LOOK)
        return self._manager.next_time()

    def _status(self) -> str:
        number = len(self._slots)
        return "1 worker" if number == 1 else f"{number} workers"
