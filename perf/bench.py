"""What scenarios measure with: a server, the sides that are compared, and the processes that use it."""

from __future__ import annotations

import json
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import redis

import edx_event_bus_redis
from devtools.embedded import EmbeddedServer
from devtools.environments import PUBLISHED, interpreter_of, plain_environment, published_environment
from perf import CHECKOUT, ENVIRONMENTS, PERF
from perf.events import GROUP, TOPIC, Backlogs, stream_of
from perf.processes import Process, Processes
from perf.rates import LIMIT, Run, Spent, added_to_stream, follow, handled_by_group, seconds_of_server

# Few enough to be quick, enough for a group of one worker.
_FEWEST = 20

# Seconds between two looks whether consumers read.
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Side:
    """
    A package to measure.

    Attributes:
        name: ``ours`` or ``published``.
        version: of the package.
        python: interpreter of the environment that has it.
        python_path: ``PYTHONPATH``, None for none.
    """

    name: str
    version: str
    python: Path
    python_path: Path | None = None

    @property
    def has_pool(self) -> bool:
        """Whether its consumer takes ``workers``."""
        return self.name == "ours"


OURS = Side("ours", edx_event_bus_redis.__version__, Path(sys.executable), CHECKOUT)


class Bench:
    """
    A server and the means to measure. As a context manager it ends all that it has started.

    Arguments:
        scale: what the numbers of events are multiplied by; below 1 for a quick look.
        with_published: whether the published package takes part.
        with_peers: whether Celery, Dramatiq and FastStream take part.
    """

    def __init__(self, *, scale: float = 1.0, with_published: bool = True, with_peers: bool = False) -> None:
        self._scale = scale
        self.with_peers = with_peers
        self._with_published = with_published
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.published = self._published() if self._with_published else None
        self._directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="event-bus-perf-")))
        self.server = self._stack.enter_context(EmbeddedServer())
        self.client = self._stack.enter_context(self.server.client(timeout=30.0))
        self.backlogs = Backlogs(self.client)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def sides(self) -> list[Side]:
        """The packages that take part, ours first."""
        return [OURS, *([self.published] if self.published is not None else [])]

    def scaled(self, count: int) -> int:
        """Return a number of events as it is to be in this run."""
        return max(_FEWEST, int(count * self._scale))

    @property
    def is_scaled_down(self) -> bool:
        """Whether this run is a quick look, whose values mean nothing."""
        return self._scale < 1

    def file(self, name: str) -> Path:
        """Return the path of a new file of this run."""
        return self._directory / f"{uuid.uuid4().hex[:8]}-{name}"

    @contextmanager
    def topic(self, count: int = 0, *, groups: int = 1) -> Iterator[str]:
        """Give a topic prefix of its own whose stream has so many events that ``GROUP`` has not read."""
        prefix = f"perf{uuid.uuid4().hex[:12]}"
        stream = stream_of(prefix)
        if count:
            self.backlogs.copy(stream, count)
        for number in range(groups):
            name = f"other{number}" if number else GROUP
            self.client.execute_command("XGROUP", "CREATE", stream, name, "0", "MKSTREAM", "ENTRIESREAD", "0")
        try:
            yield prefix
        finally:
            self.client.delete(*self.client.scan_iter(f"*{prefix}*", count=1000))

    def consumer(
        self,
        side: Side,
        prefix: str,
        *,
        name: str = "c1",
        workers: int | None = None,
        handler: str = "nothing",
        audit: bool = False,
        **extra: Any,
    ) -> Process:
        """
        Start ``consume_events`` on the stream of a prefix.

        Arguments:
            side: the package.
            prefix: of ``topic``.
            name: of the consumer.
            workers: in its pool; None for the process itself.
            handler: what the receiver does; see ``perf/project/handlers/apps.py``.
            audit: whether the audit log is on, in a file; else it is off, and warnings alone are logged.
            extra: more keys of ``--extra``.
        """
        pool = {} if workers is None else {"workers": workers}
        options = json.dumps({"consumer_name": name, "check_backlog": True, **pool, **extra})
        arguments = ["consume_events", "-t", TOPIC, "-g", GROUP, "--extra", options]
        return self._manage(side, prefix, arguments, handler=handler, audit=audit)

    @contextmanager
    def consumers(self, side: Side, prefix: str, workers: int, **options: Any) -> Iterator[Processes]:
        """Start a pool of so many workers, or where the package has none so many consumers; see ``consumer``."""
        several = [{"workers": workers}] if side.has_pool else [{"name": f"c{number}"} for number in range(workers)]
        with ExitStack() as stack:
            yield Processes([stack.enter_context(self.consumer(side, prefix, **options, **each)) for each in several])

    def consume(
        self,
        side: Side,
        count: int,
        workers: int | None,
        *,
        left: int = 0,
        pending: int = 0,
        groups: int = 1,
        **options: Any,
    ) -> Run:
        """
        Let a backlog be consumed.

        Arguments:
            side: the package.
            count: events to be handled.
            workers: that handle them; None for one consumer without a pool.
            left: events of the backlog that are more than are waited for.
            pending: entries that another consumer of the group has read and not acknowledged.
            groups: of the stream; only one reads.
            options: of ``consumer``.
        """
        with self.topic(count + left + pending, groups=groups) as prefix, ExitStack() as stack:
            stream = stream_of(prefix)
            if pending:
                self.client.xreadgroup(GROUP, "other", {stream: ">"}, count=pending)
            if workers is None:
                consumers = Processes([stack.enter_context(self.consumer(side, prefix, **options))])
            else:
                consumers = stack.enter_context(self.consumers(side, prefix, workers, **options))
            return self.follow(prefix, count, consumers)

    def follow(self, prefix: str, count: int, consumers: Processes) -> Run:
        """Follow consumers of a prefix until so many events are handled."""
        return self.follow_done(handled_by_group(self.client, stream_of(prefix), GROUP), count, consumers)

    def follow_done(self, done: Callable[[], int], count: int, processes: Processes) -> Run:
        """Follow processes until so many events are done, as ``done`` tells."""
        return follow(done, count, partial(self._spent, processes), processes.check)

    def wait_for_readers(self, prefix: str, count: int) -> None:
        """Wait until so many workers of the pool of a prefix have asked for entries. Raises TimeoutError."""
        # Where others use the processors as well, a thousand processes take minutes to begin.
        limit = LIMIT + count * 0.5
        deadline = time.monotonic() + limit
        while self._readers(prefix) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._readers(prefix)} of {count} workers read within {limit:.0f} s")
            time.sleep(_LOOK_SECONDS)

    def _readers(self, prefix: str) -> int:
        try:
            found = self.client.xinfo_consumers(stream_of(prefix), GROUP)
        except (redis.ResponseError, redis.ConnectionError):
            # The group, or the server, is not there yet.
            return 0
        return sum(each["name"].startswith(b"c1.") for each in found)

    def status(self, prefix: str) -> None:
        """Let the command for it look at the stream of a prefix."""
        with self._manage(OURS, prefix, ["event_bus_status", "-t", TOPIC, "--json"]) as command:
            command.wait(LIMIT)

    def produce(self, side: Side, count: int, *, many: bool = False, audit: bool = False) -> Run:
        """Let so many events be produced, one by one or with the bulk call."""
        with self.topic() as prefix:
            arguments = ["produce", str(count), *(["--many"] if many else [])]
            with self._manage(side, prefix, arguments, audit=audit) as producer:
                added = added_to_stream(self.client, stream_of(prefix))

                def check() -> None:
                    if added() < count:
                        producer.check()

                return follow(added, count, partial(self._spent, Processes([producer])), check)

    def _spent(self, processes: Processes) -> Spent:
        return Spent(processes.processor_time(), seconds_of_server(self.client))

    def _manage(
        self, side: Side, prefix: str, arguments: list[str], *, handler: str = "nothing", audit: bool = False
    ) -> Process:
        settings = {
            "EVENT_BUS_REDIS_CONNECTION_URL": self.server.url,
            "EVENT_BUS_TOPIC_PREFIX": prefix,
            "EVENT_BUS_REDIS_AUDIT_LOGGING_ENABLED": audit,
        }
        environment: Mapping[str, str] = {
            **plain_environment(),
            **({} if side.python_path is None else {"PYTHONPATH": str(side.python_path)}),
            "PERF_SETTINGS": json.dumps(settings),
            "PERF_HANDLER": handler,
            **({"PERF_LOG": str(self.file("audit.log"))} if audit else {}),
        }
        return Process(
            [str(side.python), "manage.py", *arguments],
            directory=PERF / "project",
            environment=environment,
            output=self.file("output"),
        )

    @staticmethod
    def _published() -> Side:
        return Side("published", PUBLISHED, interpreter_of(published_environment(ENVIRONMENTS)))
