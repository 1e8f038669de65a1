"""Monitoring systems get a span for each event that is consumed or produced."""

import logging
import re
from typing import Any

import pytest
import redis
from django.test import override_settings
from edx_django_utils.monitoring.internal.backends import TelemetryBackend
from openedx_events.data import EventsMetadata

from edx_event_bus_redis import OutgoingEvent, create_producer
from tests.support.events import SIGNAL, TOPIC, add_logins, login_data
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(
    not hasattr(TelemetryBackend, "create_span"),
    reason="in this version of edx-django-utils spans are New Relic's alone",
)

TELEMETRY = {"OPENEDX_TELEMETRY": ["tests.support.monitoring.LoggingBackend"]}


def told(log: str) -> list[str]:
    """What the monitoring system was told, but for attributes that are none of an event."""
    return re.findall(r"(span \S+ \w+(?: with \w+)?|attribute id=\S+)", log)


@pytest.mark.parametrize("workers", [None, 2])
def test_an_event_has_a_span_with_its_attributes(
    consume: Any, client: redis.Redis, stream_name: str, workers: int | None
) -> None:
    """In every process an event is one span, its receivers are one within it, and its attributes are set inside."""
    consumer = consume(settings=TELEMETRY, workers=workers).wait_running(workers or 1)

    (event_id,) = add_logins(client, stream_name, 1)

    consumer.wait_handled(1)
    wait_until(lambda: "span consumer.consume ends" in consumer.log, what="the end of the span")
    assert told(consumer.log) == [
        "span consumer.consume begins",
        f"attribute id={event_id}",
        "span consumer.emit_signals_from_message begins",
        "span consumer.emit_signals_from_message ends",
        "span consumer.consume ends",
    ]


def test_a_failure_is_one_of_its_span(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """The span of receivers that raised ends with the error, that of the event with its attributes set anew."""
    consumer = consume(settings=TELEMETRY).wait_running()

    (event_id,) = add_logins(client, stream_name, 1, "raise")

    wait_until(lambda: "span consumer.consume ends" in consumer.log, what="the end of the span")
    assert told(consumer.log) == [
        "span consumer.consume begins",
        f"attribute id={event_id}",
        "span consumer.emit_signals_from_message begins",
        "span consumer.emit_signals_from_message ends with ReceiverError",
        f"attribute id={event_id}",
        "span consumer.consume ends",
    ]


def test_what_is_sent_has_a_span(bus_settings: None, caplog: pytest.LogCaptureFixture) -> None:
    """A call of ``send`` is a span, and so is one of ``send_many``."""
    caplog.set_level(logging.INFO, logger="tests.support.monitoring")
    with override_settings(**TELEMETRY):
        producer = create_producer()
        assert producer is not None
        producer.send(
            signal=SIGNAL,
            topic=TOPIC,
            event_key_field="user.pii.username",
            event_data=login_data(1),
            event_metadata=EventsMetadata(event_type=SIGNAL.event_type),
        )
        producer.send_many([OutgoingEvent(signal=SIGNAL, topic=TOPIC, event_data=login_data(2))])

    assert told(caplog.text) == [
        "span producer.send begins",
        "span producer.send ends",
        "span producer.send_many begins",
        "span producer.send_many ends",
    ]
