"""The parent's handle of one child process: hides how it is forked, asked, killed and buried."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from multiprocess.context import ForkProcess
from multiprocess.popen_fork import Popen

from pool.child import MANAGED
from pool.signals import blocked


class ChildProcess:
    """
    One process, from its fork to its burial.

    Creating it forks. Raises OSError when the operating system has no process to give.

    Arguments:
        name: what a traceback calls it.
        run: what runs in it, called with the process id of its parent and the arguments.
    """

    def __init__(self, name: str, run: Callable[..., None], *arguments: Any) -> None:
        self.exit_code: int | None = None
        self.started = time.monotonic()
        self._process = _Process(target=run, name=name, args=(os.getpid(), *arguments))
        # A signal between the fork and the child's own handlers would be answered with the parent's.
        with blocked(MANAGED):
            self._process.start()
        self.pid: int = self._process.pid

    @property
    def age(self) -> float:
        """Seconds since it was forked."""
        return time.monotonic() - self.started

    def terminate(self) -> None:
        """Ask it to stop."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def poll(self) -> bool:
        """Return whether it is dead; then it is buried and has its ``exit_code``. Does not block."""
        self.exit_code = self._process.exitcode
        if self.exit_code is None:
            return False
        self._process.close()
        return True

    def wait(self) -> None:
        """Block until it is dead and bury it. It has no ``exit_code`` if nobody knows any more."""
        self._process.join()
        self.poll()


class _Popen(Popen):  # type: ignore[misc]  # multiprocess has no type information
    """
    Forks without the two pipes by which multiprocess tells parent and child of each other's end.

    Signals do that here. A fork that fails would leave the pipes open, until the supervisor has no descriptor left.
    """

    sentinel = None

    def _launch(self, process: ForkProcess) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                status = process._bootstrap()  # noqa: SLF001 -- as in the method that this one replaces
            finally:
                os._exit(status)


class _Process(ForkProcess):  # type: ignore[misc]  # multiprocess has no type information
    """A process forked by name of the method: Python 3.14 made another one the default."""

    _Popen = staticmethod(_Popen)
