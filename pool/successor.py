"""The supervisor's handle of what is to replace a worker that still lives."""

from __future__ import annotations

from pool.child import Post, run_successor
from pool.events import Cause, Death, SuccessorFailed
from pool.process import ChildProcess
from pool.seat import Hooks, fork
from pool.time_limit import Matter, TimeLimit


class Successor:
    """
    One process, from its fork until it has the shard or is gone. Creating it forks.

    Arguments:
        name: of the process, in a traceback.
        worker: its place in the row of the shard's workers.
        post: of the shard.
        owed: the death that the worker before it was told of.
        reason: why that worker is to be replaced.
        timeout: seconds until it has to be ready.

    Raises OSError when the operating system has no process to give.
    """

    def __init__(  # noqa: PLR0917 -- one caller
        self, name: str, worker: int, post: Post, owed: Death | None, reason: str, timeout: float, hooks: Hooks
    ) -> None:
        self.worker = worker
        self.reason = reason
        self._post = post
        self._timeout = timeout
        self._hooks = hooks
        self._limit = TimeLimit(post.stacks)
        self.process: ChildProcess = fork(hooks, name, run_successor, post, worker, owed)

    @property
    def is_ready(self) -> bool:
        """Whether it can begin at once."""
        return self._post.handover.is_ready(self.worker)

    def bury(self) -> bool:
        """Return whether it is dead, and say so."""
        if not self.process.poll():
            return False
        assert self.process.exit_code is not None
        verdict = self._limit.verdict(self.process.exit_code)
        cause = Cause(self.process.exit_code, overstayed=None if verdict is None else verdict.seconds)
        stack = "" if verdict is None else verdict.stack
        self._hooks.on_event(SuccessorFailed(self._post.shard, self.process.pid, cause, self.reason, stack))
        return True

    def drop(self) -> None:
        """End it: it has nothing that could be lost."""
        self.process.kill()
        self.process.wait()

    def keep_time(self) -> None:
        """End it if it takes too long to be ready."""
        if not self.is_ready:
            self._limit.enforce(self.process, self._matter())

    def next_time(self) -> float:
        """Return the time, of the monotonic clock, at which that is due; infinite when it is ready."""
        return float("inf") if self.is_ready else self._limit.next_look(self._matter())

    def _matter(self) -> Matter:
        return Matter(self.worker, self.process.age, self._timeout)
