"""Dramatiq, with its default middleware; processes, threads and prefetch are the command line's and environment's."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from perf.peers.handling import URL, as_text, from_text, handle, new_message

QUEUE = "perf-dramatiq"

broker = RedisBroker(url=URL)
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=QUEUE)
def handle_event(header: dict[str, str], event_data: str) -> None:
    """Handle an event."""
    handle(header, from_text(event_data))


def enqueue(count: int) -> None:
    """Enqueue events."""
    for number in range(count):
        header, event_data = new_message(number)
        handle_event.send(header, as_text(event_data))
