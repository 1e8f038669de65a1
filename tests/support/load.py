"""A producer that sends events the whole time."""

import threading
import time
from typing import Self

from edx_event_bus_redis.internal.errors import ServerError
from edx_event_bus_redis.internal.producer import RedisEventProducer
from tests.support.events import SIGNAL, TOPIC, login_data
from tests.support.waiting import wait_until


def deliver(producer: RedisEventProducer, topic: str = TOPIC, order: str = "ok") -> str:
    """Send an event; return its id. Raises what the producer's ``deliver`` does."""
    return _delivered(producer, topic, order)[0]


def _delivered(producer: RedisEventProducer, topic: str, order: str) -> tuple[str, bytes]:
    metadata = SIGNAL.generate_signal_metadata()
    entry_id = producer.deliver(
        signal=SIGNAL, topic=topic, event_key_field="", event_data=login_data(order=order), event_metadata=metadata
    )
    return str(metadata.id), entry_id


class Load:
    """
    Sends events on a thread of its own, from entry to exit as a context manager. A failure is not tried again.

    Arguments:
        url: of the server.
        order: what the receiver is told.
        pause: seconds between two events.

    Attributes:
        taken: the events that the server said it has: their entries' ids by their own, in order.
        longest_gap: seconds between two of them, at the most.
    """

    def __init__(self, url: str, order: str = "ok", pause: float = 0.005) -> None:
        self.taken: dict[str, bytes] = {}
        self.longest_gap = 0.0
        self._order = order
        self._pause = pause
        self._producer = RedisEventProducer(url)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more are taken."""
        enough = len(self.taken) + count
        wait_until(lambda: len(self.taken) >= enough, what=f"{count} more events are taken")

    def _run(self) -> None:
        before = time.monotonic()
        while not self._stop.wait(self._pause):
            try:
                event_id, entry_id = _delivered(self._producer, TOPIC, self._order)
            except ServerError:
                continue
            self.taken[event_id] = entry_id
            now = time.monotonic()
            self.longest_gap, before = max(self.longest_gap, now - before), now
