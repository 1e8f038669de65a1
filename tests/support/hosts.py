"""Hosts that share nothing but a server: each has a network of its own, and names and process ids where it may."""

import contextlib
import functools
import os
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import psutil

from tests.support.consuming import ConsumerProcess, Handled, read_record

_DAY = 86_400

# The host name is set from within.
_NAMED = ("sh", "-c", 'printf %s "$0" > /proc/sys/kernel/hostname && exec "$@"')


class Network(Protocol):
    """What is between a host and the server; a ``Proxy`` is one."""

    @property
    def url(self) -> str:
        """Where the server is for who is on this network."""

    def swallow(self) -> None:
        """Let nothing pass any more, without a word."""

    def deafen(self) -> None:
        """Let nothing pass any more that comes from the server."""

    def normal(self) -> None:
        """Let everything pass again."""


class Host:
    """
    A host on which pools run. As a context manager it leaves no process behind.

    Arguments:
        name: of the host, and of its directory.
        network: that it has; somebody else's to begin and to end.
        directory: in which its own directory is made: the record of all that is handled here, and logs.
        prefix: ``EVENT_BUS_TOPIC_PREFIX``.
        is_apart: whether it has a host name and process ids of its own, which ``why_not_apart`` must allow. Without,
            all see when one of the others' processes is dead.
        within: a command that becomes another one, which comes behind it; only for a host that is apart.
        days_ahead: how wrong its clocks are; those that count from its start only for a host that is apart.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        directory: Path,
        prefix: str,
        *,
        is_apart: bool = False,
        within: Sequence[str] = (),
        days_ahead: int = 0,
    ) -> None:
        self.name = name
        self.network = network
        self.pools: list[ConsumerProcess] = []
        self._directory = directory / name
        self._prefix = prefix
        self._clock = {"TEST_CLOCK_AHEAD": str(days_ahead * _DAY)}
        self._within = (*within, *_unshare(max(0, days_ahead) * _DAY), *_NAMED, name) if is_apart else ()

    def __enter__(self) -> Self:
        self._directory.mkdir()
        return self

    def __exit__(self, *error: object) -> None:
        for pool in self.pools:
            pool.__exit__()

    def start(self, *, workers: int = 2, **arguments: Any) -> ConsumerProcess:
        """Start a pool, and wait until it runs; its own settings and ``--extra`` keys are among the arguments."""
        pool = ConsumerProcess(
            directory=self._directory,
            url=self.network.url,
            prefix=self._prefix,
            within=self._within,
            environment=self._clock,
            workers=workers,
            check_backlog=True,
            **arguments,
        )
        self.pools.append(pool)
        return pool.wait_running(workers)

    def lose_power(self) -> None:
        """Kill everything that runs here, at once."""
        processes = [process for pool in self.pools for process in pool.processes()]
        for process in processes:
            # The first one takes others along.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for pool in self.pools:
            pool.wait()
        psutil.wait_procs(processes, timeout=10)

    def begun(self) -> list[Handled]:
        """The events that were begun here."""
        return read_record(self._directory / "handled.begun")

    def handled(self) -> list[Handled]:
        """The events that were handled here."""
        return read_record(self._directory / "handled")

    def in_hand(self) -> set[str]:
        """The event that each process here has begun last."""
        return set({each.pid: each.event_id for each in self.begun()}.values())


def handled_by(hosts: Iterable[Host]) -> Counter[str]:
    """Return how often each event was handled."""
    return Counter(each.event_id for host in hosts for each in host.handled())


@functools.cache
def why_not_apart() -> str | None:
    """Return why hosts cannot have names and process ids of their own here, None if they can."""
    command = [*_unshare(), *_NAMED, "host", "true"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError as error:
        return f"unshare: {error}"
    return None if done.returncode == 0 else done.stderr.strip()


def _unshare(seconds_ahead: int = 0) -> Sequence[str]:
    as_root = () if os.geteuid() == 0 else ("--map-root-user",)
    clock = ("--time", "--monotonic", str(seconds_ahead))
    return ("unshare", *as_root, "--uts", "--pid", *clock, "--mount-proc", "--fork", "--kill-child")
