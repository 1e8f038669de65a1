"""The producer: what it appends, and what it does when it cannot."""

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any
from uuid import uuid4

import pytest
import redis
from django.test import override_settings
from openedx_events.data import EventsMetadata
from openedx_events.event_bus.avro.serializer import serialize_event_data_to_bytes

from devtools.server import EmbeddedServer
from edx_event_bus_redis import OutgoingEvent, create_producer
from edx_event_bus_redis.internal.producer import RedisEventProducer
from tests.support.events import SIGNAL, TOPIC, login_data
from tests.support.receivers import SECRET

FIELDS = [b"type", b"id", b"source", b"time", b"minorversion", b"sourcehost", b"sourcelib", b"event_data"]

BACKENDS = pytest.mark.skipif(
    find_spec("edx_django_utils.monitoring.internal.backends") is None,
    reason="this version of edx-django-utils has no back ends to choose from",
)

# Seconds. A machine under load is slow: one that is idle needs 2 for the first event and 0.2 for each further one.
BOUNDED = 10


def send(producer: RedisEventProducer, data: Any = None, metadata: Any = None) -> EventsMetadata:
    # The ids that openedx-events makes, by uuid1, may be equal in processes forked from each other.
    metadata = metadata or EventsMetadata(event_type=SIGNAL.event_type, id=uuid4())
    producer.send(
        signal=SIGNAL,
        topic=TOPIC,
        event_key_field="user.pii.username",
        event_data=login_data() if data is None else data,
        event_metadata=metadata,
    )
    return metadata


def test_an_entry_has_the_eight_fields(
    producer: RedisEventProducer, client: redis.Redis, stream_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """send() appends the eight fields in their order, with the bytes of openedx-events, and logs the delivery."""
    caplog.set_level(logging.INFO)

    metadata = send(producer)

    ((entry_id, raw),) = client.xrange(stream_name)
    assert list(raw) == FIELDS
    assert raw[b"type"] == SIGNAL.event_type.encode()
    assert raw[b"id"] == str(metadata.id).encode()
    assert raw[b"time"] == metadata.time.isoformat().encode()
    assert raw[b"event_data"] == serialize_event_data_to_bytes(login_data(), SIGNAL)
    assert (
        f"Message delivered to Redis event bus: topic={stream_name}, message_id={metadata.id}, "
        f"signal={SIGNAL}, redis_msg_id={entry_id}"
    ) in caplog.messages


def test_the_audit_log_can_be_switched_off(producer: RedisEventProducer, caplog: pytest.LogCaptureFixture) -> None:
    """EVENT_BUS_REDIS_AUDIT_LOGGING_ENABLED = False silences the line of each delivery."""
    caplog.set_level(logging.INFO)
    with override_settings(EVENT_BUS_REDIS_AUDIT_LOGGING_ENABLED=False):
        send(producer)

    assert "Message delivered" not in caplog.text


@pytest.fixture
def records() -> Iterator[list[str]]:
    """Messages, not formatted yet, of the log records that are made while the test runs."""
    made: list[str] = []
    factory = logging.getLogRecordFactory()

    def note(*arguments: Any, **keywords: Any) -> logging.LogRecord:
        record = factory(*arguments, **keywords)
        made.append(str(record.msg))
        return record

    logging.setLogRecordFactory(note)
    yield made
    logging.setLogRecordFactory(factory)


def test_nothing_is_made_for_a_log_that_nobody_reads(
    producer: RedisEventProducer, client: redis.Redis, caplog: pytest.LogCaptureFixture, records: list[str]
) -> None:
    """With the level above that of the audit log an event leaves no record, not even one that is dropped later."""
    event = OutgoingEvent(signal=SIGNAL, topic=TOPIC, event_data=login_data())
    caplog.set_level(logging.WARNING)
    send(producer)
    producer.send_many([event])
    assert records == []

    caplog.set_level(logging.INFO)
    send(producer)
    producer.send_many([event])
    assert len(records) == 2


def test_the_stream_is_trimmed(producer: RedisEventProducer, client: redis.Redis, stream_name: str) -> None:
    """The stream keeps about EVENT_BUS_REDIS_STREAM_MAX_LEN entries; the setting is read when it is used."""
    with override_settings(EVENT_BUS_REDIS_STREAM_MAX_LEN=100):
        for _ in range(500):
            send(producer)

    # Redis trims whole nodes, of 100 entries by default (stream-node-max-entries).
    assert 100 <= client.xlen(stream_name) <= 200


def test_without_a_url_there_is_no_producer() -> None:
    """create_producer() returns None and warns, as openedx-events expects."""
    with (
        override_settings(EVENT_BUS_REDIS_CONNECTION_URL=None),
        pytest.warns(UserWarning, match="Missing setting EVENT_BUS_REDIS_CONNECTION_URL"),
    ):
        assert create_producer() is None


def failure(caplog: pytest.LogCaptureFixture) -> str:
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    return record.getMessage()


def test_a_server_that_is_down_is_no_error_for_the_caller(prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    """send() returns soon and logs everything that is needed to send the event again by hand."""
    with override_settings(
        EVENT_BUS_REDIS_CONNECTION_URL="redis://:hunter2@127.0.0.1:1/", EVENT_BUS_TOPIC_PREFIX=prefix
    ):
        producer = create_producer()
        assert producer is not None
        began = time.monotonic()
        metadata = send(producer)

    assert time.monotonic() - began < BOUNDED
    line = failure(caplog)
    assert line.startswith("Error delivering message to Redis event bus. error=ServerUnavailable: ")
    assert f"full_topic='{prefix}-{TOPIC}'" in line
    assert "initial_topic='user-login' event_key_field='user.pii.username'" in line
    data, _, rest = line.partition(" event_data=")[2].partition(" event_metadata=")
    assert json.loads(data) == {
        "user": {"id": 0, "is_active": True, "pii": {"email": SECRET, "name": "Ada Example", "username": "ok"}}
    }
    assert json.loads(rest)["id"] == str(metadata.id)
    assert "hunter2" not in line


@pytest.mark.parametrize("data", [{}, {"user": None}, {"user": "Ada"}, {"usher": 1}, None.__class__])
def test_data_that_does_not_fit_is_no_error_for_the_caller(
    producer: RedisEventProducer, client: redis.Redis, stream_name: str, caplog: pytest.LogCaptureFixture, data: Any
) -> None:
    """Data that cannot be encoded is logged; nothing is appended and nothing raised."""
    send(producer, data)

    assert client.exists(stream_name) == 0
    assert failure(caplog).startswith("Error delivering message to Redis event bus.")


@BACKENDS
def test_a_broken_monitoring_system_is_no_error_for_the_caller(
    producer: RedisEventProducer, caplog: pytest.LogCaptureFixture
) -> None:
    """A monitoring back end that raises does not keep the failure of a delivery out of the log."""
    with override_settings(OPENEDX_TELEMETRY=["tests.support.monitoring.BrokenBackend"]):
        send(producer, {"usher": 1})

    assert "Error delivering message to Redis event bus." in caplog.text


def test_a_wrong_setting_is_no_error_for_the_caller(
    producer: RedisEventProducer, caplog: pytest.LogCaptureFixture
) -> None:
    """A setting that cannot work is logged with its name; nothing is raised into the request."""
    with override_settings(EVENT_BUS_REDIS_STREAM_MAX_LEN="many"):
        send(producer)

    assert "setting EVENT_BUS_REDIS_STREAM_MAX_LEN is 'many'" in failure(caplog)


@pytest.fixture
def frozen(own_server: EmbeddedServer, prefix: str) -> Iterator[RedisEventProducer]:
    """A producer whose server answered once and then hangs."""
    with override_settings(EVENT_BUS_REDIS_CONNECTION_URL=own_server.url, EVENT_BUS_TOPIC_PREFIX=prefix):
        producer = create_producer()
        assert producer is not None
        send(producer)
        own_server.freeze()
        yield producer


def test_a_hung_server_holds_a_request_for_seconds_at_the_most(
    frozen: RedisEventProducer, own_server: EmbeddedServer, stream_name: str
) -> None:
    """Also a request that sends many events, and an event is delivered again as soon as the server answers."""
    began = time.monotonic()
    for _ in range(20):
        send(frozen)
    assert time.monotonic() - began < BOUNDED
    own_server.thaw()
    client = own_server.client()
    client.ping()

    metadata = send(frozen)

    assert client.xrevrange(stream_name, count=1)[0][1][b"id"] == str(metadata.id).encode()


def test_impatience_ends_by_itself(frozen: RedisEventProducer) -> None:
    """Only a patient try makes the producer impatient: a slow server does not look as if it were away for ever."""
    send(frozen)
    until = frozen._impatient_until
    assert until > time.monotonic()

    for _ in range(3):
        send(frozen)

    assert frozen._impatient_until == until


def test_a_restarted_server_costs_no_event(
    own_server: EmbeddedServer, prefix: str, stream_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that was reset by a restart is made anew within the same send()."""
    with override_settings(EVENT_BUS_REDIS_CONNECTION_URL=own_server.url, EVENT_BUS_TOPIC_PREFIX=prefix):
        producer = create_producer()
        assert producer is not None
        send(producer)
        own_server.restart()

        send(producer)

    assert own_server.client().xlen(stream_name) == 2
    assert "Error" not in caplog.text


def test_threads_share_a_producer(producer: RedisEventProducer, client: redis.Redis, stream_name: str) -> None:
    """Threads of one process send through one producer, and every event arrives once."""
    threads = [threading.Thread(target=lambda: [send(producer) for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({fields[b"id"] for _, fields in client.xrange(stream_name)}) == 400


def test_a_producer_survives_a_fork(producer: RedisEventProducer, client: redis.Redis, stream_name: str) -> None:
    """A producer that was used before a fork works on both sides after it."""
    send(producer)
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                for _ in range(25):
                    send(producer)
            finally:
                os._exit(0)
        children.append(child)
    for _ in range(25):
        send(producer)
    for child in children:
        os.waitpid(child, 0)

    assert len({fields[b"id"] for _, fields in client.xrange(stream_name)}) == 126
