"""A pool under fire, and the service manager that starts it again."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import psutil

from devtools.demo.run import Tail
from tests.chaos.plan import Plan
from tests.support.consuming import ConsumerProcess
from tests.support.proxy import Proxy

# A pool in a crash loop does not say each replacement; each worker says that it runs, if only for debugging.
_WORKER = re.compile(r" (?P<pid>\d+) [A-Z]+ \S+: Running consumer for .*'consumer_name': '[^']*\.(?P<shard>\d+)'")

# Seconds after which a child that the log does not call a worker is none.
_YOUNG = 1.0

# No line for each event: the log is read again and again.
_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "openedx_events": {"level": "WARNING"},
        "django.dispatch": {"level": "CRITICAL"},
        "edx_event_bus_redis.internal.consumer": {"level": "DEBUG"},
    },
}


class Pool:
    """
    One of the pools.

    Arguments:
        plan: of the run.
        name: its consumer name.
        directory: of its records and logs.
        proxy: through which it reaches the server.
        prefix: ``EVENT_BUS_TOPIC_PREFIX``.
        choices: draws how long it takes until it is started again.
    """

    def __init__(
        self, plan: Plan, name: str, directory: Path, proxy: Proxy, prefix: str, choices: random.Random
    ) -> None:
        self.name = name
        self.proxy = proxy
        self.starts = 0
        self.exits: list[int] = []
        self.seen: set[psutil.Process] = set()
        self._plan = plan
        self._directory = directory
        self._prefix = prefix
        self._random = choices
        self._due: float | None = None
        self._start()

    def _start(self) -> None:
        self.consumer = ConsumerProcess(
            directory=self._directory,
            url=self.proxy.url,
            prefix=self._prefix,
            starts=True,
            settings={"EVENT_BUS_REDIS_AUDIT_LOGGING_ENABLED": False, "LOGGING": _LOGGING},
            consumer_name=self.name,
            workers=self._plan.workers,
            check_backlog=True,
            max_retries=self._plan.max_retries,
            max_deliveries=self._plan.max_deliveries,
            shutdown_timeout=15,
        )
        self.starts += 1
        self._log = Tail(self.consumer.log_path)
        self._worker_pids: dict[int, int] = {}
        self.supervisor = psutil.Process(self.consumer.process.pid)
        self.seen.add(self.supervisor)

    def keep_up(self) -> None:
        """Start the pool again, some time after it has ended."""
        status = self.consumer.process.poll()
        if status is None:
            return
        if self._due is None:
            self.exits.append(status)
            self._due = time.monotonic() + self._random.uniform(0.0, 2.0)
        elif time.monotonic() >= self._due:
            self._due = None
            self._start()

    def bring_up(self) -> None:
        """Start the pool now if it has ended."""
        if self.consumer.process.poll() is not None:
            self._due = None
            self._start()

    def workers(self) -> list[psutil.Process]:
        """The living workers."""
        for line in self._log.new_lines():
            if match := _WORKER.search(line):
                self._worker_pids[int(match["shard"])] = int(match["pid"])
        children = self.consumer.children()
        self.seen.update(children)
        return [child for child in children if child.pid in self._worker_pids.values()]

    def monitors(self) -> list[psutil.Process]:
        """The living children that are no workers."""
        workers = {worker.pid for worker in self.workers()}
        found = []
        for child in self.consumer.children():
            try:
                if child.pid not in workers and time.time() - child.create_time() > _YOUNG:
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found
