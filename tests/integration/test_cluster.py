"""A cluster: streams on all of its nodes, a node that is gone, and a slot that is moved under load."""

import functools
import itertools
import json
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import StringIO
from typing import Any, Self

import pytest
import redis
from django.core.management import CommandError, call_command
from django.test import override_settings
from redis.crc import key_slot

from devtools.embedded import HOST, EmbeddedServer
from edx_event_bus_redis import EventsNotDelivered, OutgoingEvent
from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.connections import Connections
from edx_event_bus_redis.internal.names import group_key
from edx_event_bus_redis.internal.producer import RedisEventProducer
from tests.support.clusters import Cluster, cluster, slots
from tests.support.consuming import ConsumerProcess
from tests.support.events import SIGNAL, TOPIC, add_logins, login_data
from tests.support.load import Load, deliver
from tests.support.troubles import nothing_pending
from tests.support.waiting import wait_until

TOPICS = [f"topic-{number}" for number in range(12)]


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    """A cluster that the tests of this file share and leave as it is."""
    with cluster() as made:
        yield made


class Overheard:
    """What a server is told, from entry to exit as a context manager, by clients and by scripts."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._client, self._asked = server.client(), server.client()
        self._asked.response_callbacks.clear()
        self._commands: set[tuple[str, ...]] = set()
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> Self:
        self._monitor = self._client.monitor().__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._client.close()

    def keys(self) -> set[str]:
        """Return the keys of what it was told, as the server itself finds them, and hear no more."""
        self._stop()
        return {key for command in self._commands for key in self._keys_of(command)}

    def _stop(self) -> None:
        self._asked.echo("enough")
        self._thread.join()

    def _keys_of(self, command: tuple[str, ...]) -> list[str]:
        try:
            return [key.decode() for key in self._asked.execute_command("COMMAND GETKEYS", *command)]
        except redis.ResponseError as error:
            # Of the server itself, or of the connection. Redis 7.0 looks for none in a command without arguments.
            if "no key arguments" in str(error) or len(command) == 1:
                return []
            raise

    def _listen(self) -> None:
        while True:
            # redis-py's own parser takes the quotes off.
            line: bytes = self._monitor.connection.read_response()
            command = tuple(shlex.split(line.decode().partition("] ")[2]))
            if command == ("ECHO", "enough"):
                return
            self._commands.add(command)


def test_streams_of_all_nodes_are_used(shared: Cluster, prefix: str) -> None:
    """Events go to the node that has their stream, and the status finds the streams of all nodes."""
    out = StringIO()
    settings = {"EVENT_BUS_REDIS_CONNECTION_URL": shared.url, "EVENT_BUS_TOPIC_PREFIX": prefix}
    with override_settings(**settings):
        producer = RedisEventProducer(shared.url)
        for topic in TOPICS:
            deliver(producer, topic)
        call_command("event_bus_status", json=True, stdout=out)

    found = json.loads(out.getvalue())["streams"]
    assert sorted(each["topic"] for each in found) == sorted(TOPICS)
    assert {each["length"] for each in found} == {1}
    assert all(node.client().keys(f"{prefix}-*") for node in shared.nodes)


def test_a_check_looks_at_all_nodes(prefix: str) -> None:
    """What is wrong on any node is a problem, and nodes that hang are told by their URL."""
    options = {"EVENT_BUS_REDIS_CONNECTION_OPTIONS": {"socket_timeout": 1}}
    with cluster() as own:
        url, out = own.url, StringIO()
        settings = {"EVENT_BUS_REDIS_CONNECTION_URL": url, "EVENT_BUS_TOPIC_PREFIX": prefix, **options}
        with override_settings(**settings):
            producer = RedisEventProducer(url)
            for topic in TOPICS:
                deliver(producer, topic)
            call_command("event_bus_status", check=True, check_seconds="0.1", stdout=out)
            # Each has an entry that nobody reads.
            for topic in TOPICS:
                key = f"{prefix}-{topic}"
                own.first_owner(key).client().xgroup_create(key, "group", 0)
            with pytest.raises(SystemExit) as problem:
                call_command("event_bus_status", check=True, check_seconds="0.1", stdout=out)
            for node in own.nodes:
                node.freeze()
            with pytest.raises(CommandError) as hangs:
                call_command("event_bus_status", stdout=out)

    well, *wrong = out.getvalue().splitlines()
    assert well.startswith("OK ")
    assert problem.value.code == 1
    assert sorted(line.split("/")[0] for line in wrong) == sorted(f"PROBLEM {topic}" for topic in TOPICS)
    assert str(hangs.value).startswith("Redis does not answer in time: ")
    assert str(hangs.value).endswith(f" ({url})")


def test_many_events_of_many_streams(shared: Cluster, prefix: str) -> None:
    """send_many sends each event to its stream's node, in order, and tells what is delivered in the order given."""
    events = [
        OutgoingEvent(signal=SIGNAL, topic=topic, event_data={"user": login_data(number)["user"]})
        for number, topic in zip(range(240), itertools.cycle(TOPICS), strict=False)
    ]
    delivered: list[OutgoingEvent] = []
    with override_settings(EVENT_BUS_TOPIC_PREFIX=prefix):
        producer = RedisEventProducer(shared.url)

        assert (
            producer.send_many(events, on_delivered=lambda chunk: delivered.extend(each.event for each in chunk)) == 240
        )

    assert delivered == events
    for topic in TOPICS:
        key = f"{prefix}-{topic}"
        entries = shared.first_owner(key).client().xrange(key)
        expected = [str(event.event_metadata.id) for event in events if event.topic == topic]
        assert [fields[b"id"].decode() for _, fields in entries] == expected


def test_a_pool_does_everything_in_a_cluster(
    consume: Callable[..., ConsumerProcess], shared: Cluster, prefix: str, stream_name: str
) -> None:
    """Retries, dead letters, replays and the status work as with one server: no command touches two slots."""
    consumer = consume(url=shared.url, workers=2, max_retries=1).wait_running(2)
    producer = RedisEventProducer(shared.url)
    settings = {"EVENT_BUS_REDIS_CONNECTION_URL": shared.url, "EVENT_BUS_TOPIC_PREFIX": prefix}
    client = make_client(shared.url, timeout=5, connect_timeout=5, key=stream_name)
    with override_settings(**settings):
        good = deliver(producer)
        again = deliver(producer, order="fail:1")
        killer = deliver(producer, order="kill")
        consumer.wait_handled(2)
        dead = group_key(stream_name, "dead", "group")
        wait_until(lambda: client.xlen(dead) == 1, what="the dead letter")
        out = StringIO()
        call_command("event_bus_dead_letters", "list", topic=TOPIC, group_id="group", json=True, stdout=out)
        assert [each["event_id"] for each in json.loads(out.getvalue())] == [killer]
        call_command("event_bus_dead_letters", "replay", "--all", topic=TOPIC, group_id="group", stdout=StringIO())
        wait_until(lambda: client.xlen(dead) == 1, what="it is a dead letter again")
        out = StringIO()
        call_command("event_bus_status", topic=TOPIC, json=True, stdout=out)

    (stream,) = json.loads(out.getvalue())["streams"]
    assert stream["length"] == 3
    assert {each.event_id for each in consumer.handled()} == {good, again}
    assert consumer.stop() == 0
    assert "CROSSSLOT" not in consumer.log


def test_prefixes_with_a_hash_tag_have_groups(consume: Callable[..., ConsumerProcess], shared: Cluster) -> None:
    """A stream's own hash tag is that of its groups' keys too, and the status finds them."""
    prefix = "{tag}bus"
    consumer = consume(url=shared.url, prefix=prefix, workers=1).wait_running()
    settings = {"EVENT_BUS_REDIS_CONNECTION_URL": shared.url, "EVENT_BUS_TOPIC_PREFIX": prefix}
    out = StringIO()
    with override_settings(**settings):
        deliver(RedisEventProducer(shared.url), order="raise")
        client = make_client(shared.url, timeout=5, connect_timeout=5, key=f"{prefix}-{TOPIC}")
        dead = f"{{tag}}{{{prefix}-{TOPIC}}}:dead:group"
        wait_until(lambda: client.xlen(dead) == 1, what="the dead letter")
        client.delete(f"{prefix}-{TOPIC}")
        call_command("event_bus_status", json=True, stdout=out)

    assert [each["groups"][0]["dead_letters"] for each in json.loads(out.getvalue())["streams"]] == [1]
    assert consumer.stop() == 0


def test_a_name_that_cannot_have_groups_is_refused(consume: Callable[..., ConsumerProcess], shared: Cluster) -> None:
    """A consumer of a stream whose groups' keys would be in another slot leaves with status 2 and says why."""
    consumer = consume(url=shared.url, prefix="a}b")

    assert consumer.wait() == 2
    assert "'a}b-user-login' has a brace that closes" in consumer.log


@pytest.mark.parametrize("which", ["cluster", "server"])
def test_a_url_of_the_other_kind_is_told(
    consume: Callable[..., ConsumerProcess], shared: Cluster, url: str, which: str, stream_name: str
) -> None:
    """A cluster by redis://, and a server by redis+cluster://, are bad URLs: status 2 and one line that says so."""
    other = shared.another_than(shared.first_owner(stream_name))
    wrong = other.url if which == "cluster" else url.replace("redis://", "redis+cluster://")
    consumer = consume(url=wrong)

    assert consumer.wait() == 2
    expected = "expected redis+cluster://" if which == "cluster" else "expected redis://"
    assert expected in consumer.log.splitlines()[-1]


def test_a_failed_node_is_replaced(consume: Callable[..., ConsumerProcess], prefix: str, stream_name: str) -> None:
    """When the node of the stream is killed under load, consuming and producing go on with its replica."""
    with cluster(replicas=True) as own, override_settings(EVENT_BUS_TOPIC_PREFIX=prefix):
        primary = own.first_owner(stream_name)
        replica = own.replica_of(primary)
        consumer = consume(url=own.url, workers=2).wait_running(2)
        with Load(own.url) as load:
            load.wait_for_more(50)

            primary.kill()

            load.wait_for_more(100)
        entries = replica.client().xrange(stream_name)
        ids = {fields[b"id"].decode() for _, fields in entries}
        wait_until(lambda: ids <= {each.event_id for each in consumer.handled()}, what="all are handled")
        nothing_pending(replica.client(), stream_name)
        assert consumer.stop() == 0


def all_is_delivered_and_handled(consumer: ConsumerProcess, load: Load, client: redis.Redis, stream: str) -> None:
    """Hold that a node has each event that was taken once, that each is handled, and that none is left pending."""
    ids = [fields[b"id"].decode() for _, fields in client.xrange(stream)]
    assert sorted(ids) == sorted(load.taken)
    consumer.wait_handled(len(ids))
    assert sorted({each.event_id for each in consumer.handled()}) == sorted(ids)
    nothing_pending(client, stream)
    assert consumer.stop() == 0


def test_a_slot_is_moved_under_load(
    consume: Callable[..., ConsumerProcess], shared: Cluster, prefix: str, stream_name: str
) -> None:
    """While a slot moves from node to node every event is delivered once and handled, and none is lost."""
    source = shared.first_owner(stream_name)
    target = shared.another_than(source)
    consumer = consume(url=shared.url, workers=2).wait_running(2)
    with override_settings(EVENT_BUS_TOPIC_PREFIX=prefix), Load(shared.url) as load:
        load.wait_for_more(50)
        shared.begin_migration(stream_name, source, target)
        load.wait_for_more(20)
        shared.migrate(stream_name, source, target)
        # The slot is between the two; the stream is on the other node already.
        load.wait_for_more(50)
        consumer.wait_handled(len(load.taken))
        shared.migrate(stream_name, source, target)
        shared.end_migration(stream_name, source, target)
        load.wait_for_more(50)

    assert slots(shared.nodes[0], stream_name)[0] == target.port
    all_is_delivered_and_handled(consumer, load, target.client(), stream_name)


def test_a_slot_is_moved_as_a_whole_under_load(
    consume: Callable[..., ConsumerProcess], shared: Cluster, prefix: str, stream_name: str
) -> None:
    """With CLUSTER MIGRATESLOTS, too, every event is delivered once and handled, and none is lost."""
    if not shared.can_move_at_once():
        pytest.skip("needs Valkey 9 or newer")
    source = shared.first_owner(stream_name)
    target = shared.another_than(source)
    consumer = consume(url=shared.url, workers=2).wait_running(2)
    with override_settings(EVENT_BUS_TOPIC_PREFIX=prefix), Load(shared.url) as load:
        load.wait_for_more(50)
        shared.move_at_once(stream_name, source, target)
        load.wait_for_more(50)
        shared.move_at_once(stream_name, target, source)
        load.wait_for_more(50)

    all_is_delivered_and_handled(consumer, load, source.client(), stream_name)


def test_while_its_slot_is_split_a_stream_is_read_without_the_check(
    consume: Callable[..., ConsumerProcess], shared: Cluster, prefix: str, stream_name: str
) -> None:
    """The stream is on one node and its ledger on another: events are handled all the same, and the log says it."""
    source = shared.first_owner(stream_name)
    target = shared.another_than(source)
    client = source.client()
    client.xgroup_create(stream_name, "group", 0, mkstream=True, entries_read=0)
    add_logins(client, stream_name, 5)
    client.xtrim(stream_name, 2, approximate=False)
    consumer = consume(url=shared.url, check_backlog=True).wait_running()
    consumer.wait_handled(2)
    assert client.exists(group_key(stream_name, "lost", "group"))

    shared.begin_migration(stream_name, source, target)
    client.execute_command("MIGRATE", HOST, target.port, stream_name, 0, 5000)
    with override_settings(EVENT_BUS_TOPIC_PREFIX=prefix), Load(shared.url) as load:
        load.wait_for_more(50)
        consumer.wait_handled(52)
        wait_until(lambda: "cannot be checked for losses: " in consumer.log, what="it is said")
        shared.migrate(stream_name, source, target)
        shared.end_migration(stream_name, source, target)
        wait_until(lambda: "can be checked for losses again" in consumer.log, what="it is over")

    consumer.wait_handled(2 + len(load.taken))
    nothing_pending(target.client(), stream_name)
    assert consumer.stop() == 0


def test_all_that_is_done_for_a_stream_is_done_in_its_slot(
    consume: Callable[..., ConsumerProcess], prefix: str, stream_name: str
) -> None:
    """Every key that producer, pool and commands touch, in scripts too, is in the stream's slot, and on its node."""
    settings = {"EVENT_BUS_TOPIC_PREFIX": prefix, "EVENT_BUS_REDIS_PRODUCER_WAIT_REPLICAS": 1}
    with ExitStack() as stack:
        own = stack.enter_context(cluster(replicas=True))
        settings["EVENT_BUS_REDIS_CONNECTION_URL"] = own.url
        stack.enter_context(override_settings(**settings))
        owner = own.first_owner(stream_name)
        client = owner.client()
        seen = {node: stack.enter_context(Overheard(node)) for node in own.nodes}
        producer = RedisEventProducer(own.url)
        consumer = consume(url=own.url, workers=2, max_retries=1, check_backlog=True).wait_running(2)
        for order in ("ok", "fail:1", "kill"):
            deliver(producer, order=order)
        producer.send_many([OutgoingEvent(signal=SIGNAL, topic=TOPIC, event_data=login_data()) for _ in range(200)])
        dead = group_key(stream_name, "dead", "group")
        wait_until(lambda: client.xlen(dead) == 1, what="the dead letter")
        consumer.wait_handled(202)
        of_group = {"topic": TOPIC, "group_id": "group", "stdout": StringIO()}
        call_command("event_bus_dead_letters", "list", **of_group)
        call_command("event_bus_dead_letters", "replay", "--all", **of_group)
        wait_until(lambda: client.xlen(dead) == 1, what="it is a dead letter again")
        call_command("event_bus_dead_letters", "discard", "--all", yes=True, **of_group)
        client.xgroup_destroy(stream_name, "group")
        wait_until(lambda: "made anew" in consumer.log, what="the group is made anew")
        call_command("event_bus_status", stdout=StringIO())
        assert consumer.stop() == 0
        keys = {node: each.keys() for node, each in seen.items()}

    of_stream = keys.pop(owner)
    assert {
        stream_name,
        dead,
        group_key(stream_name, "lost", "group"),
        group_key(stream_name, "later", "group"),
    } <= of_stream
    assert {key_slot(key.encode()) for key in of_stream} == {key_slot(stream_name.encode())}
    assert set().union(*keys.values()) == set()


def test_a_client_follows_a_slot(shared: Cluster, prefix: str) -> None:
    """Commands, pipelines, transactions and packed commands are done where the slot is, and nobody notices."""
    stream = f"{prefix}-followed"
    source = shared.first_owner(stream)
    target = shared.another_than(source)

    def all_ways(client: redis.Redis, connections: Connections) -> list[Any]:
        replies = [client.xlen(stream), connections.ask(b"*2\r\n$4\r\nXLEN\r\n$%d\r\n%b\r\n" % (len(key), key))]
        for is_transaction in (True, False):
            pipeline = client.pipeline(transaction=is_transaction).xlen(stream).xlen(stream)
            replies += pipeline.execute()
        return replies

    key = stream.encode()
    clients = [make_client(shared.url, timeout=5, connect_timeout=5, key=stream) for _ in range(4)]
    connections = [Connections(functools.partial(lambda client: client, client)) for client in clients]
    clients[0].xadd(stream, {"a": "b"})
    # One after the other has a connection to where the slot was, and finds it elsewhere in each state.
    for client, kept in zip(clients, connections, strict=True):
        assert all_ways(client, kept) == [1] * 6
    shared.begin_migration(stream, source, target)
    shared.migrate(stream, source, target)
    for client, kept in zip(clients[:2], connections[:2], strict=True):
        assert all_ways(client, kept) == [1] * 6
    shared.end_migration(stream, source, target)
    for client, kept in zip(clients, connections, strict=True):
        assert all_ways(client, kept) == [1] * 6


def test_sending_many_follows_a_slot(shared: Cluster, prefix: str) -> None:
    """When a slot is moved between two chunks, and is half-way for a third, all events are delivered once, in order."""
    stream = f"{prefix}-moving"
    source = shared.first_owner(stream)
    target = shared.another_than(source)
    steps: Iterator[Callable[..., Any]] = iter(
        [
            lambda: (shared.begin_migration(stream, source, target), shared.migrate(stream, source, target)),
            lambda: shared.end_migration(stream, source, target),
        ]
    )
    events = [OutgoingEvent(signal=SIGNAL, topic="moving", event_data=login_data(number)) for number in range(300)]
    with override_settings(EVENT_BUS_TOPIC_PREFIX=prefix):
        sent = RedisEventProducer(shared.url).send_many(events, on_delivered=lambda _: next(steps, lambda: None)())

    assert sent == 300
    ids = [fields[b"id"].decode() for _, fields in target.client().xrange(stream)]
    assert ids == [str(event.event_metadata.id) for event in events]


def test_a_cluster_without_the_slot_is_unavailable(prefix: str) -> None:
    """While nobody has a stream's slot its events are not delivered, and those of other streams are."""
    with cluster() as own, override_settings(EVENT_BUS_TOPIC_PREFIX=prefix):
        topics = {own.first_owner(f"{prefix}-{topic}").port: topic for topic in TOPICS}
        lost, kept = topics[own.nodes[0].port], topics[own.nodes[1].port]
        producer = RedisEventProducer(own.url)
        own.nodes[0].kill()
        events = [OutgoingEvent(signal=SIGNAL, topic=topic, event_data=login_data()) for topic in (lost, kept, kept)]

        began = time.monotonic()
        with pytest.raises(EventsNotDelivered) as caught:
            producer.send_many(events)

        assert [failure.position for failure in caught.value.failures] == [0]
        assert time.monotonic() - began < 20
        assert own.nodes[1].client().xlen(f"{prefix}-{kept}") == 2
