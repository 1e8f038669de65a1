"""A hundred deployments, each with other pods: what the group keeps of them does not grow."""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from edx_event_bus_redis.internal.again import AgainStream
from edx_event_bus_redis.internal.board import Board
from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.crew import SlotCrew
from edx_event_bus_redis.internal.holder import Holder, this_process
from edx_event_bus_redis.internal.holdings import Holdings
from edx_event_bus_redis.internal.lease import acquire, described_holder
from edx_event_bus_redis.internal.message import Entry
from edx_event_bus_redis.internal.monitor import Monitor
from edx_event_bus_redis.internal.names import shard_consumer_name
from edx_event_bus_redis.internal.options import ConsumerSettings, load_consumer_settings
from edx_event_bus_redis.internal.private import GroupStore
from edx_event_bus_redis.internal.stream import Stream
from edx_event_bus_redis.internal.takeover import Membership, TakeOver
from pool import Slots
from tests.support.events import TOPIC, add_logins
from tests.support.hosts import Host, handled_by, why_not_apart
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

DEPLOYMENTS = 100
PODS = 2
WORKERS = 2

NameOf = Callable[[str], str]


def one_name(_: str) -> str:
    return "c1"


def name_of_the_pod(pod: str) -> str:
    return pod


class OneLook:
    """Lets a monitor look once, and then leave: for good, or for another monitor."""

    def __init__(self, *, hands_over: bool) -> None:
        self.requested = False
        self.hands_over = hands_over
        self.time_left = 0.0

    def wait(self, _: float) -> bool:
        self.requested = True
        return True


class Pod:
    """A pool that does in this process what the processes of one do: it leases, reads, takes over and leaves."""

    def __init__(self, client: redis.Redis, settings: ConsumerSettings, stream: str, holder: Holder) -> None:
        self._client = client
        self._settings = settings
        self._stream = Stream(client, stream)
        self._holder = holder
        self.lease = acquire(client, stream, "group", settings.consumer_name, holder=holder, token=holder.host)
        self._membership = Membership(self.lease.name, self.lease.token, lambda: WORKERS)
        self._board = Board()
        self.workers = [shard_consumer_name(self.lease.name, shard) for shard in range(WORKERS)]

    def work(self, *, stream: str, acknowledge: bool) -> None:
        """Have each worker read an event, and one that is to be delivered again; the first one's event fails."""
        for worker in self.workers:
            store = GroupStore(self._client, stream, "group", worker)
            sources = [self._stream]
            if store.promote().waiting:
                sources.append(AgainStream(self._client, store.again))
            for source in sources:
                # What a predecessor of the name has left comes first.
                self._finish(store, source, source.read_pending("group", worker, b"0-0", 1000))
                entries, _ = source.read_new_after((), "group", worker, 1)
                if entries and acknowledge:
                    if source is self._stream and worker == self.workers[0]:
                        store.retry_later(entries[0], 0)
                    else:
                        source.acknowledge("group", [entries[0].id])

    def take_over(self, stream: str) -> None:
        """Have the first worker take over what others have left."""
        store = GroupStore(self._client, stream, "group", self.workers[0])
        for source in (self._stream, AgainStream(self._client, store.again)):
            taker = TakeOver(
                self._client,
                source,
                topic_stream=stream,
                group="group",
                claimant=self.workers[0],
                older_than=3_600_000,
                membership=self._membership,
                board=self._board,
            )
            self._finish(store, source, source.parsed(taker.take(1000).entries))

    @staticmethod
    def _finish(store: GroupStore, source: Stream, entries: Sequence[Entry]) -> None:
        for entry in entries:
            source.acknowledge("group", [entry.id])
            store.clear_suspect(entry)

    def look(self, *, is_last: bool = False) -> None:
        """Have the monitor look once; the last time it gives the name back."""
        crew = SlotCrew(self.lease.name, Slots(1)[0], Slots(WORKERS), Holdings(WORKERS), b"0-0", lambda _: None)
        Monitor(
            self._settings,
            self._membership,
            facts=described_holder(self._holder),
            crew=crew,
            board=self._board,
            probes=None,
            stop=OneLook(hands_over=not is_last),
        ).run()

    def stop(self, stream: str) -> None:
        """Leave in good order."""
        for worker in self.workers:
            GroupStore(self._client, stream, "group", worker).leave()
        self.look(is_last=True)


@pytest.fixture
def own_client(url: str) -> Iterator[redis.Redis]:
    client = make_client(url, timeout=10, connect_timeout=10)
    yield client
    client.connection_pool.disconnect()


@pytest.fixture(scope="module")
def dead_pid() -> int:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


@pytest.mark.usefixtures("bus_settings")
@pytest.mark.parametrize("name_of", [one_name, name_of_the_pod])
def test_a_hundred_deployments_leave_nothing(
    client: redis.Redis, own_client: redis.Redis, stream_name: str, dead_pid: int, name_of: NameOf
) -> None:
    """New pods begin before the old ones stop, of which every third is killed: only those that live are known."""
    client.xgroup_create(stream_name, "group", id="0", mkstream=True)
    alive: list[Pod] = []
    for number in range(DEPLOYMENTS):
        add_logins(client, stream_name, 40)
        is_killed = number % 3 == 2
        pods = [
            start(own_client, stream_name, f"pod-{number}-{index}", name_of, dead_pid if is_killed else None)
            for index in range(PODS)
        ]
        for pod in (*alive, *pods):
            pod.work(stream=stream_name, acknowledge=not is_killed)
        for pod in alive:
            pod.stop(stream_name)
        # Those that are killed do not stop, and are gone as soon as somebody looks.
        alive = [] if is_killed else pods

    last = start(own_client, stream_name, "last", name_of, None)
    last.work(stream=stream_name, acknowledge=True)
    for pod in (last, *alive):
        pod.look()
        pod.take_over(stream_name)
        pod.look()

    left = known_names(client, stream_name)
    pools = {pod.lease.name.encode() for pod in (last, *alive)}
    workers = {worker.encode() for pod in (last, *alive) for worker in pod.workers}
    assert left["consumers"] <= workers
    assert left["again"] <= workers
    assert left["pools"] == pools
    assert left["leases"] == {b"{%b}:pool:group:%b" % (stream_name.encode(), name) for name in pools}
    assert left["left"] <= workers
    assert left["starts"] == set()
    assert client.xpending(stream_name, "group")["pending"] == 0
    # Of what was taken over within a day, so many at the most.
    assert 0 < client.zcard(key(stream_name, "taken")) <= 10_001
    assert 0 < client.ttl(key(stream_name, "taken")) <= 86_400


def start(client: redis.Redis, stream: str, host: str, name_of: NameOf, dead_pid: int | None) -> Pod:
    """Start a pool on a host; with a ``dead_pid`` it is one whose process is dead as soon as somebody asks."""
    settings = load_consumer_settings(TOPIC, "group", {"consumer_name": name_of(host), "workers": WORKERS})
    holder = this_process()._replace(host=host)
    return Pod(client, settings, stream, holder if dead_pid is None else holder._replace(pid=dead_pid))


def key(stream: str, kind: str) -> str:
    return f"{{{stream}}}:{kind}:group"


def known_names(client: redis.Redis, stream: str) -> dict[str, set[Any]]:
    """All names of consumers and pools that the group has."""
    again = key(stream, "again")
    return {
        "consumers": {each["name"] for each in client.xinfo_consumers(stream, "group")},
        "again": {each["name"] for each in client.xinfo_consumers(again, "group")} if client.exists(again) else set(),
        "pools": {*client.hkeys(key(stream, "pools"))},
        "leases": {*client.scan_iter(f"{{{stream}}}:pool:*")},
        "left": {*client.hkeys(key(stream, "left"))},
        "starts": {*client.hkeys(key(stream, "starts"))},
    }


def test_consumers_without_workers_leave_no_name(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A pod that has no pool and stops in good order is not in the group any more, nor that it left."""
    for number in range(2):
        single = consume(consumer_name=f"pod-{number}", check_backlog=True).wait_running()
        ids = add_logins(client, stream_name, 5)
        wait_until(lambda ids=ids, single=single: {each.event_id for each in single.handled()} >= {*ids})
        assert single.stop() == 0

    assert client.xinfo_consumers(stream_name, "group") == []
    assert not client.exists(key(stream_name, "left"))


def test_ten_deployments_of_real_pools(
    client: redis.Redis, url: str, prefix: str, stream_name: str, tmp_path: Path
) -> None:
    """Pods of one consumer name, on a host each; some lose their power. The last one and its workers are left."""
    if reason := why_not_apart():
        pytest.skip(reason)
    port = redis.Redis.from_url(url).get_connection_kwargs()["port"]
    ids: list[str] = []
    with ExitStack() as stack:
        hosts: list[Host] = []
        for number in range(10):
            network = stack.enter_context(Proxy(port))
            hosts.append(stack.enter_context(Host(f"pod-{number}", network, tmp_path, prefix, is_apart=True)))
            pool = hosts[-1].start(consumer_name="c1")
            ids += add_logins(client, stream_name, 30, "sleep:0.02")
            if number % 4 == 3:
                hosts[-2].lose_power()
            elif number:
                assert hosts[-2].pools[0].stop() == 0

        wait_until(lambda: handled_by(hosts).keys() == {*ids}, timeout=90, what="all are handled")
        wait_until(lambda: client.hlen(key(stream_name, "pools")) == 1, timeout=90, what="the others are forgotten")
        left = known_names(client, stream_name)
        ((name, *_),) = [left["pools"]]
        assert left["consumers"] == {name + b".0", name + b".1"}
        assert left["again"] == left["left"] == left["starts"] == set()
        assert left["leases"] == {b"{%b}:pool:group:%b" % (stream_name.encode(), name)}
        assert client.xpending(stream_name, "group")["pending"] == 0
        assert pool.stop() == 0
    assert client.xinfo_consumers(stream_name, "group") == []
