"""A process under test with all its descendants: its life, its memory and its processor time."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

# Lines of the log that a failure is reported with.
_TAIL = 15

_STOP_SECONDS = 20.0


class ProcessEnded(RuntimeError):
    """A process under test has ended though it should run; the message ends with the end of what it wrote."""


class Process:
    """
    A program in a directory. As a context manager it is stopped, and leaves no descendant behind.

    Arguments:
        command: with arguments.
        directory: to run in.
        environment: all of its environment.
        output: file that standard output and standard error go to.
    """

    def __init__(
        self, command: Sequence[str], *, directory: Path, environment: Mapping[str, str], output: Path
    ) -> None:
        self._output = output
        with output.open("wb") as out:
            self._process = subprocess.Popen(
                command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        tree = self.tree()
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
        for each in tree:
            if each.is_running():
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        self._process.wait()
        psutil.wait_procs(tree, timeout=_STOP_SECONDS)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise ProcessEnded if it has ended."""
        if self._process.poll() is not None:
            raise ProcessEnded(f"ended with status {self._process.returncode}: {self.output_tail()}")

    def wait(self, timeout: float) -> int:
        """Wait for its end, so many seconds at the most, and return its exit status."""
        return self._process.wait(timeout)

    def output_tail(self) -> str:
        """Return the end of what it wrote."""
        return "\n".join(self._output.read_text(errors="replace").splitlines()[-_TAIL:])

    def tree(self) -> list[psutil.Process]:
        """Return it and all its descendants; nothing if it has ended."""
        try:
            root = psutil.Process(self._process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def processor_times(self) -> dict[int, float]:
        """Return the seconds that each living process of the tree has run, by process id."""
        return {each.pid: _seconds_run(each.pid) for each in self.tree()}


@dataclass(frozen=True)
class Processes:
    """Processes that are measured together."""

    all: Sequence[Process]

    def check(self) -> None:
        """Raise ProcessEnded if one of them has ended."""
        for each in self.all:
            each.check()

    def memory(self) -> float:
        """Return the memory of all trees in MiB, shared pages divided by those who share them (PSS)."""
        return sum(_proportional_bytes(each.pid) for process in self.all for each in process.tree()) / 1024**2

    def processor_time(self) -> float:
        """Return the seconds that all living processes of all trees have run."""
        return sum(sum(process.processor_times().values()) for process in self.all)


def _proportional_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no Pss in /proc/{pid}/smaps_rollup")


def _seconds_run(pid: int) -> float:
    # Nanoseconds, where other counts are hundredths of a second: see Documentation/scheduler/sched-stats.rst.
    total = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        # One that ends while it is looked at has no file any more.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += int(path.read_text().split()[0])
    return total / 1e9


# Share of all processors that others may use while something is measured.
QUIET = 0.1


def wait_for_quiet(seconds: float) -> float:
    """
    Wait until nobody else uses the processors much.

    Arguments:
        seconds: to wait at the most.

    Returns:
        the share that was in use last.
    """
    deadline = time.monotonic() + seconds
    while True:
        share = psutil.cpu_percent(interval=min(1.0, max(0.2, seconds))) / 100
        if share <= QUIET or time.monotonic() >= deadline:
            return share
