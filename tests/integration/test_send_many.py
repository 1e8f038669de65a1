"""``send_many``: what is in the streams, and what its caller is told, whatever goes wrong in the middle."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import redis
from django.test import override_settings
from opaque_keys.edx.keys import CourseKey
from openedx_events.learning.data import CourseData, CourseEnrollmentData, UserData, UserPersonalData
from openedx_events.learning.signals import COURSE_ENROLLMENT_CREATED

from devtools.server import EmbeddedServer
from edx_event_bus_redis import EventsNotDelivered, OutgoingEvent, create_producer
from edx_event_bus_redis.internal.errors import ConfigurationError, ServerError, ServerUnavailable
from edx_event_bus_redis.internal.outgoing import Delivered
from edx_event_bus_redis.internal.producer import RedisEventProducer
from tests.support.events import SIGNAL, TOPIC, login_data
from tests.support.severing import SeverableWay

# Events of a full chunk.
CHUNK = 100


def made(url: str, prefix: str) -> Iterator[RedisEventProducer]:
    with override_settings(EVENT_BUS_REDIS_CONNECTION_URL=url, EVENT_BUS_TOPIC_PREFIX=prefix):
        producer = create_producer()
        assert producer is not None
        yield producer


@pytest.fixture
def producer(url: str, prefix: str) -> Iterator[RedisEventProducer]:
    yield from made(url, prefix)


@pytest.fixture
def own_producer(own_server: EmbeddedServer, prefix: str) -> Iterator[RedisEventProducer]:
    yield from made(own_server.url, prefix)


def login(number: int, topic: str = TOPIC, **data: Any) -> OutgoingEvent:
    return OutgoingEvent(signal=SIGNAL, topic=topic, event_data=data or login_data(number))


def logins(count: int) -> list[OutgoingEvent]:
    return [login(number) for number in range(count)]


def enrollment(topic: str) -> OutgoingEvent:
    pii = UserPersonalData(username="ada", email="ada@example.org", name="Ada")
    enrolled = CourseEnrollmentData(
        user=UserData(id=7, is_active=True, pii=pii),
        course=CourseData(course_key=CourseKey.from_string("course-v1:edX+DemoX+2026"), display_name="Demo"),
        mode="audit",
        is_active=True,
        creation_date=SIGNAL.generate_signal_metadata().time,
    )
    return OutgoingEvent(signal=COURSE_ENROLLMENT_CREATED, topic=topic, event_data={"enrollment": enrolled})


def ids(events: Iterable[OutgoingEvent]) -> list[str]:
    return [str(event.event_metadata.id) for event in events]


def stored(client: redis.Redis, stream_name: str) -> list[str]:
    """Event ids in a stream, in its order."""
    return [fields[b"id"].decode() for _, fields in client.xrange(stream_name)]


class Notes(list[Delivered]):
    """What a caller notes of how far it has come."""

    def __call__(self, chunk: Iterable[Delivered]) -> None:
        self.extend(chunk)

    @property
    def ids(self) -> list[str]:
        return ids(event for event, _ in self)


def test_all_events_are_in_their_streams_in_their_order(
    producer: RedisEventProducer, client: redis.Redis, prefix: str, stream_name: str
) -> None:
    """Events of several signals and topics, mixed, are where send() would have put them, and each stream in order."""
    events = [enrollment("enrolled") if number % 3 else login(number) for number in range(1000)]
    notes = Notes()

    try:
        assert producer.send_many((event for event in events), on_delivered=notes) == 1000

        enrolled = f"{prefix}-enrolled"
        assert stored(client, stream_name) == ids(event for event in events if event.topic == TOPIC)
        assert stored(client, enrolled) == ids(event for event in events if event.topic == "enrolled")
        assert notes.ids == ids(events)
        for topic, stream in ((TOPIC, stream_name), ("enrolled", enrolled)):
            entries = [entry_id for event, entry_id in notes if event.topic == topic]
            assert entries == [entry_id for entry_id, _ in client.xrange(stream)]
    finally:
        client.delete(f"{prefix}-enrolled")


def test_an_entry_is_the_same_as_by_send(producer: RedisEventProducer, client: redis.Redis, stream_name: str) -> None:
    """Fields and their order are those of send()."""
    event = login(7)
    producer.send(
        signal=event.signal,
        topic=event.topic,
        event_key_field=event.event_key_field,
        event_data=event.event_data,
        event_metadata=event.event_metadata,
    )
    producer.send_many([event])

    (_, one), (_, many) = client.xrange(stream_name)
    assert list(one.items()) == list(many.items())


def test_a_chunk_is_one_round_trip(own_producer: RedisEventProducer, own_server: EmbeddedServer) -> None:
    """Many events reach the server in few pieces, which is where the time goes otherwise."""
    client = own_server.client()
    before = client.info("stats")["total_reads_processed"]

    own_producer.send_many(logins(1000))

    assert client.info("stats")["total_reads_processed"] - before < 100


def test_no_events_are_no_work(producer: RedisEventProducer, client: redis.Redis, stream_name: str) -> None:
    """Nothing to send is nothing to complain about."""
    assert producer.send_many(iter(())) == 0
    assert client.exists(stream_name) == 0


@pytest.mark.parametrize(("size", "ahead"), [(10, CHUNK), (100_000, 4)])
def test_few_events_are_held_in_memory(
    producer: RedisEventProducer, client: redis.Redis, stream_name: str, size: int, ahead: int
) -> None:
    """A generator is asked for no more than a chunk, of a number of events and of bytes, before these are sent."""
    notes = Notes()

    def events() -> Iterator[OutgoingEvent]:
        for number in range(250):
            assert number - len(notes) < ahead
            yield login(number, **login_data(number, "x" * size))

    assert producer.send_many(events(), on_delivered=notes) == 250


def test_the_stream_is_trimmed(producer: RedisEventProducer, client: redis.Redis, stream_name: str) -> None:
    """The stream keeps about EVENT_BUS_REDIS_STREAM_MAX_LEN entries, the newest, as the setting is at the time."""
    events = logins(500)
    with override_settings(EVENT_BUS_REDIS_STREAM_MAX_LEN=100):
        producer.send_many(events)

    left = stored(client, stream_name)
    assert 100 <= len(left) <= 200
    assert left == ids(events)[-len(left) :]


def test_each_delivery_is_logged_if_wanted(
    producer: RedisEventProducer, client: redis.Redis, stream_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The audit log has the same line for each event as by send(), and none if it is switched off."""
    caplog.set_level(logging.INFO)
    events = logins(3)

    producer.send_many(events)

    lines = [line for line in caplog.messages if line.startswith("Message delivered to Redis event bus: ")]
    assert lines == [
        f"Message delivered to Redis event bus: topic={stream_name}, message_id={event.event_metadata.id}, "
        f"signal={SIGNAL}, redis_msg_id={entry_id}"
        for event, (entry_id, _) in zip(events, client.xrange(stream_name), strict=True)
    ]
    caplog.clear()
    with override_settings(EVENT_BUS_REDIS_AUDIT_LOGGING_ENABLED=False):
        producer.send_many(events)
    assert caplog.messages == []


def failures_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Event ids of the log lines about events that were not delivered."""
    lines = [line for line in caplog.messages if line.startswith("Error delivering message to Redis event bus. ")]
    return [json.loads(line.partition(" event_metadata=")[2])["id"] for line in lines]


def test_a_bad_event_neither_stops_nor_loses_the_others(
    producer: RedisEventProducer, client: redis.Redis, stream_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Events whose data does not fit are named, with the reason, and logged with their data; all others are sent."""
    events = logins(250)
    events[3], events[170] = login(3, usher="Ada Lovelace"), login(170, user=None)
    notes = Notes()

    with pytest.raises(EventsNotDelivered) as raised:
        producer.send_many(events, on_delivered=notes)

    good = ids(event for number, event in enumerate(events) if number not in {3, 170})
    assert stored(client, stream_name) == notes.ids == good
    error = raised.value
    assert [failure.position for failure in error.failures] == [3, 170]
    assert [failure.event for failure in error.failures] == [events[3], events[170]]
    assert not any(failure.uncertain for failure in error.failures)
    assert (error.taken, error.delivered) == (250, 248)
    assert str(error).startswith("of 250 events taken 2 were not delivered; the first is number 3 (counted from 0, id ")
    assert failures_in(caplog) == ids([events[3], events[170]])
    assert "Ada Lovelace" in caplog.text


def test_a_back_fill_that_is_wrong_altogether_does_not_fill_the_log(
    producer: RedisEventProducer, client: redis.Redis, stream_name: str
) -> None:
    """After 1000 events that do not fit it stops; what was good among them is sent, the rest is not touched."""
    source = iter([login(0), *(login(number, usher=number) for number in range(1500))])

    with pytest.raises(EventsNotDelivered) as raised:
        producer.send_many(source)

    assert (raised.value.taken, raised.value.delivered, client.xlen(stream_name)) == (1001, 1, 1)
    assert len(list(source)) == 500


def test_what_is_no_event_is_the_callers_error(
    producer: RedisEventProducer, client: redis.Redis, stream_name: str
) -> None:
    """Something else than an OutgoingEvent is refused by its type; what came before it is sent."""
    with pytest.raises(TypeError, match="takes instances of OutgoingEvent, not of dict"):
        producer.send_many([login(0), {}])  # type: ignore[list-item]

    assert client.xlen(stream_name) == 1


def test_a_generator_that_fails_loses_nothing(
    producer: RedisEventProducer, client: redis.Redis, stream_name: str
) -> None:
    """The error of where the events come from is passed on, after what was taken before it has been sent."""
    notes = Notes()

    def events() -> Iterator[OutgoingEvent]:
        yield from logins(130)
        raise LookupError("the database")

    with pytest.raises(LookupError, match="the database"):
        producer.send_many(events(), on_delivered=notes)

    assert stored(client, stream_name) == notes.ids
    assert len(notes) == 130


def test_a_caller_that_cannot_note_it_is_not_sent_for_any_further(
    producer: RedisEventProducer, client: redis.Redis, stream_name: str
) -> None:
    """An error of on_delivered is passed on, and nothing more is taken or sent."""
    source = iter(logins(250))

    def fail(_: object) -> None:
        raise LookupError("the database")

    with pytest.raises(LookupError, match="the database"):
        producer.send_many(source, on_delivered=fail)

    assert client.xlen(stream_name) == CHUNK
    assert len(list(source)) == 250 - CHUNK


def test_a_wrong_setting_is_raised_before_an_event_is_taken(producer: RedisEventProducer) -> None:
    """A setting that cannot work is an error for the caller here, who has not lost an event by it."""
    source = iter(logins(3))

    with (
        override_settings(EVENT_BUS_REDIS_STREAM_MAX_LEN="many"),
        pytest.raises(ConfigurationError, match="setting EVENT_BUS_REDIS_STREAM_MAX_LEN is 'many'"),
    ):
        producer.send_many(source)

    assert len(list(source)) == 3


def out_of_memory(client: redis.Redis, *, on: bool) -> None:
    client.config_set("maxmemory", 1 if on else 0)


def replica(client: redis.Redis, *, on: bool) -> None:
    client.replicaof(*("127.0.0.1", 1) if on else ("NO", "ONE"))


def without_replicas(client: redis.Redis, *, on: bool) -> None:
    client.config_set("min-replicas-to-write", 1 if on else 0)


@pytest.mark.parametrize("trouble", [out_of_memory, replica, without_replicas])
def test_a_server_that_refuses_ends_it_where_it_can_be_taken_up(
    own_server: EmbeddedServer,
    own_producer: RedisEventProducer,
    stream_name: str,
    caplog: pytest.LogCaptureFixture,
    trouble: Callable[..., None],
) -> None:
    """Each refused event is named as surely not sent; sending these and what was not touched leaves no gap."""
    client = own_server.client()
    events = logins(450)
    source, notes = iter(events), Notes()

    def note(chunk: Iterable[Delivered]) -> None:
        notes(chunk)
        if len(notes) == 200:
            trouble(client, on=True)

    with pytest.raises(EventsNotDelivered) as raised:
        own_producer.send_many(source, on_delivered=note)

    trouble(client, on=False)
    error = raised.value
    assert [failure.event for failure in error.failures] == events[200:300]
    assert all(isinstance(failure.error, ServerError) and not failure.uncertain for failure in error.failures)
    assert (error.taken, error.delivered) == (300, 200)
    assert failures_in(caplog) == ids(events[200:300])
    own_producer.send_many([failure.event for failure in error.failures])
    own_producer.send_many(source, on_delivered=notes)
    assert stored(client, stream_name) == ids(events)


def test_a_server_that_is_down_takes_no_event_along(
    own_server: EmbeddedServer, own_producer: RedisEventProducer, stream_name: str
) -> None:
    """Between two chunks nothing is uncertain: events that found no server are not sent, and nothing is sent twice."""
    events = logins(450)
    source, notes = iter(events), Notes()

    def note(chunk: Iterable[Delivered]) -> None:
        notes(chunk)
        if len(notes) == 200:
            own_server.kill()

    with pytest.raises(EventsNotDelivered) as raised:
        own_producer.send_many(source, on_delivered=note)

    own_server.restart()
    error = raised.value
    assert [failure.event for failure in error.failures] == events[200:300]
    assert all(isinstance(failure.error, ServerUnavailable) for failure in error.failures)
    assert not any(failure.uncertain for failure in error.failures)
    own_producer.send_many([*(failure.event for failure in error.failures), *source])
    assert stored(own_server.client(), stream_name) == ids(events)


def test_a_restart_between_two_chunks_is_not_noticed(
    own_server: EmbeddedServer, own_producer: RedisEventProducer, stream_name: str
) -> None:
    """A connection that was closed between two chunks is made anew, since nothing was sent on it."""
    events = logins(300)
    notes = Notes()

    def note(chunk: Iterable[Delivered]) -> None:
        notes(chunk)
        if len(notes) == 200:
            own_server.restart()

    assert own_producer.send_many(events, on_delivered=note) == 300
    assert stored(own_server.client(), stream_name) == ids(events)


@pytest.fixture
def way(own_server: EmbeddedServer) -> Iterator[SeverableWay]:
    made = SeverableWay(own_server.port)
    yield made
    made.close()


def test_a_connection_lost_in_a_chunk_leaves_the_decision_to_the_caller(
    own_server: EmbeddedServer,
    way: SeverableWay,
    prefix: str,
    stream_name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What had its reply is delivered, the rest of the chunk is uncertain and not sent again, the rest untouched."""
    events = logins(450)
    source, notes = iter(events), Notes()

    def note(chunk: Iterable[Delivered]) -> None:
        notes(chunk)
        if len(notes) == 200:
            # Of the replies to XADD each is two.
            way.sever_after(lines=60)

    for producer in made(f"redis://127.0.0.1:{way.port}/", prefix):
        with pytest.raises(EventsNotDelivered) as raised:
            producer.send_many(source, on_delivered=note)
        error = raised.value
        assert notes.ids == ids(events[:230])
        assert [failure.event for failure in error.failures] == events[230:300]
        assert all(failure.uncertain for failure in error.failures)
        assert "70 of which may be in the stream all the same" in str(error)
        assert failures_in(caplog) == ids(events[230:300])
        # This time the server has them all, and it was sent them once.
        client = own_server.client()
        assert stored(client, stream_name) == ids(events[:300])
        producer.send_many(source)
        assert stored(client, stream_name) == ids(events)


def test_a_server_that_hangs_is_given_up(
    own_server: EmbeddedServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The time-out, here that of the URL, ends it; what was sent is uncertain."""
    notes = Notes()
    for producer in made(f"{own_server.url}?socket_timeout=0.5", prefix):

        def note(chunk: Iterable[Delivered]) -> None:
            notes(chunk)
            own_server.freeze()

        with pytest.raises(EventsNotDelivered) as raised:
            producer.send_many(logins(300), on_delivered=note)
    own_server.thaw()

    assert len(notes) == CHUNK
    assert [failure.uncertain for failure in raised.value.failures] == [True] * CHUNK
    assert "the event may be in its stream all the same" in caplog.text


def test_an_event_that_is_sent_again_is_known_by_its_id(
    producer: RedisEventProducer, client: redis.Redis, stream_name: str
) -> None:
    """The metadata that an OutgoingEvent makes is made once, so that a repeat can be told from another event."""
    event = login(0)

    producer.send_many([event])
    producer.send_many([event])

    assert len(set(stored(client, stream_name))) == 1
    assert len(set(ids([login(0), login(0)]))) == 2


def test_no_payload_is_where_it_would_be_printed(producer: RedisEventProducer) -> None:
    """Neither the error nor an event shows event data, which is in the log line alone."""
    event = login(0, usher="Ada")

    with pytest.raises(EventsNotDelivered) as raised:
        producer.send_many([event])

    assert "Ada" not in f"{raised.value!r} {raised.value} {event!r}"
