"""
Celery.

After its guide on optimizing: many short tasks want a large prefetch multiplier, no results, no events. Late
acknowledgement is what gives the guarantee that the others have, too.
"""

from __future__ import annotations

from celery import Celery

from perf.peers.handling import URL, as_text, from_text, handle, new_message

QUEUE = "perf-celery"

app = Celery(
    "perf",
    broker=URL,
    task_default_queue=QUEUE,
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=128,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="handle")  # type: ignore[untyped-decorator]
def handle_event(header: dict[str, str], event_data: str) -> None:
    """Handle an event."""
    handle(header, from_text(event_data))


def enqueue(count: int) -> None:
    """Enqueue events."""
    for number in range(count):
        header, event_data = new_message(number)
        handle_event.delay(header, as_text(event_data))
