"""The parent's handle of one worker process: hides how it is forked, asked, killed and buried."""

from __future__ import annotations

import os

import multiprocess

from pool.child import EXIT_TOO_MANY_ERRORS, MANAGED, Work, run_child
from pool.config import PoolConfig
from pool.events import Cause
from pool.signals import blocked
from pool.slots import Slots

# By name: Python 3.14 made another method the default.
_FORK = multiprocess.get_context("fork")


class WorkerProcess:
    """
    One living worker.

    Creating it forks. Raises OSError when the operating system has no process to give.
    """

    def __init__(self, config: PoolConfig, shard: int, slots: Slots, work: Work) -> None:
        self.shard = shard
        self.handled_before = slots[shard].handled_count
        self._process = _FORK.Process(
            target=run_child,
            name=f"{config.name}.{shard}",
            args=(os.getpid(), shard, slots, config.shutdown_timeout, work),
        )
        # A signal between the fork and the child's own handlers would be answered with the parent's.
        with blocked(MANAGED):
            self._process.start()
        self.pid: int = self._process.pid

    @property
    def sentinel(self) -> int:
        """A file descriptor that is readable when the worker is dead."""
        return int(self._process.sentinel)

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
