"""EVENT_BUS_REDIS_PRODUCER_WAIT_REPLICAS: a producer waits for replicas, and says if they did not confirm."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from django.core.checks import run_checks
from django.test import override_settings

from devtools.embedded import EmbeddedServer
from edx_event_bus_redis import OutgoingEvent
from edx_event_bus_redis.internal.producer import RedisEventProducer
from tests.support.clusters import Cluster, cluster, slots
from tests.support.events import SIGNAL, TOPIC, login_data
from tests.support.load import deliver
from tests.support.proxy import Proxy
from tests.support.replicas import replica_of
from tests.support.severing import SeverableWay
from tests.support.waiting import wait_until

NOT_CONFIRMED = "did not confirm in time"
CONFIRMED_AGAIN = "Replicas confirm again"

pytestmark = [pytest.mark.usefixtures("one_replica"), pytest.mark.server, pytest.mark.one_version]


@pytest.fixture
def one_replica(prefix: str) -> Iterator[None]:
    with override_settings(EVENT_BUS_TOPIC_PREFIX=prefix, EVENT_BUS_REDIS_PRODUCER_WAIT_REPLICAS=1):
        yield


def events(number: int) -> list[OutgoingEvent]:
    return [OutgoingEvent(signal=SIGNAL, topic=TOPIC, event_data=login_data(each)) for each in range(number)]


def said(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [message for message in caplog.messages if words in message]


def waits(client: redis.Redis) -> int:
    """How often replicas were waited for."""
    return int(client.info("commandstats").get("cmdstat_wait", {"calls": 0})["calls"])


@pytest.mark.parametrize("replicas", [0, 1])
def test_each_event_and_each_chunk_is_waited_for(
    own_server: EmbeddedServer, caplog: pytest.LogCaptureFixture, stream_name: str, replicas: int
) -> None:
    """One WAIT for an event, one for a chunk of send_many, none without the setting; what is confirmed is not said."""
    client = own_server.client()
    with replica_of(own_server) as replica, override_settings(EVENT_BUS_REDIS_PRODUCER_WAIT_REPLICAS=replicas):
        producer = RedisEventProducer(own_server.url)
        ids = [deliver(producer) for _ in range(5)]
        assert waits(client) == 5 * replicas
        assert producer.send_many(events(250)) == 250
        assert waits(client) == 8 * replicas
        wait_until(lambda: replica.client().xlen(stream_name) == 255, what="the replica has all")

    assert [fields[b"id"].decode() for _, fields in client.xrange(stream_name, count=5)] == ids
    assert said(caplog, NOT_CONFIRMED) == []


def test_an_event_is_with_the_replica_when_it_is_sent(
    own_server: EmbeddedServer, caplog: pytest.LogCaptureFixture, stream_name: str
) -> None:
    """Over a slow line send returns when the replica has the event, and says nothing."""
    with Proxy(own_server.port) as proxy, replica_of(own_server, port=proxy.port) as replica:
        producer, client = RedisEventProducer(own_server.url), replica.client()
        proxy.slow(latency=0.2)

        for number in range(3):
            deliver(producer)
            assert client.xlen(stream_name) == number + 1
        producer.send_many(events(10))
        assert client.xlen(stream_name) == 13

    assert said(caplog, NOT_CONFIRMED) == []


def test_what_is_not_confirmed_is_sent_and_said_once(
    own_server: EmbeddedServer, caplog: pytest.LogCaptureFixture, stream_name: str
) -> None:
    """Without replicas events are sent all the same, with one line for many; another one says that it is over."""
    producer = RedisEventProducer(own_server.url)
    for _ in range(4):
        deliver(producer)
    assert producer.send_many(events(3)) == 3

    client = own_server.client()
    assert client.xlen(stream_name) == 7
    (line,) = said(caplog, NOT_CONFIRMED)
    ((first, _),) = client.xrange(stream_name, count=1)
    last = f"the last is entry {first.decode()} of stream {stream_name}"
    assert line == f"1 event is sent, but 1 replica {NOT_CONFIRMED} that it has it: 0 did; {last}"
    with replica_of(own_server):
        deliver(producer)
        deliver(producer)
    assert said(caplog, CONFIRMED_AGAIN) == [
        "Replicas confirm again that they have what is sent; 7 events were not confirmed"
    ]
    assert client.xlen(stream_name) == 9


def test_a_replica_that_is_away_does_not_hold_up_each_event(own_server: EmbeddedServer, prefix: str) -> None:
    """After one wait in vain the next ones are short, and after one that is answered they are long again."""
    producer, client = RedisEventProducer(own_server.url), own_server.client()
    with client.monitor() as monitor:
        deliver(producer)
        deliver(producer)
        with replica_of(own_server):
            deliver(producer)
            deliver(producer)
            asked: list[str] = []
            while len(asked) < 4:
                command = monitor.next_command()["command"]
                if command.startswith("WAIT "):
                    asked.append(command)

    assert asked == ["WAIT 1 1000", "WAIT 1 100", "WAIT 1 100", "WAIT 1 1000"]


@pytest.mark.parametrize("many", [False, True])
def test_a_connection_that_breaks_while_waiting_costs_no_event(
    own_server: EmbeddedServer, caplog: pytest.LogCaptureFixture, stream_name: str, many: bool
) -> None:
    """What the server has replied to is delivered: it is not sent again, and not reported as a failure."""
    way = SeverableWay(own_server.port)
    producer = RedisEventProducer(own_server.url.replace(str(own_server.port), str(way.port)))
    # Each entry's id is two lines.
    way.sever_after(6 if many else 2)
    if many:
        assert producer.send_many(events(3)) == 3
    else:
        deliver(producer)
    way.close()

    assert own_server.client().xlen(stream_name) == (3 if many else 1)
    (line,) = said(caplog, NOT_CONFIRMED)
    assert line.startswith("3 events" if many else "1 event is")


def test_a_server_that_cannot_trim_by_acknowledgement_is_waited_for_too(
    own_server: EmbeddedServer, caplog: pytest.LogCaptureFixture, stream_name: str
) -> None:
    """With EVENT_BUS_REDIS_STREAM_KEEP_UNACKED, whether the server knows the option or not, an event is sent once."""
    with replica_of(own_server), override_settings(EVENT_BUS_REDIS_STREAM_KEEP_UNACKED=True):
        deliver(RedisEventProducer(own_server.url))

    assert own_server.client().xlen(stream_name) == 1
    assert said(caplog, NOT_CONFIRMED) == []


def test_the_time_out_of_the_connection_is_longer_than_the_wait(
    own_server: EmbeddedServer, caplog: pytest.LogCaptureFixture, stream_name: str
) -> None:
    """With a short socket_timeout the wait is shorter still: the reply comes, and the connection is kept."""
    producer = RedisEventProducer(f"{own_server.url}?socket_timeout=0.3")
    deliver(producer)
    deliver(producer)

    (line,) = said(caplog, NOT_CONFIRMED)
    assert ": 0 did; " in line
    assert own_server.client().xlen(stream_name) == 2


def test_a_refused_wait_is_said(own_server: EmbeddedServer, caplog: pytest.LogCaptureFixture, stream_name: str) -> None:
    """A user that may not wait sends its events, and the line says why they are not confirmed."""
    client = own_server.client()
    client.execute_command("ACL", "SETUSER", "someone", "on", ">password", "~*", "+xadd")
    producer = RedisEventProducer(own_server.url.replace("://", "://someone:password@"))
    deliver(producer)

    assert client.xlen(stream_name) == 1
    (line,) = said(caplog, NOT_CONFIRMED)
    assert "wait" in line
    assert "permissions" in line


@contextmanager
def moved_half_way(shared: Cluster, stream: str) -> Iterator[EmbeddedServer]:
    """Have a stream's slot half moved to another node, which has the stream already; yield that node."""
    source = shared.first_owner(stream)
    target = shared.another_than(source)
    shared.begin_migration(stream, source, target)
    shared.migrate(stream, source, target)
    yield target
    shared.end_migration(stream, source, target)


def test_waiting_follows_a_slot(caplog: pytest.LogCaptureFixture, stream_name: str) -> None:
    """Whether a node sends an event on for now or for good, it is sent once, and confirmed by the other's replica."""
    with cluster(replicas=True) as own:
        producer = RedisEventProducer(own.url)
        deliver(producer)
        with moved_half_way(own, stream_name) as target:
            deliver(producer)
            assert producer.send_many(events(2)) == 2
        caplog.clear()
        assert slots(own.nodes[0], stream_name)[0] == target.port
        deliver(producer)
        assert producer.send_many(events(2)) == 2

        assert target.client().xlen(stream_name) == 7
        assert said(caplog, NOT_CONFIRMED) == []


def test_the_check_tells_of_too_few_replicas(own_server: EmbeddedServer) -> None:
    """A server that has fewer replicas than are waited for is a warning; one that has enough, or is away, is none."""

    def found() -> list[str | None]:
        return [message.id for message in run_checks()]

    with override_settings(EVENT_BUS_REDIS_CONNECTION_URL=own_server.url):
        assert found() == ["edx_event_bus_redis.W003"]
        with replica_of(own_server):
            assert found() == []
        own_server.kill()
        assert found() == []
