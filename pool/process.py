"""The parent's handle of one worker process: hides how it is forked, asked, killed and buried."""

from __future__ import annotations

import os
import time

from multiprocess.context import ForkProcess
from multiprocess.popen_fork import Popen

from pool.child import EXIT_TOO_MANY_ERRORS, MANAGED, Post, run_child
from pool.events import Cause, Death
from pool.signals import blocked


class WorkerProcess:
    """
    One living worker.

    Creating it forks. Raises OSError when the operating system has no process to give.
    """

    def __init__(self, name: str, post: Post, former: Death | None) -> None:
        self.settled_before = post.slots[post.shard].settled_count
        self._started = time.monotonic()
        self._process = _Process(
            target=run_child,
            name=f"{name}.{post.shard}",
            args=(os.getpid(), post, former),
        )
        # A signal between the fork and the child's own handlers would be answered with the parent's.
        with blocked(MANAGED):
            self._process.start()
        self.pid: int = self._process.pid

    @property
    def age(self) -> float:
        """Seconds since it was forked."""
        return time.monotonic() - self._started

    def terminate(self) -> None:
        """Ask the worker to stop."""
        self._process.terminate()

    def kill(self) -> None:
        """End the worker at once."""
        self._process.kill()

    def poll(self) -> Cause | None:
        """Return why the worker is dead, and bury it; None while it lives. Does not block."""
        exit_code = self._process.exitcode
        if exit_code is None:
            return None
        self._process.close()
        return Cause(exit_code, too_many_errors=exit_code == EXIT_TOO_MANY_ERRORS)

    def wait(self) -> Cause | None:
        """Block until the worker is dead, bury it and return why; None if nobody knows any more."""
        self._process.join()
        return self.poll()


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
