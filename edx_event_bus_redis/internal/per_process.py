"""What each process has to have of its own, though it was forked from one that has it too."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """
    Something that each process makes for itself when it first asks for it. Threads may share it.

    Nothing of a parent's is touched in a child: a lock that one of the parent's threads held at the fork stays locked
    there for ever. So there is none in here either: setting and getting of a dictionary are atomic.

    Arguments:
        make: makes it. Threads that come at once may make several; all get the same.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._by_process: dict[int, T] = {}

    def get(self) -> T:
        """Return this process's own."""
        process = os.getpid()
        try:
            return self._by_process[process]
        except KeyError:
            own = self._by_process.setdefault(process, self._make())
        # A parent's connections stay the parent's; this process only must not hold them open.
        for other in list(self._by_process):
            if other != process:
                self._by_process.pop(other, None)
        return own
