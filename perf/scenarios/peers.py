"""The same 20,000 events handled by others: Celery, Dramatiq and FastStream, with one and with two processes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from devtools.environments import environment_with, interpreter_of, plain_environment, versions_here
from perf import CHECKOUT, ENVIRONMENTS, PERF
from perf.bench import Bench, Side
from perf.events import GROUP
from perf.processes import Process, Processes
from perf.rates import LIMIT, Run, handled_by_group
from perf.scenario import Bar, Case

TITLE = "the same 20,000 events, decode and handler in other frameworks, by processes"

NEEDS_PEERS = True

EVENTS = 20_000

REQUIREMENTS = (PERF / "peers" / "requirements.txt").read_text().split()

# What importing this package's decode needs.
FOR_OUR_DECODE = [
    "Django",
    "attrs",
    "edx-django-utils",
    "edx-toggles",
    "fastavro",
    "multiprocess",
    "openedx-events",
    "psutil",
    "rich",
]

BARS: list[Bar] = []

ABOUT = {"peers": REQUIREMENTS}


@dataclass(frozen=True)
class Peer:
    """
    A framework in one of its ways of working.

    Attributes:
        name: what the results call it.
        module: ``perf.peers.with_<module>``.
        command: program and arguments, given the number of processes.
        keys: what its queue is made of.
        left: returns how many events are enqueued or in hand; None where the queue is a stream with a group.
        variables: of its environment.
        most_processes: that it can have.
    """

    name: str
    module: str
    command: Callable[[int], Sequence[str]]
    keys: Sequence[str]
    left: Callable[[Bench], int] | None
    variables: Mapping[str, str]
    most_processes: int = 2


def _celery(*pool: str) -> Callable[[int], Sequence[str]]:
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"]
    return lambda processes: [
        *["celery", "-A", "perf.peers.with_celery", "worker", *quiet],
        *(pool or ["--pool", "prefork", "--concurrency", str(processes)]),
    ]


def _dramatiq(threads: int) -> Callable[[int], Sequence[str]]:
    return lambda processes: [
        *["dramatiq", "perf.peers.with_dramatiq", "--processes", str(processes), "--threads", str(threads)],
    ]


def _faststream(processes: int) -> Sequence[str]:
    several = ["--workers", str(processes)] if processes > 1 else []
    return ["faststream", "run", "perf.peers.with_faststream:app", "--log-level", "warning", *several]


PEERS = [
    Peer(
        "Celery, prefork",
        "celery",
        _celery(),
        ["perf-celery"],
        lambda bench: int(bench.client.llen("perf-celery")) + int(bench.client.hlen("unacked")),
        {},
    ),
    Peer(
        "Celery, solo",
        "celery",
        _celery("--pool", "solo"),
        ["perf-celery"],
        lambda bench: int(bench.client.llen("perf-celery")) + int(bench.client.hlen("unacked")),
        {},
        most_processes=1,
    ),
    Peer(
        "Dramatiq, 8 threads",
        "dramatiq",
        _dramatiq(8),
        ["dramatiq:perf-dramatiq", "dramatiq:perf-dramatiq.msgs"],
        lambda bench: int(bench.client.hlen("dramatiq:perf-dramatiq.msgs")),
        {"dramatiq_queue_prefetch": "100"},
    ),
    Peer(
        "Dramatiq, 1 thread",
        "dramatiq",
        _dramatiq(1),
        ["dramatiq:perf-dramatiq", "dramatiq:perf-dramatiq.msgs"],
        lambda bench: int(bench.client.hlen("dramatiq:perf-dramatiq.msgs")),
        {"dramatiq_queue_prefetch": "100"},
    ),
    Peer("FastStream", "faststream", _faststream, ["perf-faststream"], None, {}),
    Peer("FastStream, batches", "faststream", _faststream, ["perf-faststream"], None, {"PERF_BATCH": "1"}),
]


def cases(bench: Bench) -> list[Case]:
    """Return the cases."""
    count = bench.scaled(EVENTS)

    def of_peer(peer: Peer, processes: int) -> Mapping[str, float]:
        return _measured(_consume(bench, peer, processes, count))

    def of_side(side: Side, workers: int) -> Mapping[str, float]:
        return _measured(bench.consume(side, count, workers))

    return [
        *[
            Case(f"{side.name}, {processes}", partial(of_side, side, processes))
            for side in bench.sides
            for processes in (1, 2)
        ],
        *[
            Case(f"{peer.name}, {processes}", partial(of_peer, peer, processes))
            for peer in PEERS
            for processes in range(1, peer.most_processes + 1)
        ],
    ]


def _measured(run: Run) -> Mapping[str, float]:
    return {"events/s": run.rate, "processor µs/event": run.cost, "server µs/event": run.cost_of_server}


def _consume(bench: Bench, peer: Peer, processes: int, count: int) -> Run:
    enqueued = [f"perf-{peer.module}-{count}-{key}" for key in peer.keys]
    if not bench.client.exists(*enqueued):
        _run_to_its_end(bench, "-m", "perf.peers.enqueue", peer.module, str(count))
        for key, kept in zip(peer.keys, enqueued, strict=True):
            bench.client.rename(key, kept)
    for key, kept in zip(peer.keys, enqueued, strict=True):
        bench.client.execute_command("COPY", kept, key, "REPLACE")
    done: Callable[[], int]
    if peer.left is None:
        (stream,) = peer.keys
        bench.client.execute_command("XGROUP", "CREATE", stream, GROUP, "0", "ENTRIESREAD", "0")
        done = handled_by_group(bench.client, stream, GROUP)
    else:
        left = peer.left

        def done() -> int:
            return count - left(bench)

    program, *arguments = peer.command(processes)
    command = [str(_environment() / "bin" / program), *arguments]
    with Process(
        command, directory=CHECKOUT, environment=_variables(bench, peer.variables), output=bench.file("output")
    ) as process:
        run = bench.follow_done(done, count, Processes([process]))
    bench.client.delete(*peer.keys)
    return run


def _run_to_its_end(bench: Bench, *arguments: str) -> None:
    command = [str(interpreter_of(_environment())), *arguments]
    subprocess.run(command, cwd=CHECKOUT, env=_variables(bench, {}), timeout=LIMIT, check=True)


def _variables(bench: Bench, more: Mapping[str, str]) -> dict[str, str]:
    return {**plain_environment(), "PYTHONPATH": str(CHECKOUT), "PERF_URL": bench.server.url, **more}


@cache
def _environment() -> Path:
    """Return the environment of the peers; what both sides need has the same versions there."""
    # kombu wants a packaging of its own, which no event needs.
    own = {each.partition("==")[0].partition("[")[0] for each in REQUIREMENTS} | {"packaging"}
    constraints = [each for each in versions_here() if each.partition("==")[0].lower() not in own]
    return environment_with(
        ENVIRONMENTS,
        "peers",
        [*REQUIREMENTS, *FOR_OUR_DECODE],
        constraints=constraints,
        failure="Celery, Dramatiq and FastStream could not be installed from the package index",
    )
