"""
This package and the published one take each other's place, on one stream and in one group.

Both are run by the same small service, each with its own Python; ``theirs`` uses the published package.
"""

import json
import re
from typing import Any

import pytest
import redis

from tests.acceptance.logins import LOGIN, TOPIC, ids, leave_one_pending, logins, pending
from tests.acceptance.service import Event, Service, events_of_every_signal, matching
from tests.support.waiting import wait_until

# The first test in a run may have to wait for the installation.
pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]

FIELDS = [b"type", b"id", b"source", b"time", b"minorversion", b"sourcehost", b"sourcelib", b"event_data"]


def entries(client: redis.Redis, stream: str) -> list[list[tuple[bytes, bytes]]]:
    return [list(fields.items()) for _, fields in client.xrange(stream)]


def check_handled(service: Service, events: list[Event]) -> None:
    """Check that a service handles these events, in their order, as they were made up."""
    handled = service.wait_handled(len(events))
    for event, got in zip(events, handled, strict=True):
        assert (got.metadata, got.data) == event.described(), event


def test_both_producers_write_the_same_entries(
    ours: Service, theirs: Service, client: redis.Redis, prefix: str
) -> None:
    """For one event of any signal, both producers append the same eight fields, in one order, with equal bytes."""
    events = events_of_every_signal()

    ours.send("ours", events)
    theirs.send("theirs", events)

    written = entries(client, f"{prefix}-theirs")
    assert [[name for name, _ in entry] for entry in written] == [FIELDS] * len(events)
    assert entries(client, f"{prefix}-ours") == written


def test_our_consumer_handles_what_the_published_producer_sent(ours: Service, theirs: Service) -> None:
    """Events of all signals that the published producer sent reach our receivers with equal data and metadata."""
    events = events_of_every_signal()
    theirs.send(TOPIC, events)

    ours.consume(TOPIC, check_backlog=True)

    check_handled(ours, events)


def test_the_published_consumer_handles_what_our_producer_sent(ours: Service, theirs: Service) -> None:
    """Events of all signals that our producer sent reach the published one's receivers with equal data and metadata."""
    events = events_of_every_signal()
    ours.send(TOPIC, events)

    theirs.consume(TOPIC, check_backlog=True)

    check_handled(theirs, events)


def test_both_share_one_group(ours: Service, theirs: Service, client: redis.Redis, prefix: str) -> None:
    """A published consumer and a pool of two in one group handle each event exactly once, and all take part."""
    theirs.consume(TOPIC, consumer_name="published", check_backlog=True).wait_running()
    ours.consume(TOPIC, consumer_name="pool", workers=2, check_backlog=True).wait_running(2)
    events = logins(600, "sleep:0.005")

    ours.send(TOPIC, events[::2])
    theirs.send(TOPIC, events[1::2])

    wait_until(lambda: len(ours.handled()) + len(theirs.handled()) >= len(events), what="all events handled")
    wait_until(lambda: pending(client, f"{prefix}-{TOPIC}") == 0, what="nothing pending")
    assert ids(ours.handled() + theirs.handled()) == ids(events)
    assert len({event.pid for event in ours.handled()}) == 2
    assert theirs.handled()


def test_a_pool_that_joins_a_published_consumer_skips_nothing(
    ours: Service, theirs: Service, client: redis.Redis, prefix: str
) -> None:
    """A pool that is started, without check_backlog, next to a busy published consumer leaves its backlog in place."""
    theirs.consume(TOPIC, consumer_name="published", check_backlog=True).wait_running()
    (in_hand,), backlog = logins(1, theirs.order_to_wait()), logins(200, first=1)
    theirs.send(TOPIC, [in_hand, *backlog])
    wait_until(theirs.waiting, what="an event in hand")

    pool = ours.consume(TOPIC, consumer_name="pool", workers=2)

    ours.wait_handled(len(backlog))
    theirs.wait_no_longer()
    theirs.wait_handled(1)
    wait_until(lambda: pending(client, f"{prefix}-{TOPIC}") == 0, what="nothing pending")
    assert ids(theirs.handled()) == [in_hand.id]
    assert ids(ours.handled()) == ids(backlog)
    assert "has live consumers (published)" in pool.log


def test_an_upgrade_loses_no_event_in_hand(ours: Service, theirs: Service, client: redis.Redis, prefix: str) -> None:
    """What a killed published consumer had in hand is handled first by our consumer of the same name."""
    check_succession(theirs, ours, client, f"{prefix}-{TOPIC}")


def test_a_way_back_loses_no_event_in_hand(ours: Service, theirs: Service, client: redis.Redis, prefix: str) -> None:
    """What our killed consumer had in hand is handled first by a published consumer of the same name."""
    check_succession(ours, theirs, client, f"{prefix}-{TOPIC}")


def check_succession(before: Service, after: Service, client: redis.Redis, stream: str) -> None:
    leave_one_pending(before)
    after.send(TOPIC, logins(1, first=1))

    after.consume(TOPIC, check_backlog=True)

    after.wait_handled(2)
    wait_until(lambda: pending(client, stream) == 0, what="nothing pending")
    assert [event.id for event in after.handled()] == [event.id for event in logins(2)]


def test_a_pool_claims_what_a_published_consumer_left(
    ours: Service, theirs: Service, client: redis.Redis, prefix: str
) -> None:
    """With claim_msgs_older_than, a pool takes over what a killed published consumer of another name had in hand."""
    leave_one_pending(theirs)

    ours.consume(TOPIC, consumer_name="pool", workers=2, check_backlog=True, claim_msgs_older_than=100)

    ours.wait_handled(1)
    wait_until(lambda: pending(client, f"{prefix}-{TOPIC}") == 0, what="nothing pending")
    assert ids(ours.handled()) == ids(logins(1))


def test_both_consumers_log_the_same_lines(ours: Service, theirs: Service) -> None:
    """Consumers of one name log one event in the same words, but for its time, which we give in milliseconds."""
    events = [*logins(3), Event(LOGIN, 3, order="raise:something"), Event(LOGIN, 4)]
    theirs.send(TOPIC, events)

    their_log = log_of_consuming(theirs, 4)
    our_log = log_of_consuming(ours, 4)

    assert matching(our_log, "Running") == matching(their_log, "Running") != []
    received = [
        re.sub(r"(?<=event_timestamp_ms=)\S+$", in_ms, line) for line in matching(their_log, "Message received")
    ]
    assert len(received) == 5
    assert re.fullmatch(
        r"INFO edx_event_bus_redis\.internal\.consumer: Message received from Redis: topic=\w+-all, "
        r"message_id=[0-9a-f-]{36}, redis_msg_id=b'\d+-\d+', event_timestamp_ms=1772600767000",
        received[0],
    )
    assert matching(our_log, "Message received") == received
    assert matching(our_log, "Message from") == matching(their_log, "Message from")
    assert len(matching(our_log, "Message from")) == 4
    (our_error,), (their_error,) = (matching(log, "Error consuming") for log in (our_log, their_log))
    assert without_data(our_error) == without_data(their_error)


def log_of_consuming(service: Service, count: int) -> str:
    """Return the log of a consumer that replays the stream and handles so many of its events."""
    consumer = service.consume(TOPIC, last_read_msg_id="0").wait_running()
    service.wait_handled(count)
    wait_until(lambda: len(consumer.lines("Message from")) == count, what="the last event's line")
    consumer.stop()
    return consumer.log


def in_ms(seconds: re.Match[str]) -> str:
    return str(round(float(seconds.group()) * 1000))


def without_data(line: str) -> tuple[str, ...]:
    """Return what a line about an event that failed says; theirs also quotes its exception and its data."""
    found = re.fullmatch(
        r"(ERROR [\w.]+: Error consuming event from Redis: ReceiverError\().(.*: recorder\.apps\.receive=ValueError).*"
        r"( in context .* -- event details: ).*",
        line,
    )
    assert found, line
    return found.groups()


def test_both_producers_log_the_same_line(ours: Service, theirs: Service) -> None:
    """Producers log one event in the same words, but for the id of its entry."""
    lines = [
        re.sub(r"b'\d+-\d+'", "b'…'", line)
        for service in (ours, theirs)
        for line in matching(service.send(TOPIC, logins(1)), "Message delivered")
    ]

    assert len(lines) == 2
    assert lines[0] == lines[1]
    assert lines[0].endswith(f"signal=<OpenEdxPublicSignal: {LOGIN}>, redis_msg_id=b'…'")


def test_both_keep_quiet_without_audit_logging(ours: Service, theirs: Service) -> None:
    """With the audit log switched off, neither package logs a line for an event."""
    quiet = {"EVENT_BUS_REDIS_AUDIT_LOGGING_ENABLED": False}
    for service in (ours, theirs):
        topic = service.directory.name
        assert not matching(service.send(topic, logins(1), **quiet), "Message")
        consumer = service.consume(topic, settings=quiet, check_backlog=True)
        service.wait_handled(1)
        consumer.stop()
        assert consumer.lines("Running")
        assert not consumer.lines("Message")


def test_both_leave_at_once_when_consumers_are_disabled(ours: Service, theirs: Service) -> None:
    """With consumers disabled, both packages say so in one and the same line and end with status 0."""
    logs = []
    for service in (ours, theirs):
        consumer = service.consume(TOPIC, settings={"EVENT_BUS_REDIS_CONSUMERS_ENABLED": False}, check_backlog=True)
        assert consumer.process.wait(30) == 0
        logs.append(consumer.lines("Redis consumers not enabled, exiting."))

    assert logs[0] == logs[1]
    assert len(logs[0]) == 1


def test_both_commands_produce_the_same_event(ours: Service, theirs: Service, client: redis.Redis, prefix: str) -> None:
    """One command line of produce_event appends the same entry with both packages, but for the event's id and time."""
    data = (
        '{"user": {"id": 7, "is_active": true, "pii": {"username": "ada", "email": "ada@example.org", "name": "Ada"}}}'
    )
    written = []
    for service in (ours, theirs):
        options = ["--topic", service.directory.name, "--key-field", "user.pii.username", "--data", data]
        path = "openedx_events.learning.signals.SESSION_LOGIN_COMPLETED"
        done = service.run("manage.py", "produce_event", "--signal", path, *options)
        assert done.returncode == 0, done.stderr
        (entry,) = entries(client, f"{prefix}-{service.directory.name}")
        written.append([(name, value) for name, value in entry if name not in (b"id", b"time")])

    assert written[0] == written[1]
    assert len(written[0]) == len(FIELDS) - 2


TELEMETRY = {"OPENEDX_TELEMETRY": ["recorder.telemetry.Telemetry"]}


def test_both_consumers_tell_the_monitoring_system_the_same(ours: Service, theirs: Service) -> None:
    """For an event that is handled and one that fails, both consumers set the same attributes to the same values."""
    events = [Event(LOGIN, 0, order="raise:something"), Event(LOGIN, 1)]
    theirs.send(TOPIC, events)

    our_telemetry, their_telemetry = (told_by_consuming(service, events[-1]) for service in (ours, theirs))

    assert our_telemetry == their_telemetry
    assert {name for name, _ in our_telemetry} == {
        "redis_stream",
        "redis_consumer_group",
        "redis_consumer_name",
        "redis_msg_id",
        "id",
        "event_type",
        "redis_error_fatal",
        "EventConsumptionException",
    }


def told_by_consuming(service: Service, last: Event) -> set[tuple[str, str]]:
    """Return the attributes, with their values, and the exceptions that are recorded when the stream is replayed."""
    consumer = service.consume(TOPIC, settings=TELEMETRY, last_read_msg_id="0")

    def told() -> set[tuple[str, str]]:
        # Of the entry's id theirs gives the representation, which is one of bytes.
        return {(name, value.removeprefix("b'").removesuffix("'")) for name, value in service.telemetry()}

    wait_until(lambda: ("id", last.id) in told(), what="the last event told")
    consumer.stop()
    return told()


def test_both_producers_tell_the_monitoring_system_the_same(ours: Service, theirs: Service) -> None:
    """An event that cannot be sent is recorded and logged under one name by both, and does not disturb the caller."""
    nowhere = {"EVENT_BUS_REDIS_CONNECTION_URL": "redis://127.0.0.1:1/", **TELEMETRY}

    logs = [service.send(TOPIC, logins(1), **nowhere) for service in (ours, theirs)]

    assert ours.telemetry() == theirs.telemetry() == [("EventProductionException", "")]
    for log in logs:
        (line,) = matching(log, "Error delivering message to Redis event bus. error=")
        assert line.startswith("ERROR edx_event_bus_redis.internal.producer: ")
        assert f"initial_topic='{TOPIC}'" in line


def test_both_trim_a_stream_alike(ours: Service, theirs: Service, client: redis.Redis, prefix: str) -> None:
    """EVENT_BUS_REDIS_STREAM_MAX_LEN, also given as text, leaves streams of equal length behind."""
    for service in (ours, theirs):
        service.send(service.directory.name, logins(350), EVENT_BUS_REDIS_STREAM_MAX_LEN="100")

    lengths = [client.xlen(f"{prefix}-{name}") for name in ("ours", "theirs")]
    assert lengths[0] == lengths[1]
    assert 100 <= lengths[0] < 350


SETUP = 'import os, django\nos.environ["DJANGO_SETTINGS_MODULE"] = "settings"\ndjango.setup()\n'

INTERFACE = """
import inspect, json, edx_event_bus_redis as bus
objects = {name: getattr(bus, name) for name in dir(bus)}
print(json.dumps({
    "names": [name for name, each in objects.items() if str(getattr(each, "__module__", "")).startswith(bus.__name__)],
    "parameters": list(inspect.signature(bus.RedisEventConsumer).parameters),
    "send": sorted(inspect.signature(bus.create_producer().send).parameters),
}))
"""


def interface(service: Service) -> dict[str, Any]:
    done = service.run("-c", SETUP + INTERFACE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_interface_has_all_of_the_published_one(ours: Service, theirs: Service) -> None:
    """All names of the published package can be imported, and its constructor and method take the same arguments."""
    old, new = interface(theirs), interface(ours)

    assert set(old["names"]) <= set(new["names"])
    assert old["send"] == new["send"]
    # By position, too.
    assert new["parameters"][: len(old["parameters"])] == old["parameters"]


WITHOUT_URL = """
import warnings
from edx_event_bus_redis import create_producer
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    print(create_producer(), *[f"{each.category.__name__}: {each.message}" for each in caught])
"""


def test_without_a_url_there_is_no_producer_but_a_warning(ours: Service, theirs: Service) -> None:
    """Without EVENT_BUS_REDIS_CONNECTION_URL, create_producer() returns None and warns in the same words."""
    said = []
    for service in (ours, theirs):
        done = service.run("-c", SETUP + WITHOUT_URL, EVENT_BUS_REDIS_CONNECTION_URL=None)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)

    assert said[0] == said[1]
    assert said[0].startswith("None UserWarning: ")
