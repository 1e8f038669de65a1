"""The move from two published consumers to one pool, and the way back, under load, as the how-to describes them."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from tests.acceptance.service import ConsumerProcess, Event, Service
from tests.support.waiting import wait_until

# The first test in a run may have to wait for the installation.
pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]

LOGIN = "org.openedx.learning.auth.session.login.completed.v1"
TOPIC = "all"
NAMES = ("c1", "c2")

# More than two consumers handle while a sender starts, so that there is always a backlog.
AT_ONCE = 100


class Load:
    """
    Sends events, a hundred after the other.

    Attributes:
        sent: events that are in the stream.
    """

    def __init__(self, service: Service) -> None:
        self.sent: list[Event] = []
        self._service = service
        self._stop = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._send)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def wait_for_more(self) -> None:
        before = len(self.sent)
        wait_until(lambda: len(self.sent) >= before + 2 * AT_ONCE, timeout=60, what="more events")

    def _send(self) -> None:
        while not self._stop.is_set():
            events = [Event(LOGIN, len(self.sent) + number, order="sleep:0.02") for number in range(AT_ONCE)]
            self._service.send(TOPIC, events)
            self.sent += events


def published(service: Service) -> list[ConsumerProcess]:
    """Start one published consumer for each name."""
    return [service.consume(TOPIC, consumer_name=name, check_backlog=True).wait_running() for name in NAMES]


def pending(client: redis.Redis, stream: str) -> dict[str, int]:
    """Return how many entries each consumer has pending, by its name."""
    return {each["name"].decode(): each["pending"] for each in client.xinfo_consumers(stream, "group")}


def test_the_move_and_the_way_back_lose_nothing(
    ours: Service, theirs: Service, client: redis.Redis, prefix: str
) -> None:
    """Each event is handled, those that a published consumer had in hand when it was ended perhaps twice."""
    stream, load = f"{prefix}-{TOPIC}", Load(theirs)
    with load.running():
        before = published(theirs)
        load.wait_for_more()

        pool = ours.consume(
            TOPIC, consumer_name="c1", workers=2, check_backlog=True, claim_msgs_older_than=1000
        ).wait_running(2)
        for consumer in before:
            consumer.stop()
        wait_until(lambda: not any(pending(client, stream)[name] for name in NAMES), timeout=60, what="all taken over")
        load.wait_for_more()
        assert pool.stop() == 0
        assert not any(pending(client, stream).values())

        published(theirs)
        load.wait_for_more()

    def handled() -> Counter[str]:
        return Counter(event.id for service in (ours, theirs) for event in service.handled())

    wait_until(lambda: handled().keys() >= {event.id for event in load.sent}, timeout=60, what="all handled")
    assert handled().keys() == {event.id for event in load.sent}
    assert handled().total() - len(load.sent) <= len(before)
    assert len({event.pid for event in ours.handled()}) == 2
    assert {event.pid for event in theirs.handled()} > {consumer.process.pid for consumer in before}


def test_the_way_back_after_a_kill_finds_what_was_in_hand(
    ours: Service, theirs: Service, client: redis.Redis, prefix: str
) -> None:
    """A published consumer takes over, with claim_msgs_older_than, what a killed pool had in hand under its names."""
    pool = ours.consume(TOPIC, consumer_name="c1", workers=2, check_backlog=True).wait_running(2)
    (in_hand,) = events = [Event(LOGIN, 0, order=ours.order_to_wait())]
    ours.send(TOPIC, events)
    wait_until(ours.waiting, what="an event in hand")
    pool.process.kill()
    pool.process.wait()
    ours.wait_no_longer()
    assert sum(pending(client, f"{prefix}-{TOPIC}").values()) == 1

    theirs.consume(TOPIC, consumer_name="c1", check_backlog=True, claim_msgs_older_than=10)

    theirs.wait_handled(1)
    assert [event.id for event in theirs.handled()] == [in_hand.id]
