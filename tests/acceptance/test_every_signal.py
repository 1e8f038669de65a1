"""Every signal of the installed openedx-events travels over the bus unharmed."""

from typing import Any

import pytest
import redis
from openedx_events.event_bus.avro.deserializer import deserialize_bytes_to_event_data
from openedx_events.event_bus.avro.serializer import serialize_event_data_to_bytes

from edx_event_bus_redis import create_producer
from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.dispatch import emit
from edx_event_bus_redis.internal.message import parse_entry
from edx_event_bus_redis.internal.stream import Stream
from tests.acceptance.project import examples
from tests.acceptance.service import Event, Service, events_of_every_signal
from tests.support.waiting import wait_until

LOGIN = "org.openedx.learning.auth.session.login.completed.v1"
REGISTRATION = "org.openedx.learning.student.registration.completed.v1"


@pytest.mark.parametrize("event", events_of_every_signal(), ids=lambda event: f"{event.type}-{event.variant}")
def test_an_event_has_the_bytes_of_openedx_events_and_comes_back(
    event: Event, url: str, client: redis.Redis, prefix: str, bus_settings: None
) -> None:
    """What we send has the bytes of openedx-events' serializer and is received as its deserializer reads them."""
    signal, metadata = examples.signal_of(event.type), examples.metadata(event.type, event.number)
    data = examples.event_data(signal, event.variant)
    received = []

    def receive(metadata: Any, **received_data: Any) -> None:
        received.append((metadata, {name: received_data[name] for name in signal.init_data}))

    producer = create_producer()
    assert producer is not None
    stream = Stream(make_client(url, timeout=10, connect_timeout=10), f"{prefix}-every")
    client.xgroup_create(stream.key, "group", "0", mkstream=True)

    producer.send(signal=signal, topic="every", event_key_field="", event_data=data, event_metadata=metadata)
    (entry,), _ = stream.read_new_after((), "group", "c1", 10)
    message = parse_entry(entry, stream.key)
    signal.connect(receive, weak=False)
    try:
        emit(message)
    finally:
        signal.disconnect(receive)

    expected = serialize_event_data_to_bytes(data, signal)
    assert message.event_data == expected
    assert received == [(metadata, deserialize_bytes_to_event_data(expected, signal))]
    assert examples.described(received[0][1]) == examples.described(data)


def test_every_signal_sent_by_send_event_is_handled(ours: Service) -> None:
    """What SIGNAL.send_event() sends, as EVENT_BUS_PRODUCER_CONFIG says, for any signal, a running consumer handles."""
    events = events_of_every_signal()
    config = {event.type: {"all": {"event_key_field": "any", "enabled": True}} for event in events}
    ours.consume("all", check_backlog=True)

    ours.send("all", events, how="send_event", EVENT_BUS_PRODUCER_CONFIG=config)

    handled = ours.wait_handled(len(events))
    # Everything but the process that it happened in.
    assert [event._replace(pid=0) for event in handled] == [event._replace(pid=0) for event in ours.sent()]


def test_an_event_goes_to_the_topics_that_are_enabled_for_it(ours: Service, client: redis.Redis, prefix: str) -> None:
    """An event goes to each topic that EVENT_BUS_PRODUCER_CONFIG enables for its signal, and to no other."""
    topics = {name: {"event_key_field": "user.id", "enabled": name != "off"} for name in ("one", "two", "off")}

    ours.send("", [Event(LOGIN), Event(REGISTRATION)], how="send_event", EVENT_BUS_PRODUCER_CONFIG={LOGIN: topics})

    assert {key.decode() for key in client.scan_iter(f"{prefix}*")} == {f"{prefix}-one", f"{prefix}-two"}
    for name in ("one", "two"):
        ((_, fields),) = client.xrange(f"{prefix}-{name}")
        assert fields[b"type"].decode() == LOGIN


def test_an_event_from_the_bus_is_not_sent_to_it_again(ours: Service, client: redis.Redis, prefix: str) -> None:
    """A service that consumes the events that it produces handles each of them once."""
    config = {LOGIN: {"login": {"event_key_field": "user.id", "enabled": True}}}
    settings = {"EVENT_BUS_PRODUCER_CONFIG": config}
    consumer = ours.consume("login", settings=settings, check_backlog=True)

    ours.send("login", [Event(LOGIN), Event(LOGIN, 1)], how="send_event", **settings)

    ours.wait_handled(2)
    wait_until(lambda: len(consumer.lines("Message from")) == 2, what="both processed")
    assert client.xlen(f"{prefix}-login") == 2
