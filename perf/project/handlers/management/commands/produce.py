"""Sends events with whichever package is installed."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from handlers.events import SIGNAL, TOPIC, enrollment
from openedx_events.data import EventsMetadata

import edx_event_bus_redis

# Of event data.
DISTINCT = 1000


class Command(BaseCommand):
    """``produce COUNT`` sends one by one, ``produce COUNT --many`` all with the producer's bulk call."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("count", type=int)
        parser.add_argument("--many", action="store_true")

    def handle(self, *_: Any, count: int, many: bool, **__: Any) -> None:
        """Send."""
        producer = edx_event_bus_redis.create_producer()
        # All that is not sending is done before the first event is sent.
        data = [enrollment(number) for number in range(DISTINCT)]
        metadata = [EventsMetadata(SIGNAL.event_type) for _ in range(count)]
        events = (
            {
                "signal": SIGNAL,
                "topic": TOPIC,
                "event_data": data[number % DISTINCT],
                "event_metadata": metadata[number],
            }
            for number in range(count)
        )
        if many:
            producer.send_many(edx_event_bus_redis.OutgoingEvent(**event) for event in events)
            return
        for event in events:
            producer.send(event_key_field="enrollment.course.course_key", **event)
