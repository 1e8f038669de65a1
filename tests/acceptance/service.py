"""A service that uses the event bus: the Django project beside this file, run by a Python of its own."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil

from devtools.environments import plain_environment
from tests.acceptance.project import examples
from tests.support.waiting import wait_until

PROJECT = Path(__file__).parent / "project"

# For a process that has something to do and then ends.
RUN_SECONDS = 60


class Event(NamedTuple):
    """
    An event to send; its data is made up from this.

    Attributes:
        type: of the event.
        number: which of the events of the type; decides the metadata.
        variant: ``full`` data, or the ``least``.
        order: what the receiver shall do, if the data has a username.
    """

    type: str
    number: int = 0
    variant: str = "full"
    order: str | None = None

    @property
    def id(self) -> str:
        """The event's id."""
        return str(examples.metadata(self.type, self.number).id)

    def described(self) -> tuple[Any, Any]:
        """Return metadata and data as a receiver of it would describe them."""
        data = examples.event_data(examples.signal_of(self.type), self.variant, self.order)
        return examples.described(examples.metadata(self.type, self.number)), examples.described(data)


def events_of_every_signal() -> list[Event]:
    """Return two events of each signal that a bus can carry: one with all of its data and one with the least."""
    types = examples.event_types()
    return [Event(kind, number, variant) for kind in types for number, variant in enumerate(("full", "least"))]


class Handled(NamedTuple):
    """An event that a receiver has handled."""

    id: str
    pid: int
    metadata: Any
    data: Any


class Service:
    """
    A service in a directory of its own. As a context manager it ends all processes that it has started.

    Arguments:
        directory: to make for it.
        python: its interpreter.
        version: of the event bus that must answer there.
        location: directory that this event bus must be in.
        url: of the Redis server.
        prefix: ``EVENT_BUS_TOPIC_PREFIX``.
        python_path: ``PYTHONPATH``, None for none.
    """

    def __init__(
        self,
        directory: Path,
        python: Path,
        *,
        version: str,
        location: Path,
        url: str,
        prefix: str,
        python_path: Path | None = None,
    ) -> None:
        self.directory = directory
        self._python = python
        self._version = version
        self._location = location
        self._settings = {"EVENT_BUS_REDIS_CONNECTION_URL": url, "EVENT_BUS_TOPIC_PREFIX": prefix}
        self._python_path = python_path
        self._processes = ExitStack()
        shutil.copytree(PROJECT, directory, ignore=shutil.ignore_patterns("__pycache__"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._processes.close()

    def run(self, *command: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        """Run a script of the project to its end; ``settings`` are Django's."""
        return subprocess.run(
            [self._python, *command],
            cwd=self.directory,
            env=self._environment("sent", settings),
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )

    def send(self, topic: str, events: Iterable[Event], *, how: str = "send", **settings: Any) -> str:
        """Send events, wait until they are, and return what was logged."""
        job = {"how": how, "topic": topic, "events": list(events)}
        done = self.run("manage.py", "send", json.dumps(job), **settings)
        assert done.returncode == 0, done.stderr
        self._check(json.loads(done.stdout))
        return done.stderr

    def consume(
        self, topic: str, group: str = "group", *, settings: dict[str, Any] | None = None, **extra: Any
    ) -> "ConsumerProcess":
        """Start ``consume_events``; ``extra`` are the keys of ``--extra``."""
        arguments = ["-t", topic, "-g", group, "--extra", json.dumps({"consumer_name": "c1", **extra})]
        return self._processes.enter_context(
            ConsumerProcess(
                [str(self._python), "manage.py", "consume_events", *arguments],
                self.directory,
                self._environment("handled", settings or {}),
            )
        )

    def handled(self) -> list[Handled]:
        """Return the events that the consumers of this service have handled so far."""
        return self._record("handled")

    def sent(self) -> list[Handled]:
        """Return the events that receivers in this service's sending processes have seen."""
        return self._record("sent")

    def wait_handled(self, count: int) -> list[Handled]:
        """Wait until so many events were handled."""
        wait_until(lambda: len(self.handled()) >= count, timeout=60, what=f"{count} events handled")
        return self.handled()

    def order_to_wait(self) -> str:
        """Return what makes a receiver wait until ``wait_no_longer`` is called."""
        (self.directory / "wait").touch()
        return f"wait:{self.directory / 'wait'}"

    def wait_no_longer(self) -> None:
        """Let the receivers go on."""
        (self.directory / "wait").unlink()

    def waiting(self) -> list[dict[str, Any]]:
        """Return which events have made their receiver wait."""
        return _lines(self.directory / "waiting")

    def telemetry(self) -> list[tuple[str, str]]:
        """Return the attributes, with their values, and the exceptions that the monitoring system was told of."""
        return [(line["name"], line["value"]) for line in _lines(self.directory / "telemetry")]

    def _record(self, name: str) -> list[Handled]:
        lines = _lines(self.directory / name)
        for line in lines:
            self._check(line["package"])
        ids = (re.search(r"[0-9a-f-]{36}", line["metadata"]["id"]) for line in lines)
        return [
            Handled(found.group() if found else "", line["pid"], line["metadata"], line["data"])
            for found, line in zip(ids, lines, strict=True)
        ]

    def _check(self, package: Sequence[str]) -> None:
        version, path = package
        assert version == self._version, f"another version answered: {version} in {path}"
        assert Path(path).resolve().is_relative_to(self._location.resolve()), f"another package answered: {path}"

    def _environment(self, record: str, settings: dict[str, Any]) -> dict[str, str]:
        python_path = {} if self._python_path is None else {"PYTHONPATH": str(self._python_path)}
        return {
            **plain_environment(),
            **python_path,
            "PROJECT_SETTINGS": json.dumps({**self._settings, **settings}),
            "PROJECT_RECORD": str(self.directory / record),
            "PROJECT_WAITING": str(self.directory / "waiting"),
            "PROJECT_TELEMETRY": str(self.directory / "telemetry"),
        }


class ConsumerProcess:
    """A running ``consume_events``. As a context manager it leaves no process behind, however the test ends."""

    def __init__(self, command: list[str], directory: Path, environment: dict[str, str]) -> None:
        self._log = directory / f"consumer-{len(list(directory.glob('consumer-*')))}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=directory, env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        children = []
        if self.process.poll() is None:
            children = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
        self.process.wait()
        for child in children:
            if child.is_running():
                child.kill()
        psutil.wait_procs(children, timeout=10)

    @property
    def log(self) -> str:
        """What the consumer has written so far."""
        return self._log.read_text()

    def lines(self, beginning: str) -> list[str]:
        """Return the messages in the log that begin so, with level and logger."""
        return matching(self.log, beginning)

    def wait_running(self, consumers: int = 1) -> Self:
        """Wait until so many consumers have said that they run."""

        def running() -> bool:
            assert self.process.poll() is None, f"ended with status {self.process.poll()}:\n{self.log}"
            return len(self.lines("Running consumer for")) >= consumers

        wait_until(running, what=f"{consumers} running consumers")
        return self

    def stop(self) -> int:
        """Ask the consumer to stop, wait for that, and return its exit status."""
        self.process.terminate()
        return self.process.wait(30)


def matching(log: str, beginning: str) -> list[str]:
    """Return the messages of a log that begin so, with level and logger."""
    return [line for line in log.splitlines() if re.match(rf"[A-Z]+ [\w.]+: {re.escape(beginning)}", line)]


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    # The last line may be in the middle of being written.
    complete, _, _ = path.read_text().rpartition("\n")
    return [json.loads(line) for line in complete.splitlines()]
