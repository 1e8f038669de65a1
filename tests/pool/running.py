"""Programs of tests in processes of their own, looked at from outside: by their record, by psutil, by signals."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import psutil

from tests.pool.program import idle, supervise
from tests.support.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent


class Record(dict[str, Any]):
    """A line of the record, its fields also as attributes."""

    __getattr__ = dict.__getitem__


class Program:
    """
    A Python program in a session, and so a process group, of its own.

    Arguments:
        directory: of the test, for the record.
        run: a function of ``tests.pool.program``, and its arguments.
        arguments: what ``argument`` returns in the program.
        prefix: a command that runs the interpreter.
    """

    def __init__(
        self, directory: Path, *run: str, arguments: dict[str, Any] | None = None, prefix: Sequence[str] = ()
    ) -> None:
        self._mark = uuid.uuid4().hex
        self.directory = directory
        self._record = directory / "record"
        self._log = directory / "log"
        environment = os.environ | {
            "POOL_TEST_MARK": self._mark,
            "POOL_TEST_RECORD": str(self._record),
            "POOL_TEST_ARGUMENTS": json.dumps(arguments or {}),
            "PYTHONFAULTHANDLER": "1",
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-c", "from tests.pool import program; program.start()", *run],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no process behind, however the test ends."""

        def kill_who_is_left() -> bool:
            left = self.left()
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            return not left

        wait_until(kill_who_is_left, what="no process left")
        self.process.wait(10)

    def left(self) -> list[psutil.Process]:
        """Every living process that the program and its children have started, orphans too."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("POOL_TEST_MARK") == self._mark
        except psutil.Error:
            return False

    @property
    def log(self) -> str:
        """What the program has written to its standard output and error."""
        return self._log.read_text(errors="replace")

    def records(self, what: str, **fields: Any) -> list[Record]:
        """Return the lines so far of that kind and with those values."""
        lines = self._record.read_bytes().splitlines(keepends=True) if self._record.exists() else []
        records = [Record(json.loads(line)) for line in lines if line.endswith(b"\n")]
        return [each for each in records if each.what == what and fields.items() <= each.items()]

    def wait_for(self, what: str, count: int = 1, **fields: Any) -> list[Record]:
        """Wait until there are so many lines of that kind and with those values; return them."""

        def found() -> list[Record]:
            ended = self.process.poll() is not None
            records = self.records(what, **fields)
            if ended and len(records) < count:
                raise AssertionError(f"the program has ended without {what} {fields}:\n{self.log}")
            return records if len(records) >= count else []

        return wait_until(found, what=f"{count} times {what} {fields}")

    def raise_flag(self, name: str) -> None:
        """Let the program go on where it calls ``wait_for_flag``."""
        (self.directory / name).touch()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program alone."""
        self.process.send_signal(number)

    def send_to_group(self, number: signal.Signals) -> None:
        """Send a signal to the program and all its children, as a terminal or a service manager does."""
        os.killpg(self.process.pid, number)

    def wait(self) -> int:
        """Wait for the program's end and return its exit status."""
        return self.process.wait(30)


class PoolProcess(Program):
    """
    A supervisor in a process of its own.

    Arguments:
        directory: of the test.
        work: what the workers run, a function of a module.
        main: what runs in the supervisor's process: a function of a module, called with the work and the settings.
        monitor: what the monitor runs, a function of a module; None for no monitor.
        arguments: what ``argument`` returns in the program.
        prefix: a command that runs the program.
        settings: of ``PoolConfig``.
    """

    def __init__(
        self,
        directory: Path,
        work: Callable[..., Any] = idle,
        main: Callable[..., Any] = supervise,
        *,
        monitor: Callable[..., Any] | None = None,
        arguments: dict[str, Any] | None = None,
        prefix: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        if monitor is not None:
            arguments = {"monitor": _name_of(monitor)} | (arguments or {})
        run = ("run_pool", _name_of(main), _name_of(work), json.dumps({"workers": 1} | settings))
        super().__init__(directory, *run, arguments=arguments, prefix=prefix)

    @property
    def supervisor(self) -> psutil.Process:
        """The supervisor."""
        return psutil.Process(self.process.pid)

    def freeze(self) -> None:
        """Suspend the supervisor; its signals wait until it is resumed."""
        self.supervisor.suspend()
        wait_until(lambda: self.supervisor.status() == psutil.STATUS_STOPPED)

    def worker(self, shard: int) -> psutil.Process:
        """Return the worker that has the shard now."""
        return psutil.Process(self.wait_for("WorkerStarted", shard=shard)[-1].pid)

    def monitor(self) -> psutil.Process:
        """Return the monitor that is there now."""
        return psutil.Process(self.wait_for("MonitorStarted")[-1].pid)

    def wait_ready(self, workers: int) -> Self:
        """Wait until so many workers are ready, replacements included, and the supervisor has reported them."""
        ready = {each.pid for each in self.wait_for("ready", workers)}
        wait_until(lambda: ready <= {each.pid for each in self.records("WorkerStarted")})
        return self

    def stop(self) -> Record:
        """Stop the pool gracefully and return what it reports of that."""
        self.send(signal.SIGTERM)
        assert self.wait() == 0, self.log
        return self.records("Stopped")[0]

    def outcome(self) -> str:
        """Wait for the pool's end and return how it ended."""
        assert self.wait() == 0, self.log
        return str(self.records("end")[0].outcome)


def _name_of(function: Callable[..., Any]) -> str:
    return f"{function.__module__}:{function.__name__}"
