"""Counting the entries of a part of a stream in steps, so that the server is never kept from others for long."""

from __future__ import annotations

from edx_event_bus_redis.internal import account_parts, ledger_scripts
from edx_event_bus_redis.internal.stream import Stream


class Tally:
    """
    How many entries lie behind an id, up to and with the last one that the stream has now.

    Arguments:
        stream: whose entries are counted.
        start: the id.
        stop: the last id that the stream has had.
        added: entries that were added to it up to then, None if the server does not count them.
        removed: entries that were trimmed or deleted up to then.

    Scripts take it as ``arguments``, and find out whether it still holds.
    """

    def __init__(self, stream: Stream, start: bytes, stop: bytes, added: int | None, removed: int) -> None:
        self._count = stream.script(ledger_scripts.COUNT)
        self._key = stream.key
        self._about = (start, stop, -1 if added is None else added, removed)
        self._at = start
        self._stop = stop
        self._marks: list[bytes | int] = []
        self.total = 0
        self.is_complete = False

    def step(self) -> None:
        """Count some more. Raises ServerError."""
        found, last = self._count([self._key], [self._at, self._stop, account_parts.STEP])
        self.is_complete = found < account_parts.STEP
        self.total += found
        self._at = self._stop if self.is_complete else last
        self._marks += [self._at, self.total]

    def complete(self) -> None:
        """Count to the end. Raises ServerError."""
        while not self.is_complete:
            self.step()

    @property
    def arguments(self) -> tuple[bytes | int, ...]:
        """What scripts are told of it, once it is complete."""
        return (*self._about, self.total, *self._marks)
