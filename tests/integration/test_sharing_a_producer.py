"""A producer that threads and forked processes share, as those of Django's servers do, and its connections."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any
from uuid import uuid4

import pytest
import redis
from django.test import override_settings
from openedx_events.data import EventsMetadata

from devtools.server import EmbeddedServer
from edx_event_bus_redis import OutgoingEvent, create_producer
from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.connections import Connections, opening, packed
from edx_event_bus_redis.internal.errors import EventBusRedisError
from edx_event_bus_redis.internal.producer import RedisEventProducer
from tests.support.events import SIGNAL, TOPIC, login_data
from tests.support.waiting import wait_until

THREADS = 8
PROCESSES = 3

# Event id and entry id of what was delivered, as text, so that it can come from another process.
Receipts = list[tuple[str, str]]


@pytest.fixture
def own_producer(own_server: EmbeddedServer, prefix: str) -> Iterator[RedisEventProducer]:
    with override_settings(EVENT_BUS_REDIS_CONNECTION_URL=own_server.url, EVENT_BUS_TOPIC_PREFIX=prefix):
        made = create_producer()
        assert made is not None
        yield made


def new_metadata() -> EventsMetadata:
    # The ids that openedx-events makes, by uuid1, may be equal in processes forked from each other.
    return EventsMetadata(event_type=SIGNAL.event_type, id=uuid4())


def deliver(producer: RedisEventProducer) -> tuple[str, str]:
    metadata = new_metadata()
    entry_id = producer.deliver(
        signal=SIGNAL, topic=TOPIC, event_key_field="", event_data=login_data(), event_metadata=metadata
    )
    return str(metadata.id), entry_id.decode()


def deliver_many(producer: RedisEventProducer, count: int) -> Receipts:
    receipts: Receipts = []
    events = [
        OutgoingEvent(signal=SIGNAL, topic=TOPIC, event_data=login_data(), event_metadata=new_metadata())
        for _ in range(count)
    ]
    producer.send_many(
        events,
        on_delivered=lambda chunk: receipts.extend(
            (str(event.event_metadata.id), entry_id.decode()) for event, entry_id in chunk
        ),
    )
    return receipts


def deliver_in_threads(producer: RedisEventProducer) -> Receipts:
    """Let threads deliver events one by one and in bulk, all at once; return what each was told."""
    at_once = threading.Barrier(THREADS, timeout=30)

    def work(number: int) -> Receipts:
        at_once.wait()
        if number % 2:
            return [deliver(producer) for _ in range(50)]
        return deliver_many(producer, 250)

    with ThreadPoolExecutor(THREADS) as threads:
        return [receipt for receipts in threads.map(work, range(THREADS)) for receipt in receipts]


def in_stream(client: redis.Redis, stream_name: str) -> list[tuple[str, str]]:
    return sorted((fields[b"id"].decode(), entry_id.decode()) for entry_id, fields in client.xrange(stream_name))


def test_threads_get_the_replies_to_their_own_events(
    producer: RedisEventProducer, client: redis.Redis, stream_name: str
) -> None:
    """Of events that threads deliver at once each is in the stream once, with the entry id that its thread was told."""
    receipts = deliver_in_threads(producer)

    assert len(receipts) == THREADS // 2 * 300
    assert sorted(receipts) == in_stream(client, stream_name)


# What a child of a process pool can look up: it is forked, so nothing is sent to it but a function's name.
_shared: list[RedisEventProducer] = []


def deliver_in_child() -> Receipts:
    return deliver_in_threads(_shared[0])


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_forked_servers_with_threads_share_nothing_but_the_producer(
    producer: RedisEventProducer, client: redis.Redis, stream_name: str
) -> None:
    """Processes forked from one whose threads have used the producer, and threads of all, get their own replies."""
    receipts = deliver_in_threads(producer)
    _shared[:] = [producer]
    try:
        with ProcessPoolExecutor(PROCESSES, mp_context=get_context("fork")) as processes:
            children = [processes.submit(deliver_in_child) for _ in range(PROCESSES)]
            receipts += deliver_in_threads(producer)
            for child in children:
                receipts += child.result(timeout=60)
    finally:
        _shared.clear()

    assert len(receipts) == (2 + PROCESSES) * THREADS // 2 * 300
    assert sorted(receipts) == in_stream(client, stream_name)


def test_a_child_does_not_hold_its_parents_connections_open(own_producer: RedisEventProducer) -> None:
    """A forked process that sends has its own connection alone, so that a parent's end is seen by the server."""
    deliver(own_producer)

    def sockets() -> set[str]:
        links = set()
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 -- a descriptor may be gone before it is looked at
            try:
                links.add(os.readlink(f"/proc/self/fd/{name}"))  # noqa: PTH115 -- as above
            except OSError:
                continue
        return {link for link in links if link.startswith("socket:")}

    before = sockets()
    child = os.fork()
    if child == 0:
        try:
            deliver(own_producer)
            # One that was the parent's is closed, and one of its own is open.
            os._exit(0 if len(sockets() - before) == 1 and len(before - sockets()) == 1 else 1)
        finally:
            os._exit(2)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sockets() == before


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("send", [deliver, lambda producer: deliver_many(producer, 3)], ids=["one", "many"])
def test_a_child_waits_for_no_thread_of_its_parents(
    own_producer: RedisEventProducer, send: Callable[[RedisEventProducer], object]
) -> None:
    """A thread that took a connection out of redis-py's pool right when the process forked does not exist in it."""
    send(own_producer)
    locks = [each._clients.of("").connection_pool._lock for each in (own_producer._patient, own_producer._bulk)]
    is_held, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        with locks[0], locks[1]:
            is_held.set()
            is_over.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait(30)
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(20)
            send(own_producer)
            os._exit(0)
        finally:
            os._exit(2)
    is_over.set()
    thread.join()

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    send(own_producer)


def deliver_at_once(producer: RedisEventProducer, server: EmbeddedServer) -> None:
    """Let each of several threads open a connection, by keeping the server from answering until all have asked."""
    server.freeze()
    with ThreadPoolExecutor(THREADS) as threads:
        waiting = [threads.submit(deliver, producer) for _ in range(THREADS)]
        pool = producer._patient._clients.of("").connection_pool
        wait_until(lambda: len(pool._in_use_connections) == THREADS, what="every thread has a connection")
        server.thaw()
        for each in waiting:
            each.result()


def test_a_restart_costs_no_event_whatever_was_open(
    own_server: EmbeddedServer, own_producer: RedisEventProducer, stream_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the many connections that threads have left behind none is used after the server has closed one of them."""
    deliver_at_once(own_producer, own_server)
    kept = own_producer._patient._of_all._kept.get()
    assert len(kept) == THREADS
    own_server.restart()

    deliver(own_producer)

    assert len(kept) == 1
    assert own_server.client().xlen(stream_name) == THREADS + 1
    assert "Error" not in caplog.text


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("bulk", [False, True])
def test_whoever_is_interrupted_leaves_no_reply_to_the_next(
    own_server: EmbeddedServer, own_producer: RedisEventProducer, stream_name: str, bulk: bool
) -> None:
    """After an exception out of a signal handler, while a reply was waited for, the next event gets its own reply."""

    def interrupt(*_: Any) -> None:
        raise Interrupted

    (deliver_many(own_producer, 1) if bulk else deliver(own_producer))
    own_server.freeze()
    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Interrupted):
            (deliver_many(own_producer, 10) if bulk else deliver(own_producer))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    own_server.thaw()

    receipts = deliver_many(own_producer, 10) if bulk else [deliver(own_producer)]

    assert set(receipts) <= set(in_stream(own_server.client(), stream_name))


def test_an_error_of_the_server_costs_no_connection(
    producer: RedisEventProducer, client: redis.Redis, stream_name: str
) -> None:
    """A command that the server refuses leaves its connection as it was."""
    deliver(producer)
    connections = client.info("stats")["total_connections_received"]
    client.delete(stream_name)
    client.set(stream_name, "no stream")
    for _ in range(3):
        with pytest.raises(Exception, match="WRONGTYPE"):
            deliver(producer)
    client.delete(stream_name)

    deliver(producer)

    assert client.info("stats")["total_connections_received"] == connections


@pytest.mark.parametrize("bulk", [False, True])
def test_a_connection_to_a_former_primary_is_given_up(
    own_server: EmbeddedServer, own_producer: RedisEventProducer, bulk: bool
) -> None:
    """A server that has become a replica is asked on a new connection next time, which may lead to the new primary."""
    (deliver_many(own_producer, 1) if bulk else deliver(own_producer))
    client = own_server.client()
    client.replicaof("127.0.0.1", 1)
    with pytest.raises(EventBusRedisError):
        (deliver_many(own_producer, 1) if bulk else deliver(own_producer))
    client.replicaof("NO", "ONE")
    connections = client.info("stats")["total_connections_received"]

    (deliver_many(own_producer, 1) if bulk else deliver(own_producer))

    assert client.info("stats")["total_connections_received"] == connections + 1


def test_replies_that_are_late_in_all_are_waited_for_no_longer(url: str) -> None:
    """A chunk has a limit of its own, though each of its replies is in time for one; the next chunk works."""
    client = make_client(url, timeout=5.0, connect_timeout=1.0)
    connections = Connections(lambda: client)
    # On a connection the server does one after the other.
    slow = [parts_of(b"BLPOP", b"no-such-list", b"0.1")] * 50
    replies: list[Any] = []

    with pytest.raises(redis.exceptions.TimeoutError):
        connections.ask_all(slow, 0.5, replies)

    assert len(replies) < len(slow)
    answers: list[Any] = []
    connections.ask_all([parts_of(b"ECHO", b"here")], 5.0, answers)
    assert answers == [b"here"]


def parts_of(*parts: bytes) -> bytes:
    return opening(len(parts)) + packed(parts)
