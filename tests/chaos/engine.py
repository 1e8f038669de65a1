"""One run of the fault suite: everything is started, harmed, left in peace, and the books are balanced."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import redis

from devtools.demo.run import Tail
from devtools.server import EmbeddedServer
from edx_event_bus_redis.internal.client import make_client
from tests.chaos.books import Books, Ended, faults_of
from tests.chaos.faults import ALL
from tests.chaos.plan import Plan
from tests.chaos.pools import Pool
from tests.chaos.producer import Producer
from tests.chaos.schedule import Schedule
from tests.chaos.server import GroupInRedis
from tests.support.consuming import read_record
from tests.support.events import TOPIC
from tests.support.proxy import Proxy

# Seconds between two looks at what is due.
_TICK = 0.02

# The producer is held up when so many events wait.
_BACKLOG = 2_000

# Seconds after which no consumer looks for what was on its way to it when a connection broke.
_PEACE = 8.0

_PREFIX = "chaos"

_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 30.0


@dataclass
class Result:
    """
    What a run has come to.

    Attributes:
        books: of its events.
        faults: how often each kind happened.
        wrong: what should not be, one line each.
        restarts: how often a pool was started again.
        settled_after: seconds from the end of the faults until everything was settled.
        server: name and version of the server program.
    """

    books: Books = field(default_factory=Books)
    faults: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    restarts: int = 0
    settled_after: float = 0.0
    server: str = ""


class Run:
    """
    One run.

    Arguments:
        plan: what to do.
        directory: for logs, records and the server's files; everything that tells what happened.
        tell: called with a line of text every few seconds.
    """

    def __init__(self, plan: Plan, directory: Path, tell: Callable[[str], None] = lambda _: None) -> None:
        self.result = Result()
        self._plan = plan
        self._directory = directory
        self._tell = tell
        self._random = random.Random(f"{plan.seed} faults")
        self._undo: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._told = 0.0
        self._is_server_frozen = False
        self._handled = Tail(directory / "handled")
        self._count_handled = 0

    def play(self) -> Result:
        """Do it all, and leave no process behind."""
        with contextlib.ExitStack() as stack:
            config = {"appendonly": "yes", "appendfsync": "always"}
            directory = self._directory / "server"
            self.server = stack.enter_context(EmbeddedServer(directory=directory, config=config))
            # redis-py would try again by itself.
            client = make_client(self.server.url, timeout=5.0, connect_timeout=1.0)
            plain = redis.Redis(connection_pool=client.connection_pool)
            self.result.server = self._server_version(plain)
            stream = f"{_PREFIX}-{TOPIC}"
            self.group = GroupInRedis(plain, stream)
            self.pools = [stack.enter_context(self._pool(name)) for name in self._plan.pool_names]
            self._wait_for_workers()
            self.producer = Producer(self._plan, self.server.url, stream, self.result.books.sent)
            self.producer.start()
            stack.callback(self.producer.stop)
            self._harm()
            self._leave_in_peace()
            self._stop()
        self._balance()
        return self.result

    @contextlib.contextmanager
    def _pool(self, name: str) -> Iterator[Pool]:
        choices = random.Random(f"{self._plan.seed} {name} {uuid.uuid4()}")
        with Proxy(self.server.port) as proxy:
            pool = Pool(self._plan, name, self._directory, proxy, _PREFIX, choices)
            try:
                yield pool
            finally:
                pool.consumer.__exit__()

    def _server_version(self, client: redis.Redis) -> str:
        about = client.info("server")
        return f"{about.get('server_name', 'redis')} {about.get('valkey_version', about['redis_version'])}"

    def _wait_for_workers(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while any(len(pool.workers()) < self._plan.workers for pool in self.pools):
            if time.monotonic() > deadline:
                raise RuntimeError("the pools have not started")
            time.sleep(_TICK)

    # 1. Harm.

    def _harm(self) -> None:
        weights = [fault.weight * (self._plan.losses if fault.loses else 1.0) for fault in ALL]
        schedule = Schedule(ALL, weights, self._plan.seconds, self._random)
        # With 0 for those that never apply, which would not be seen else.
        self.result.faults.update({fault.name: 0 for fault, weight in zip(ALL, weights, strict=True) if weight})
        self._began = due = time.monotonic()
        self._end = end = self._began + self._plan.seconds
        while time.monotonic() < end:
            self._keep_up()
            if time.monotonic() >= due:
                done = next((fault for fault in schedule.next(self._seconds()) if fault.do(self)), None)
                if done is not None:
                    self.result.faults[done.name] += 1
                    schedule.done(done, self._seconds())
                    due = time.monotonic() + self.draw(*self._plan.pause) + done.rest
            time.sleep(_TICK)

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _keep_up(self) -> None:
        while self._undo and self._undo[0][0] <= time.monotonic():
            heapq.heappop(self._undo)[2]()
        for pool in self.pools:
            pool.keep_up()
            pool.workers()
        self._count_handled += sum(line.endswith(" .") for line in self._handled.new_lines())
        backlog = len(self.result.books.sent) - self._count_handled
        (self.producer.held_up.set if backlog > _BACKLOG else self.producer.held_up.clear)()
        if time.monotonic() - self._told >= 2.0:
            self._told = time.monotonic()
            self._tell(
                f"{self._seconds():6.0f} s  {self.result.faults.total():5} faults  "
                f"{len(self.result.books.sent):7,} sent  {self._count_handled:7,} handled"
            )

    # 2. Peace.

    def _leave_in_peace(self) -> None:
        """Stop producing, undo all that was done, and wait until nothing is left to do."""
        self.producer.stop()
        while self._undo:
            heapq.heappop(self._undo)[2]()
        for pool in self.pools:
            pool.proxy.normal()
        began = time.monotonic()
        while (left := self.group.unsettled()) and time.monotonic() - began < self._plan.settle_timeout:
            self._keep_up()
            time.sleep(_TICK * 5)
        self.result.settled_after = time.monotonic() - began
        if left:
            self.result.wrong.append(f"stuck: after {self._plan.settle_timeout:.0f} s without faults there are {left}")

    def _stop(self) -> None:
        for pool in self.pools:
            pool.bring_up()
        self._wait_for_workers()
        books = self.result.books
        books.survivors = {worker.pid for pool in self.pools for worker in pool.workers()}
        for pool in self.pools:
            status = pool.consumer.stop()
            if status:
                self.result.wrong.append(f"pool {pool.name} ended with status {status} when it was asked to stop")
            self.result.restarts += pool.starts - 1
        self._enter(flush=False)
        left = [process for pool in self.pools for process in pool.seen]
        _, left = psutil.wait_procs(left, timeout=5)
        self.result.wrong += [f"process {process} is left" for process in left]

    def _balance(self) -> None:
        books = self.result.books
        books.handled = read_record(self._directory / "handled")
        books.begun = read_record(self._directory / "handled.begun")
        self.result.wrong += faults_of(books, max_deliveries=self._plan.max_deliveries)

    def _enter(self, *, flush: bool) -> None:
        dead, ledger = self.group.taken(flush=flush)
        self.result.books.dead |= dead
        self.result.books.ledger += ledger

    # What faults ask for.

    def draw(self, least: float, most: float) -> float:
        """Return a number at random."""
        return self._random.uniform(least, most)

    def pool(self) -> Pool:
        """Return one of the pools at random."""
        return self._random.choice(self.pools)

    def one(self, processes: Iterable[psutil.Process]) -> psutil.Process | None:
        """Return one at random, None if there is none."""
        found = sorted(processes, key=lambda process: process.pid)
        return self._random.choice(found) if found else None

    def later(self, seconds: float, undo: Callable[[], object]) -> None:
        """Have something undone after so many seconds, or at the end of all faults."""
        heapq.heappush(self._undo, (time.monotonic() + seconds, next(self._numbers), undo))

    def ended(self, process: psutil.Process, how: str) -> None:
        """Enter a worker into the books that is going to be killed or frozen."""
        self.result.books.ended.append(Ended(process.pid, how, time.time()))

    def kill_server(self) -> bool:
        """
        Kill the server and start it again; it cannot be reached for a while.

        It is started at once, because its port is free for everybody as long as it is down.
        """
        self._is_server_frozen = False
        self.server.kill()
        for pool in self.pools:
            pool.proxy.refuse()
            pool.proxy.cut()
            self.later(self.draw(0.0, 1.5), pool.proxy.normal)
        self.server.restart()
        return True

    def freeze_server(self) -> bool:
        """Freeze the server, to be thawed later; False if it is frozen already."""
        if self._is_server_frozen:
            return False
        self.server.freeze()
        self._is_server_frozen = True
        self.later(self.draw(0.2, 4.0), self._thaw_server)
        return True

    def _thaw_server(self) -> None:
        self._is_server_frozen = False
        self.server.thaw()

    def trim(self) -> bool:
        """Trim unread entries; False if there are none, or if the server does not answer."""
        # What it does after we have given up would not be in the books.
        return not self._is_server_frozen and self.group.trim_unread(int(self.draw(1, 20))) > 0

    def flush(self) -> bool:
        """
        Flush the server; False if something else is wrong at the moment.

        Only those who live and see that the group is gone know what is lost: if all are dead, nobody can enter it.
        """
        if not self._is_quiet():
            return False
        self._enter(flush=True)
        self.result.books.flushed.append(time.time())
        return True

    def delete(self, *, unread: bool) -> bool:
        """Delete unread or pending entries; False if there are none, or if the server does not answer."""
        count, where = int(self.draw(1, 6)), self.draw(0.0, 1.0)
        return not self._is_server_frozen and self.group.delete(count, unread=unread, where=where) > 0

    def destroy_group(self) -> bool:
        """
        Delete the group; False if something else is wrong.

        What is pending for a pool that is dead, or was on its way when a connection broke, is lost with the group, and
        counted only roughly.
        """
        if not self._waits_in_peace():
            return False
        self.result.books.destroyed.append(time.time())
        self.group.destroy()
        return True

    def delete_consumer(self) -> bool:
        """
        Delete the name of a living worker in the group; False if something else is wrong.

        What was on its way to it when a connection broke nobody knows of any more.
        """
        names = self.group.workers() if self._waits_in_peace() else []
        if not names:
            return False
        self.group.delete_consumer(self._random.choice(names))
        return True

    def _waits_in_peace(self) -> bool:
        """Wait until what is pending is in the hands of those who live; return whether nothing else is wrong then."""
        end = time.monotonic() + _PEACE
        if end > self._end or not self._is_quiet():
            return False
        while time.monotonic() < end:
            self._keep_up()
            time.sleep(_TICK)
        return self._is_quiet()

    def _is_quiet(self) -> bool:
        """Whether nothing is wrong at the moment."""
        return not self._undo and all(len(pool.workers()) == self._plan.workers for pool in self.pools)
