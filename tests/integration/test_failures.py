"""Events that cannot be handled, and workers that keep failing."""

import re
from importlib.util import find_spec
from typing import Any

import pytest
import redis

from tests.support.events import add_logins, login_fields
from tests.support.receivers import SECRET
from tests.support.waiting import wait_until

BACKENDS = pytest.mark.skipif(
    find_spec("edx_django_utils.monitoring.internal.backends") is None,
    reason="this version of edx-django-utils has no back ends to choose from",
)

ERROR = "Error consuming event from Redis: "


@pytest.mark.parametrize("workers", [None, 2])
def test_a_failing_receiver_is_logged_and_acknowledged(
    consume: Any, client: redis.Redis, stream_name: str, workers: int | None
) -> None:
    """A receiver that raises costs its event, not the others; the log says which, and none of its data."""
    consumer = consume(workers=workers).wait_running(workers or 1)
    add_logins(client, stream_name, 1, "raise")
    consumer.wait_handled(len(add_logins(client, stream_name, 3)))

    wait_until(lambda: client.xpending(stream_name, "group")["pending"] == 0, what="nothing pending")
    (line,) = [line for line in consumer.log.splitlines() if ERROR in line]
    assert "ReceiverError" in line
    assert "tests.support.receivers.connect.<locals>.receive=ValueError" in line
    assert f"full_topic='{stream_name}', consumer_group='group'" in line
    assert re.search(r"event details: .*entry_id=b'\d+-\d+'.* id=[0-9a-f-]{36}", line)
    assert SECRET not in line


def test_a_receiver_that_exits_is_a_failing_receiver(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A receiver that calls sys.exit() does not end the consumer."""
    consumer = consume().wait_running()
    add_logins(client, stream_name, 1, "leave:3")

    consumer.wait_handled(len(add_logins(client, stream_name, 1)))

    assert "SystemExit was raised when handling signal" in consumer.log
    assert consumer.stop() == 0


def garbage() -> list[list[bytes]]:
    """Entries that no consumer can make an event of."""
    good = login_fields()
    data = good.index(b"event_data") + 1

    def changed(field: bytes, value: bytes) -> list[bytes]:
        fields = list(good)
        fields[fields.index(field) + 1] = value
        return fields

    return [
        [b"a", b"b"],
        [b"", b""],
        good[:data],
        good[2:],
        [*good[:data], b""],
        [*good[:data], good[data][:-3]],
        [*good[:data], b"\xff" * 400],
        changed(b"type", b"org.openedx.no.such.type.v1"),
        changed(b"type", b"\xfe\xff"),
        changed(b"id", SECRET.encode()),
        changed(b"time", b"2026-11-23T17:20:00"),
        changed(b"sourcelib", b"one"),
        changed(b"minorversion", SECRET.encode()),
    ]


def append(client: redis.Redis, stream_name: str, entries: list[list[bytes]]) -> None:
    for fields in entries:
        # An odd number of fields is nothing that Redis takes.
        client.execute_command("XADD", stream_name, "*", *(fields if len(fields) % 2 == 0 else fields[:-1]))


def test_garbage_is_logged_acknowledged_and_passed(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """Entries that are no events cost one log line each, with their id and without their content."""
    consumer = consume().wait_running()
    append(client, stream_name, garbage())

    consumer.wait_handled(len(add_logins(client, stream_name, 2)))

    wait_until(lambda: client.xpending(stream_name, "group")["pending"] == 0, what="nothing pending")
    lines = [line for line in consumer.log.splitlines() if ERROR in line]
    assert len(lines) == len(garbage())
    assert all("UnusableMessageError" in line and re.search(r"b'\d+-\d+'", line) for line in lines)
    assert SECRET not in consumer.log
    assert "Traceback" not in consumer.log
    assert "event type 'org.openedx.no.such.type.v1' is not known to this service" in consumer.log


def test_a_consumer_leaves_at_its_limit_of_errors(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """Without workers the consumer leaves with status 1 when so many errors came in a row."""
    settings = {"EVENT_BUS_REDIS_CONSUMER_CONSECUTIVE_ERRORS_LIMIT": 3}
    consumer = consume(settings=settings).wait_running()
    add_logins(client, stream_name, 2, "raise")
    add_logins(client, stream_name, 1)
    add_logins(client, stream_name, 2, "raise")
    consumer.wait_handled(1)
    assert consumer.process.poll() is None

    append(client, stream_name, garbage()[:1])

    assert consumer.wait() == 1
    assert "Too many consecutive errors, exiting (3 in a row)" in consumer.log
    assert client.xpending(stream_name, "group")["pending"] == 0


def test_a_worker_at_its_limit_is_replaced_and_a_pool_of_them_gives_up(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """A worker that reaches the limit is replaced; when all of them keep reaching it the pool leaves with status 1."""
    settings = {"EVENT_BUS_REDIS_CONSUMER_CONSECUTIVE_ERRORS_LIMIT": 3}
    pool = consume(settings=settings, workers=2).wait_running(2)
    add_logins(client, stream_name, 60, "raise")

    assert pool.wait() == 1

    assert "died: too many consecutive errors; nothing in hand; replacement in 0.0 s" in pool.log
    assert "gave up after" in pool.log
    pending = client.xpending(stream_name, "group")["pending"]
    assert f"with {pending} entries left pending, 0 workers killed" in pool.log


def test_a_pool_that_only_crashes_gives_up(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """When every worker dies of every event the pool leaves with status 1, and its events stay pending."""
    pool = consume(workers=2).wait_running(2)
    add_logins(client, stream_name, 20, "exit:3")

    assert pool.wait(60) == 1

    assert "died: exit status 3; entry" in pool.log
    assert "gave up after" in pool.log
    assert client.xpending(stream_name, "group")["pending"] > 0
    assert pool.handled() == []


@BACKENDS
def test_a_broken_log_filter_costs_nothing(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A logging filter of the host that raises does not keep events from being handled, once each."""
    log = {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"broken": {"()": "tests.support.monitoring.BrokenFilter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "filters": ["broken"]}},
        "root": {"handlers": ["stderr"], "level": "INFO"},
    }
    consumer = consume(settings={"LOGGING": log}, workers=1).wait_running()

    handled = consumer.wait_handled(len(add_logins(client, stream_name, 5)))

    wait_until(lambda: client.xpending(stream_name, "group")["pending"] == 0, what="nothing pending")
    assert len(handled) == 5
    assert consumer.stop() == 0


@BACKENDS
@pytest.mark.parametrize("workers", [None, 1])
def test_a_broken_monitoring_system_costs_nothing(
    consume: Any, client: redis.Redis, stream_name: str, workers: int | None
) -> None:
    """A monitoring back end that raises is logged once; events are handled all the same."""
    settings = {"OPENEDX_TELEMETRY": ["tests.support.monitoring.BrokenBackend"]}
    consumer = consume(settings=settings, workers=workers).wait_running()
    add_logins(client, stream_name, 1, "raise")

    consumer.wait_handled(len(add_logins(client, stream_name, 3)))

    wait_until(lambda: client.xpending(stream_name, "group")["pending"] == 0, what="nothing pending")
    assert consumer.log.count("The monitoring system fails with AttributeError; this is said once") == 1
    assert consumer.stop() == 0


def test_a_wrongly_set_up_monitoring_system_costs_nothing(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A name where edx-django-utils wants a list of names makes it raise each time that it is asked."""
    settings = {"OPENEDX_TELEMETRY": "edx_django_utils.monitoring.NewRelicBackend"}
    consumer = consume(settings=settings).wait_running()

    consumer.wait_handled(len(add_logins(client, stream_name, 3)))

    assert consumer.stop() == 0


def test_one_crashing_event_does_not_stop_the_others(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A worker in a crash loop leaves the rest of the pool at work."""
    pool = consume(workers=2).wait_running(2)
    add_logins(client, stream_name, 1, "kill")

    pool.wait_handled(len(add_logins(client, stream_name, 200, "sleep:0.005")))

    assert "died: SIGKILL; entry" in pool.log
    assert pool.stop() == 0
