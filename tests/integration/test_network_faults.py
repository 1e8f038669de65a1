"""The network between consumer and server is slow, narrow, cut, or swallows what is sent."""

import functools
from collections.abc import Callable

import pytest
import redis

from tests.support.consuming import ConsumerProcess
from tests.support.events import add_logins
from tests.support.proxy import Proxy
from tests.support.troubles import BOTH, NAMES, fault_is_said_once, nothing_pending, said
from tests.support.waiting import wait_until


def all_is_handled_once(
    consumer: ConsumerProcess, client: redis.Redis, stream_name: str, ids: list[str], timeout: float = 60.0
) -> None:
    consumer.wait_handled(len(ids), timeout)
    nothing_pending(client, stream_name)
    assert sorted(each.event_id for each in consumer.handled()) == sorted(ids)


@BOTH
@pytest.mark.parametrize(
    "network",
    [{"latency": 0.3}, {"bytes_per_second": 20_000}, {"latency": 0.1, "bytes_per_second": 50_000}],
    ids=["late", "narrow", "late and narrow"],
)
def test_a_slow_network_is_only_slow(
    consume_there: Callable[..., ConsumerProcess],
    server_client: redis.Redis,
    proxy: Proxy,
    stream_name: str,
    workers: int | None,
    network: dict[str, float],
) -> None:
    """With 0.3 s of latency in each direction, or 20 kB/s, each event is handled once and nothing is a fault."""
    consumer = consume_there(workers=workers)
    ids = add_logins(server_client, stream_name, 20)
    consumer.wait_handled(20)
    proxy.slow(**network)

    ids += add_logins(server_client, stream_name, 100)

    all_is_handled_once(consumer, server_client, stream_name, ids)
    assert said(consumer.log) == {}
    assert consumer.stop() == 0


@BOTH
def test_cut_connections_are_made_anew(
    consume_there: Callable[..., ConsumerProcess],
    server_client: redis.Redis,
    proxy: Proxy,
    stream_name: str,
    workers: int | None,
) -> None:
    """Connections that are cut under load, and refused for a while, cost nothing but time."""
    consumer = consume_there(workers=workers)
    ids = add_logins(server_client, stream_name, 200, "sleep:0.005")
    consumer.wait_handled(20)
    proxy.refuse()
    proxy.cut()
    wait_until(
        lambda: all(any("refused" in each for each in said(consumer.log).get(name, [])) for name in NAMES[workers]),
        what="refused",
    )

    proxy.normal()

    all_is_handled_once(consumer, server_client, stream_name, ids)
    fault_is_said_once(consumer, *NAMES[workers], kinds=2)


@BOTH
def test_a_network_that_swallows_everything_is_noticed(
    consume_there: Callable[..., ConsumerProcess],
    server_client: redis.Redis,
    proxy: Proxy,
    stream_name: str,
    workers: int | None,
) -> None:
    """
    When nothing comes through any more that is noticed without a reset, and nothing is stuck when it does again: not
    even what the server gives to connections that were given up.
    """
    consumer = consume_there(workers=workers)
    ids = add_logins(server_client, stream_name, 20)
    consumer.wait_handled(20)
    proxy.swallow()
    ids += add_logins(server_client, stream_name, 20)
    wait_until(lambda: said(consumer.log).keys() >= set(NAMES[workers]), what="all have noticed")

    proxy.normal()

    all_is_handled_once(consumer, server_client, stream_name, ids)
    fault_is_said_once(consumer, *NAMES[workers])


@BOTH
def test_a_reply_that_ends_in_its_middle_is_asked_for_again(
    consume_there: Callable[..., ConsumerProcess],
    server_client: redis.Redis,
    proxy: Proxy,
    stream_name: str,
    workers: int | None,
) -> None:
    """A connection that is reset at the start of a reply, or far inside of one with many entries, costs nothing."""
    consumer = consume_there(workers=workers)
    # Fast ones, so that many are read at once.
    ids = add_logins(server_client, stream_name, 300)
    consumer.wait_handled(300)
    for times, cut_after in enumerate([0, 3, 300, 2_000, 10_000], 1):
        proxy.reset_reply_after(cut_after)
        ids += add_logins(server_client, stream_name, 300)
        wait_until(functools.partial(has_reset, proxy, times), what=f"a reset after {cut_after} bytes")
        all_is_handled_once(consumer, server_client, stream_name, ids)

    assert consumer.stop() == 0


def has_reset(proxy: Proxy, times: int) -> bool:
    return proxy.resets == times
