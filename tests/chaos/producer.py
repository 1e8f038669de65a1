"""Sends events the whole time, and knows which entry each has become."""

from __future__ import annotations

import random
import threading
import time

import redis
from openedx_events.data import EventsMetadata

from edx_event_bus_redis.internal.client import make_client
from tests.chaos.books import Sent
from tests.chaos.plan import Plan
from tests.support.events import SIGNAL, login_fields

# What the receiver is told for each kind of event; {} is another number each time.
ORDERS = {
    "fast": "ok",
    "slow": "sleep:0.005",
    "slower": "sleep:0.05",
    "fails": "raise",
    "fails once": "fail_once:{}",
    "kills": "kill",
}

# Events of one round trip at the most.
_BURST = 20


class Producer(threading.Thread):
    """
    Appends events until it is told to stop.

    Arguments:
        plan: of the run.
        url: of the server.
        stream: key of the stream.
        sent: where to enter what was sent, by event id.
    """

    def __init__(self, plan: Plan, url: str, stream: str, sent: dict[str, Sent]) -> None:
        super().__init__(name="producer", daemon=True)
        self._plan = plan
        self._random = random.Random(f"{plan.seed} events")
        self._stream = stream
        self._sent = sent
        # Nothing is sent twice: what the server does not answer is not known to be sent, and not sent again.
        self._client = make_client(url, timeout=8.0, connect_timeout=1.0)
        self._stopping = threading.Event()
        self.held_up = threading.Event()

    def run(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            burst = self._random.randint(1, _BURST)
            if not self.held_up.is_set() and self._server_answers():
                self._send(burst)
            self._stopping.wait(max(0.001, burst / self._plan.rate - (time.monotonic() - began)))
        self._client.close()

    def stop(self) -> None:
        """Stop sending, and wait for what is being sent."""
        self._stopping.set()
        self.join()

    def _server_answers(self) -> bool:
        """Whether it is worth trying: of what gets no answer nobody knows whether it was sent."""
        try:
            return bool(self._client.ping())
        except redis.RedisError:
            return False

    def _send(self, burst: int) -> None:
        kinds = self._random.choices(list(self._plan.kinds), list(self._plan.kinds.values()), k=burst)
        pipeline = self._client.pipeline(transaction=False)
        ids = []
        for kind in kinds:
            metadata = EventsMetadata(event_type=SIGNAL.event_type)
            ids.append(str(metadata.id))
            order = ORDERS[kind].format(len(self._sent) + len(ids))
            pipeline.execute_command("XADD", self._stream, "*", *login_fields(0, order, metadata))
        # Before it is done: it may be handled before we know that it is there.
        self._sent.update({event_id: Sent(kind, None) for event_id, kind in zip(ids, kinds, strict=True)})
        try:
            entries = pipeline.execute(raise_on_error=False)
        except redis.RedisError:
            return
        for event_id, kind, entry in zip(ids, kinds, entries, strict=True):
            if isinstance(entry, bytes):
                self._sent[event_id] = Sent(kind, entry.decode())
