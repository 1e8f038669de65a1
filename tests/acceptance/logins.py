"""Logins that services send to one topic and handle in one group."""

import redis

from tests.acceptance.service import Event, Handled, Service
from tests.support.waiting import wait_until

LOGIN = "org.openedx.learning.auth.session.login.completed.v1"
TOPIC = "all"


def logins(count: int, order: str | None = None, first: int = 0) -> list[Event]:
    """Return so many events, from a number on; ``order`` is what their receivers shall do."""
    return [Event(LOGIN, number, order=order) for number in range(first, first + count)]


def ids(events: list[Event] | list[Handled]) -> list[str]:
    """Return the ids of events, sorted."""
    return sorted(event.id for event in events)


def pending(client: redis.Redis, stream: str) -> int:
    """Return how many entries are pending in the group."""
    return client.xpending(stream, "group")["pending"]


def leave_one_pending(service: Service) -> None:
    """Kill a consumer that has an event in hand."""
    consumer = service.consume(TOPIC, check_backlog=True).wait_running()
    service.send(TOPIC, logins(1, service.order_to_wait()))
    wait_until(service.waiting, what="an event in hand")
    consumer.process.kill()
    consumer.process.wait()
    service.wait_no_longer()
