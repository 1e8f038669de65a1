"""A consumer as its operator starts it: ``manage.py consume_events`` in a process of its own."""

import contextlib
import json
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil

from tests.support.commands import start
from tests.support.events import TOPIC
from tests.support.waiting import wait_until


class Handled(NamedTuple):
    """A line of the record: an event that a receiver handled."""

    event_id: str
    pid: int
    number: int
    at: float


class ConsumerProcess:
    """
    ``manage.py consume_events`` for one topic and group, with the receivers of ``tests.support``.

    Arguments:
        directory: for its log and its record; several consumers may share one, and so the record.
        url: of the server.
        prefix: ``EVENT_BUS_TOPIC_PREFIX``.
        group: consumer group.
        settings: more Django settings.
        python: the interpreter, if not this one.
        within: a command that runs another one as its only child, which comes behind it; none to do without.
        environment: more of it.
        starts: whether a new interpreter runs it from its first line on. Without, it is forked from one that has loaded
            Django, unless another interpreter or a command around it is wanted.
        extra: the keys of ``--extra``.
    """

    def __init__(
        self,
        *,
        directory: Path,
        url: str,
        prefix: str,
        group: str = "group",
        settings: dict[str, Any] | None = None,
        python: str = sys.executable,
        within: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        starts: bool = False,
        **extra: Any,
    ) -> None:
        self.record = directory / "handled"
        self.log_path = directory / f"consumer-{len(list(directory.glob('consumer-*')))}.log"
        self._is_within = bool(within)
        command = ["consume_events", "-t", TOPIC, "-g", group, "--extra", json.dumps(extra)]
        with self.log_path.open("ab") as log:
            self.process = start(
                *command,
                url=url,
                prefix=prefix,
                settings=settings,
                environment={**(environment or {}), "TEST_RECORD": str(self.record)},
                starts=starts,
                interpreter=[*within, python],
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no process behind, however the test ends."""
        processes = self.processes()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=10)

    @property
    def log(self) -> str:
        """What the consumer has written so far."""
        return self.log_path.read_text(errors="replace")

    def children(self) -> list[psutil.Process]:
        """The living children of the consumer's process."""
        return self.processes()[1:]

    def processes(self) -> list[psutil.Process]:
        """The consumer's process and its children, those of them that are alive."""
        try:
            outermost = psutil.Process(self.process.pid)
            (main,) = outermost.children() if self._is_within else [outermost]
            return [each for each in (main, *main.children()) if _is_alive(each)]
        except (psutil.NoSuchProcess, ValueError):
            return []

    def worker_pids(self) -> dict[int, int]:
        """The process ids of the workers by shard, as the supervisor's log has them last."""
        found = re.findall(r"(?:started|replaced) worker (\d+), pid (\d+)", self.log)
        return {int(shard): int(pid) for shard, pid in found}

    def wait_running(self, workers: int = 1) -> Self:
        """Wait until so many consumers have said that they run."""
        wait_until(
            lambda: self.log.count("Running consumer for") >= workers or self._fail_if_ended(), what="consumers running"
        )
        return self

    def _fail_if_ended(self) -> bool:
        status = self.process.poll()
        if status is not None:
            raise AssertionError(f"the consumer ended with status {status}:\n{self.log}")
        return False

    def handled(self) -> list[Handled]:
        """The events that were handled so far, in that order."""
        return read_record(self.record)

    def begun(self) -> list[Handled]:
        """The events that receivers have begun to handle so far."""
        return read_record(Path(f"{self.record}.begun"))

    def wait_handled(self, count: int, timeout: float = 60.0) -> list[Handled]:
        """Wait until so many different events were handled."""
        wait_until(
            lambda: len({each.event_id for each in self.handled()}) >= count or self._fail_if_ended(),
            timeout=timeout,
            what=f"{count} events handled",
        )
        return self.handled()

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask the consumer to stop."""
        if self._is_within:
            for process in self.processes()[:1]:
                process.send_signal(number)
        else:
            self.process.send_signal(number)

    def wait(self, timeout: float = 30.0) -> int:
        """Wait for the consumer's end and return its exit status."""
        return self.process.wait(timeout)

    def stop(self) -> int:
        """Ask the consumer to stop and return its exit status."""
        self.terminate()
        return self.wait()


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def read_record(path: Path) -> list[Handled]:
    """Return what receivers have written into a file; nothing if it is not there."""
    if not path.exists():
        return []
    lines = (line.split() for line in path.read_text().splitlines())
    whole = [words[:4] for words in lines if len(words) == 5 and words[-1] == "."]
    return [Handled(event_id, int(pid), int(number), float(at)) for event_id, pid, number, at in whole]
