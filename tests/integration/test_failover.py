"""
The primary is killed under load and a replica takes its place: what goes on, and what is lost.

Redis replicates asynchronously: what a replica had not got is lost. How much that is in practice is measured by
``python -m tests.failover``; here the replicas are cut off for a moment, so that something is lost for certain.
"""

from collections.abc import Callable

import pytest
from django.test import override_settings

from devtools.embedded import EmbeddedServer
from edx_event_bus_redis.internal.message import split_id
from edx_event_bus_redis.internal.names import group_key
from tests.support.consuming import ConsumerProcess
from tests.support.events import add_logins, in_stream
from tests.support.load import Load
from tests.support.replicas import cut_off, replica_of, successor
from tests.support.sentinels import watched
from tests.support.troubles import looks, nothing_pending
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.server]


def all_is_handled(consumer: ConsumerProcess, server: EmbeddedServer, stream_name: str) -> set[str]:
    """Wait until the pool has handled all that a server has, and has nothing in hand; return what it has handled."""
    ids = in_stream(server.client(), stream_name)
    wait_until(lambda: ids <= {each.event_id for each in consumer.handled()}, what="all are handled")
    nothing_pending(server.client(), stream_name)
    return {each.event_id for each in consumer.handled()}


def test_a_pool_goes_on_with_one_of_two_replicas(
    consume: Callable[..., ConsumerProcess], prefix: str, stream_name: str
) -> None:
    """Three sentinels agree on a successor; every event that the producer was told is there is handled, or is gone."""
    with watched(replicas=2, sentinels=3) as servers, override_settings(EVENT_BUS_TOPIC_PREFIX=prefix):
        consumer = consume(url=servers.url, workers=2).wait_running(2)
        with Load(servers.url) as load:
            load.wait_for_more(100)

            servers.primary.kill()

            load.wait_for_more(200)
        new = successor(servers.replicas)
        handled = all_is_handled(consumer, new, stream_name)
        assert load.taken.keys() - handled <= load.taken.keys() - in_stream(new.client(), stream_name)
        assert consumer.stop() == 0
        assert "Traceback" not in consumer.log


def test_what_replicas_had_not_got_is_in_the_ledger(
    consume: Callable[..., ConsumerProcess], prefix: str, stream_name: str
) -> None:
    """What was in hand is handled, what was unread is lost and counted, and lies in the range of the record."""
    with watched(replicas=2, sentinels=3) as servers, override_settings(EVENT_BUS_TOPIC_PREFIX=prefix):
        consumer = consume(url=servers.url, workers=2, check_backlog=True).wait_running(2)
        with Load(servers.url, order="sleep:0.3") as load:
            load.wait_for_more(5)
            cut_off(servers.primary, *servers.replicas)
            load.wait_for_more(60)
        before, client = dict(load.taken), servers.primary.client()
        seen = looks(client)
        wait_until(lambda: looks(client) >= seen + 3, what="the monitor has looked")

        servers.primary.kill()

        new = successor(servers.replicas)
        with Load(servers.url) as load:
            load.wait_for_more(50)
        ledger, client = group_key(stream_name, "lost", "group"), new.client()
        wait_until(lambda: client.xlen(ledger), what="a record")
        lost = before.keys() - all_is_handled(consumer, new, stream_name)
        assert lost
        assert not lost & in_stream(new.client(), stream_name)
        # Redis 7.0: of what was read in the last second before, the replica does not know that it was.
        (record,) = [record for _, record in client.xrange(ledger) if record[b"reason"] != b"trimmed"]
        assert record[b"reason"] == b"forgotten"
        # About: what two workers handle between two looks of the monitor, the last of which was late, is not seen.
        assert abs(int(record[b"count"]) - len(lost)) <= 10 < len(lost)
        first, last = split_id(record[b"first"]), split_id(record[b"last"])
        assert all(first <= split_id(before[each]) <= last for each in lost)
        assert load.taken.keys() <= {each.event_id for each in consumer.handled()}
        assert consumer.stop() == 0


def test_replicas_know_what_a_group_has_read(
    consume_here: Callable[..., ConsumerProcess], own_server: EmbeddedServer, stream_name: str
) -> None:
    """Also those of Redis 7.0, which does not tell them by itself: else all of it would look lost on a new primary."""
    with replica_of(own_server) as replica:
        consumer, client = consume_here(workers=2, check_backlog=True), replica.client()
        consumer.wait_handled(len(add_logins(own_server.client(), stream_name, 50)))

        wait_until(lambda: client.xinfo_groups(stream_name)[0]["entries-read"] == 50, what="the replica knows it")
        assert consumer.stop() == 0


@pytest.mark.parametrize("promoted", ["the replica that confirms", "another one"])
def test_waiting_for_a_replica_helps_if_that_one_is_promoted(
    prefix: str, stream_name: str, caplog: pytest.LogCaptureFixture, promoted: str
) -> None:
    """WAIT is no guarantee: what one replica has confirmed is lost if another one, which had less, is promoted."""
    settings = {"EVENT_BUS_TOPIC_PREFIX": prefix, "EVENT_BUS_REDIS_PRODUCER_WAIT_REPLICAS": 1}
    with watched(replicas=2, sentinels=3) as servers, override_settings(**settings):
        behind, in_step = servers.replicas
        servers.prefer(in_step if promoted == "the replica that confirms" else behind)
        cut_off(servers.primary, behind)
        with Load(servers.url) as load:
            load.wait_for_more(100)

            servers.primary.kill()

            confirmed = set(load.taken)
            assert "did not confirm" not in caplog.text
            new = successor(servers.replicas)
            load.wait_for_more(1)

        assert new is (in_step if promoted == "the replica that confirms" else behind)
        lost = confirmed - in_stream(new.client(), stream_name)
        assert not lost if new is in_step else len(lost) >= 100
