"""Pools on several hosts: one is killed, or cut off from the server, and nothing is lost."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from devtools.server import EmbeddedServer
from tests.support.consuming import ConsumerProcess
from tests.support.events import add_logins
from tests.support.hosts import Host, handled_by, why_not_apart
from tests.support.namespaces import Namespace, why_no_namespaces
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

MakeHost = Callable[..., Host]

# What everybody may have to wait for: the rest of a lease, and what is left to do.
LONG = 90.0


@pytest.fixture
def host(tmp_path: Path, url: str, prefix: str) -> Iterator[MakeHost]:
    """Make a host of this name with a way of its own to the shared server."""
    port = redis.Redis.from_url(url).get_connection_kwargs()["port"]
    with ExitStack() as stack:

        def make(name: str, **arguments: Any) -> Host:
            network = stack.enter_context(Proxy(port))
            return stack.enter_context(Host(name, network, tmp_path, prefix, **arguments))

        yield make


def is_gone(name: str, seen_by: ConsumerProcess) -> bool:
    return f"Pool {name} of group group" in seen_by.log


def consumers(client: redis.Redis, stream: str) -> set[str]:
    return {consumer["name"].decode() for consumer in client.xinfo_consumers(stream, "group")}


def all_is_settled(client: redis.Redis, stream: str, ids: list[str], *hosts: Host) -> None:
    """Wait until all events are handled and nothing is pending; hold that none is a dead letter or waits."""
    wait_until(lambda: handled_by(hosts).keys() >= {*ids}, timeout=LONG, what="all are handled")
    wait_until(lambda: client.xpending(stream, "group")["pending"] == 0, timeout=LONG, what="nothing is pending")
    assert handled_by(hosts).keys() == {*ids}
    dead, again, lost = (client.xlen(f"{{{stream}}}:{kind}:group") for kind in ("dead", "again", "lost"))
    later, starts = client.zcard(f"{{{stream}}}:later:group"), client.hlen(f"{{{stream}}}:starts:group")
    assert (dead, again, lost, later, starts) == (0, 0, 0, 0, 0)


def repeated(*hosts: Host) -> set[str]:
    return {event_id for event_id, times in handled_by(hosts).items() if times > 1}


def both_at_work(
    near: Host, far: Host, client: redis.Redis, stream: str, count: int, order: str
) -> tuple[ConsumerProcess, ConsumerProcess, list[str]]:
    """Start a pool on each of two hosts, and wait until both are at work; return them and the events' ids."""
    pools = [each.start(consumer_name=each.name) for each in (near, far)]
    ids = add_logins(client, stream, count, order)
    wait_until(lambda: far.begun() and near.begun(), what="both are at work")
    return pools[0], pools[1], ids


@pytest.mark.parametrize("others", [1, 2])
def test_a_host_that_loses_power_under_load_costs_what_it_had_in_hand(
    host: MakeHost, client: redis.Redis, stream_name: str, others: int
) -> None:
    """A host is gone at once, with all processes: the others handle all that it had, and only that again."""
    if reason := why_not_apart():
        pytest.skip(reason)
    doomed, *rest = [host(f"h{number}", is_apart=True) for number in range(1 + others)]
    pools = [each.start(consumer_name=each.name) for each in (doomed, *rest)]
    ids = add_logins(client, stream_name, 1500, "sleep:0.02")
    wait_until(lambda: all(each.handled() for each in (doomed, *rest)), what="all have some")

    doomed.lose_power()

    all_is_settled(client, stream_name, ids, doomed, *rest)
    assert repeated(doomed, *rest) <= doomed.in_hand()
    assert all(pool.stop() == 0 for pool in pools[1:])
    assert sum("has shown no sign of life" in pool.log for pool in pools[1:]) == 1


def test_a_host_that_is_cut_off_while_idle_repeats_nothing(
    host: MakeHost, client: redis.Redis, stream_name: str
) -> None:
    """It has nothing, its names are removed, and when it is back it works on under its name."""
    near, far = host("near"), host("far")
    stays, cut = near.start(consumer_name="near"), far.start(consumer_name="far")
    far.network.swallow()
    wait_until(lambda: is_gone("far", stays), timeout=LONG, what="taken for gone")
    wait_until(lambda: consumers(client, stream_name) == {"near.0", "near.1"}, what="its names are removed")
    ids = add_logins(client, stream_name, 20)
    all_is_settled(client, stream_name, ids, near)

    far.network.normal()
    wait_until(lambda: cut.log.count("goes on, after") == 3, what="workers and monitor go on")
    ids += add_logins(client, stream_name, 200, "sleep:0.01")

    all_is_settled(client, stream_name, ids, near, far)
    assert far.handled()
    assert repeated(near, far) == set()
    assert cut.stop() == stays.stop() == 0


@pytest.mark.parametrize("seconds", [0.02, 20])
def test_a_host_that_is_cut_off_at_work_repeats_what_it_had_in_hand(
    host: MakeHost, client: redis.Redis, stream_name: str, seconds: float
) -> None:
    """What it had in hand when it was cut off is handled by another one, too; all else by one of them alone."""
    near, far = host("near"), host("far")
    count = 8 if seconds > 1 else 1500
    stays, cut, ids = both_at_work(near, far, client, stream_name, count, f"sleep:{seconds}")

    far.network.swallow()
    wait_until(lambda: is_gone("far", stays), timeout=LONG, what="taken for gone")
    had = far.in_hand()
    far.network.normal()
    ids += add_logins(client, stream_name, 200, "sleep:0.01")

    all_is_settled(client, stream_name, ids, near, far)
    assert repeated(near, far) <= had
    assert cut.stop() == stays.stop() == 0


def test_a_host_that_is_back_before_its_lease_ends_repeats_nothing(
    host: MakeHost, client: redis.Redis, stream_name: str
) -> None:
    """A cut of a few seconds is no reason to take anything from anybody."""
    near, far = host("near"), host("far")
    stays, cut, ids = both_at_work(near, far, client, stream_name, 400, "sleep:0.02")

    far.network.swallow()
    wait_until(lambda: "Error consuming event from Redis" in cut.log, what="it notices")
    far.network.normal()

    all_is_settled(client, stream_name, ids, near, far)
    assert repeated(near, far) == set()
    assert "is gone" not in stays.log
    assert cut.stop() == stays.stop() == 0


def test_a_host_that_hears_nothing_is_taken_over_though_it_can_speak(
    host: MakeHost, client: redis.Redis, stream_name: str
) -> None:
    """Requests arrive at the server and no reply comes back: what is given to it there is handled by others."""
    near, far = host("near"), host("far")
    stays, cut = near.start(consumer_name="near"), far.start(consumer_name="far")
    far.network.deafen()
    ids = add_logins(client, stream_name, 40, "sleep:0.02")
    wait_until(lambda: is_gone("far", stays), timeout=LONG, what="taken for gone")
    ids += add_logins(client, stream_name, 40, "sleep:0.02")

    wait_until(lambda: handled_by([near]).keys() == {*ids}, timeout=LONG, what="the other one handles all")
    far.network.normal()
    wait_until(lambda: cut.log.count("goes on, after") == 3, what="workers and monitor go on")
    ids += add_logins(client, stream_name, 200, "sleep:0.01")

    all_is_settled(client, stream_name, ids, near, far)
    assert repeated(near, far) == set()
    assert cut.stop() == stays.stop() == 0


def test_a_host_whose_name_was_taken_meanwhile_touches_nothing_of_its_successor(
    host: MakeHost, client: redis.Redis, stream_name: str
) -> None:
    """A pool of the same name begins while one is cut off: when that is back it reads nothing under this name."""
    near, far = host("near"), host("far")
    cut = far.start(consumer_name="c1")
    ids = add_logins(client, stream_name, 400, "sleep:0.02")
    wait_until(far.begun, what="it is at work")
    far.network.swallow()
    wait_until(lambda: not client.exists(f"{{{stream_name}}}:pool:group:c1"), timeout=LONG, what="its lease ends")
    had = far.in_hand()
    successor = near.start(consumer_name="c1")
    ids += add_logins(client, stream_name, 30, "sleep:0.5")
    wait_until(near.begun, what="the successor is at work")

    far.network.normal()

    wait_until(lambda: "starts anew under another one" in cut.log, what="it finds its name taken")
    all_is_settled(client, stream_name, ids, near, far)
    assert "belongs to another pool" not in successor.log
    assert repeated(near, far) <= had
    assert far.pools[0].stop() == successor.stop() == 0


def test_clocks_that_are_wrong_do_not_matter(host: MakeHost, client: redis.Redis, stream_name: str) -> None:
    """One host is a day behind, one a day ahead: neither seems to be gone while it lives, nor alive when it is not."""
    if reason := why_not_apart():
        pytest.skip(reason)
    behind, right, ahead = (host(f"h{1 + days}", is_apart=True, days_ahead=days) for days in (-1, 0, 1))
    pools = [each.start(consumer_name=each.name, max_retries=5) for each in (behind, right, ahead)]
    ids = add_logins(client, stream_name, 900, "sleep:0.05") + add_logins(client, stream_name, 6, "fail_once:one")
    wait_until(lambda: all(each.handled() for each in (behind, right, ahead)), what="all have some")

    ahead.lose_power()
    wait_until(lambda: any(is_gone("h2", pool) for pool in pools[:2]), timeout=LONG, what="taken for gone")
    behind.network.swallow()
    wait_until(lambda: is_gone("h0", pools[1]), timeout=LONG, what="taken for gone, too")
    had = behind.in_hand() | ahead.in_hand()
    behind.network.normal()

    all_is_settled(client, stream_name, ids, behind, right, ahead)
    assert repeated(behind, right, ahead) <= had
    assert not is_gone("h1", pools[0])
    assert [pool.stop() for pool in pools[:2]] == [0, 0]


@pytest.mark.parametrize("cut", [Namespace.swallow, Namespace.deafen], ids=["both ways", "one way"])
def test_a_host_in_a_network_of_its_own_is_cut_off_at_work(
    tmp_path: Path, prefix: str, stream_name: str, cut: Callable[[Namespace], None]
) -> None:
    """The same with the kernel's own networks: the cable is pulled, or what the server sends is lost."""
    if reason := why_not_apart() or why_no_namespaces():
        pytest.skip(reason)
    with ExitStack() as stack:
        networks = [stack.enter_context(Namespace()) for _ in range(2)]
        addresses = " ".join(network.address for network in networks)
        config = {"bind": f"127.0.0.1 {addresses}", "protected-mode": "no"}
        server = stack.enter_context(EmbeddedServer(config=config))
        for network in networks:
            network.port = server.port
        near, far = (
            stack.enter_context(Host(name, network, tmp_path, prefix, is_apart=True, within=network.within))
            for name, network in zip(("near", "far"), networks, strict=True)
        )
        client = server.client()
        stays, gone, ids = both_at_work(near, far, client, stream_name, 1500, "sleep:0.02")

        cut(networks[1])
        wait_until(lambda: is_gone("far", stays), timeout=LONG, what="taken for gone")
        had = far.in_hand()
        networks[1].normal()
        ids += add_logins(client, stream_name, 400, "sleep:0.02")

        all_is_settled(client, stream_name, ids, near, far)
        assert repeated(near, far) <= had
        assert len(far.handled()) > len(had)
        assert gone.stop() == stays.stop() == 0
