"""What the pool has to reach under one kind of fault each; no time is asserted, only what became of the events."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from devtools.server import EmbeddedServer
from tests.support.consuming import ConsumerProcess
from tests.support.events import TOPIC, add_logins
from tests.support.waiting import wait_until

_PREFIX = "bar"
_STREAM = f"{_PREFIX}-{TOPIC}"
_TIMEOUT = 300.0


class Bar(NamedTuple):
    """What was done, in words; what came of it, in words; and what is wrong with that."""

    name: str
    outcome: str
    wrong: list[str]


def killed_workers(directory: Path, events: int, seed: int) -> Bar:
    """4 workers, events of a 5 ms handler, a random worker killed every 0.2 to 0.6 s: as many repeats as kills."""
    choices = random.Random(f"{seed} bar")
    with EmbeddedServer() as server, _pool(directory, server) as pool:
        ids = add_logins(server.client(), _STREAM, events, "sleep:0.005")
        kills = 0
        began = time.monotonic()
        while _count(pool) < events and time.monotonic() - began < _TIMEOUT:
            time.sleep(choices.uniform(0.2, 0.6))
            workers = [child for child in pool.children() if child.pid in pool.worker_pids().values()]
            if workers:
                choices.choice(workers).kill()
                kills += 1
        wrong = _settled(pool, server, ids)
    repeats = _repeats(pool)
    if repeats > kills:
        wrong.append(f"{repeats} events were handled again after {kills} kills")
    name = f"4 workers, {events:,} events of a 5 ms handler, a worker killed every 0.2 to 0.6 s"
    return _bar(name, f"all handled, {kills} kills, {repeats} events handled again", wrong)


def killed_server(directory: Path, events: int) -> Bar:
    """A server with an append-only file that is killed three times: all events are handled."""
    config = {"appendonly": "yes", "appendfsync": "always"}
    with EmbeddedServer(config=config) as server, _pool(directory, server) as pool:
        ids = add_logins(server.client(), _STREAM, events, "sleep:0.005")
        for part in (1, 2, 3):
            pool.wait_handled(events * part // 4)
            server.kill()
            server.restart()
        wrong = _settled(pool, server, ids)
    name = f"4 workers, {events:,} events of a 5 ms handler, the server killed three times (append-only file)"
    return _bar(name, f"all handled, {_repeats(pool)} events handled again", wrong)


def _bar(name: str, outcome: str, wrong: list[str]) -> Bar:
    return Bar(name, "; ".join(wrong) or outcome, wrong)


def _pool(directory: Path, server: EmbeddedServer) -> ConsumerProcess:
    directory.mkdir(parents=True, exist_ok=True)
    pool = ConsumerProcess(
        starts=True,
        directory=directory,
        url=server.url,
        prefix=_PREFIX,
        settings={"EVENT_BUS_REDIS_AUDIT_LOGGING_ENABLED": False},
        consumer_name="c1",
        workers=4,
    )
    return pool.wait_running(4)


def _settled(pool: ConsumerProcess, server: EmbeddedServer, ids: list[str]) -> list[str]:
    """Wait until nothing is pending, stop the pool, and return what is wrong."""
    client = server.client()
    wrong: list[str] = []
    for condition, what in (
        (lambda: {each.event_id for each in pool.handled()} >= set(ids), "all events are handled"),
        (lambda: client.xpending(_STREAM, "group")["pending"] == 0, "nothing is pending"),
    ):
        _expect(condition, what, wrong)
    children = pool.children()
    status = pool.stop()
    if status:
        wrong.append(f"the pool ended with status {status}")
    _, left = psutil.wait_procs(children, timeout=5)
    return [*wrong, *(f"process {process} is left" for process in left)]


def _expect(condition: Callable[[], bool], what: str, wrong: list[str]) -> None:
    try:
        wait_until(condition, timeout=_TIMEOUT, what=what)
    except AssertionError as error:
        wrong.append(str(error))


def _count(pool: ConsumerProcess) -> int:
    return len({each.event_id for each in pool.handled()})


def _repeats(pool: ConsumerProcess) -> int:
    return sum(times - 1 for times in Counter(each.event_id for each in pool.handled()).values())
