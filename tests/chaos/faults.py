"""
The faults.

Each is a function of the scene that does the fault and returns True, or returns False because it does not apply now.
What has to be undone is left with the scene for later.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

import psutil

from tests.chaos.pools import Pool
from tests.support.proxy import Proxy


class Scene(Protocol):
    """What faults work on; see ``engine.Run``."""

    def draw(self, least: float, most: float) -> float:
        """Return a number at random."""

    def pool(self) -> Pool:
        """Return one of the pools at random."""

    def one(self, processes: Iterable[psutil.Process]) -> psutil.Process | None:
        """Return one at random, None if there is none."""

    def later(self, seconds: float, undo: Callable[[], object]) -> None:
        """Have something undone after so many seconds, or at the end of all faults."""

    def ended(self, process: psutil.Process, how: str) -> None:
        """Enter a worker into the books that is going to be killed or frozen."""

    def kill_server(self) -> bool:
        """Kill the server and start it again."""

    def freeze_server(self) -> bool:
        """Freeze the server, to be thawed later; False if it is frozen already."""

    def trim(self) -> bool:
        """Trim unread entries; False if there are none, or if the server does not answer."""

    def flush(self) -> bool:
        """Flush the server; False if something else is wrong at the moment."""

    def delete(self, *, unread: bool) -> bool:
        """Delete unread or pending entries; False if there are none, or if the server does not answer."""

    def destroy_group(self) -> bool:
        """Delete the group; False if something else is wrong at the moment."""

    def delete_consumer(self) -> bool:
        """Delete the name of a living worker in the group; False if something else is wrong at the moment."""


class Fault(NamedTuple):
    """
    A kind of fault.

    Attributes:
        name: in the report.
        weight: how often it happens, against the others.
        do: does it; returns whether it applied.
        loses: whether events are lost by it.
        rest: seconds without another fault after it.
        needs_peace: whether it applies only where nothing else is wrong.
    """

    name: str
    weight: float
    do: Callable[[Scene], bool]
    loses: bool = False
    rest: float = 0.0
    needs_peace: bool = False


def _kill(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()
        return True
    return False


def _freeze(scene: Scene, process: psutil.Process | None, longest: float = 4.0) -> bool:
    if process is None:
        return False
    try:
        process.send_signal(signal.SIGSTOP)
    except psutil.NoSuchProcess:
        return False

    def thaw() -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)

    scene.later(scene.draw(0.2, longest), thaw)
    return True


def kill_worker(scene: Scene) -> bool:
    worker = scene.one(scene.pool().workers())
    if worker is None:
        return False
    scene.ended(worker, "worker killed")
    return _kill(worker)


def freeze_worker(scene: Scene) -> bool:
    worker = scene.one(scene.pool().workers())
    if worker is None:
        return False
    scene.ended(worker, "worker frozen")
    return _freeze(scene, worker)


def kill_supervisor(scene: Scene) -> bool:
    pool = scene.pool()
    workers = pool.workers()
    if not workers:
        return False
    for worker in workers:
        scene.ended(worker, "pool killed")
    return _kill(pool.supervisor)


def freeze_supervisor(scene: Scene) -> bool:
    pool = scene.pool()
    return bool(pool.workers()) and _freeze(scene, pool.supervisor)


def kill_monitor(scene: Scene) -> bool:
    monitor = scene.one(scene.pool().monitors())
    return monitor is not None and _kill(monitor)


def freeze_monitor(scene: Scene) -> bool:
    return _freeze(scene, scene.one(scene.pool().monitors()))


def slow_network(scene: Scene) -> bool:
    return _disturb(scene, 3.0, lambda proxy: proxy.slow(latency=scene.draw(0.02, 0.3)))


def narrow_network(scene: Scene) -> bool:
    return _disturb(scene, 3.0, lambda proxy: proxy.slow(bytes_per_second=scene.draw(20_000, 200_000)))


def dead_network(scene: Scene) -> bool:
    return _disturb(scene, 7.0, Proxy.swallow)


def refusing_network(scene: Scene) -> bool:
    def refuse(proxy: Proxy) -> None:
        proxy.refuse()
        proxy.cut()

    return _disturb(scene, 1.5, refuse)


def cut_network(scene: Scene) -> bool:
    scene.pool().proxy.cut()
    return True


def break_reply(scene: Scene) -> bool:
    scene.pool().proxy.reset_reply_after(int(scene.draw(0, 4000)))
    return True


def _disturb(scene: Scene, longest: float, disturb: Callable[[Proxy], None]) -> bool:
    proxy = scene.pool().proxy
    disturb(proxy)
    scene.later(scene.draw(0.2, longest), proxy.normal)
    return True


ALL = (
    Fault("worker killed", 30, kill_worker),
    Fault("worker frozen", 10, freeze_worker),
    Fault("supervisor killed", 4, kill_supervisor),
    Fault("supervisor frozen", 5, freeze_supervisor),
    Fault("monitor killed", 6, kill_monitor),
    Fault("monitor frozen", 5, freeze_monitor),
    Fault("server killed", 4, lambda scene: scene.kill_server()),
    Fault("server frozen", 4, lambda scene: scene.freeze_server()),
    Fault("network slow", 6, slow_network),
    Fault("network narrow", 6, narrow_network),
    Fault("network dead", 2, dead_network),
    Fault("connections refused", 4, refusing_network),
    Fault("connections cut", 8, cut_network),
    Fault("reply broken off", 8, break_reply),
    Fault("unread entries trimmed", 2, lambda scene: scene.trim(), loses=True),
    Fault("unread entries deleted", 2, lambda scene: scene.delete(unread=True), loses=True),
    Fault("pending entries deleted", 2, lambda scene: scene.delete(unread=False), loses=True),
    Fault("server flushed", 2, lambda scene: scene.flush(), loses=True, rest=2.5, needs_peace=True),
    Fault("group destroyed", 0.5, lambda scene: scene.destroy_group(), loses=True, rest=2.5, needs_peace=True),
    Fault("consumer deleted", 0.5, lambda scene: scene.delete_consumer(), loses=True, rest=1.5, needs_peace=True),
)
