"""How fast a stream is consumed and filled, as Redis sees it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import redis

# Seconds between two looks. Each costs the server some 30 microseconds; a run takes seconds.
_INTERVAL = 0.02

# Seconds that one measurement may take.
LIMIT = 180.0


class Spent(NamedTuple):
    """Processor time in seconds: of the processes under test, and of the server."""

    by_processes: float
    by_server: float


class Progress(NamedTuple):
    """
    What has been done at a time.

    Attributes:
        at: seconds of the monotonic clock.
        done: number of events.
        spent: processor time so far.
    """

    at: float
    done: int
    spent: Spent


class Run(NamedTuple):
    """From the first look that saw something done, or the one before it, to the first that saw all of it done."""

    first: Progress
    last: Progress

    @property
    def rate(self) -> float:
        """Events per second."""
        return (self.last.done - self.first.done) / (self.last.at - self.first.at)

    @property
    def cost(self) -> float:
        """Microseconds of processor time per event, of the processes under test."""
        return self._per_event(self.last.spent.by_processes - self.first.spent.by_processes)

    @property
    def cost_of_server(self) -> float:
        """Microseconds of the server's processor time per event."""
        return self._per_event(self.last.spent.by_server - self.first.spent.by_server)

    def _per_event(self, seconds: float) -> float:
        return seconds / (self.last.done - self.first.done) * 1e6


def follow(done: Callable[[], int], count: int, spent: Callable[[], Spent], check: Callable[[], None]) -> Run:
    """
    Follow a work until all of it is done.

    Arguments:
        done: returns the number of events that are done.
        count: of events that are to be done.
        spent: returns the processor time so far.
        check: raises if there is no use in waiting.

    Raises:
        TimeoutError: it was not done within LIMIT.
    """
    deadline = time.monotonic() + LIMIT
    first: Progress | None = None
    while True:
        at, number = time.monotonic(), done()
        # So few events that one look sees none done, and the next all of them, begin with the former.
        if number >= count and first is not None:
            return Run(first, Progress(at, number, spent()))
        if first is None or not first.done:
            first = Progress(at, number, spent())
        check()
        if at > deadline:
            raise TimeoutError(f"{number} of {count} events were done within {LIMIT:.0f} s")
        time.sleep(_INTERVAL)


def handled_by_group(client: redis.Redis, stream: str, group: str) -> Callable[[], int]:
    """Return a function that returns how many entries a group has acknowledged: those read less those pending."""

    def handled() -> int:
        (found,) = [each for each in client.xinfo_groups(stream) if each["name"] == group.encode()]
        return int(found["entries-read"] or 0) - int(found["pending"])

    return handled


def added_to_stream(client: redis.Redis, stream: str) -> Callable[[], int]:
    """Return a function that returns how many entries a stream has been given, trimmed ones included."""

    def added() -> int:
        try:
            return int(client.xinfo_stream(stream)["entries-added"])
        except redis.ResponseError:
            return 0

    return added


def seconds_of_server(client: redis.Redis) -> float:
    """Return the processor time of the server, in seconds."""
    found = client.info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])
