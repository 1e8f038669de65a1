"""
How many entries to read at once, and when to acknowledge: decided from how long handling takes.

Reading ahead saves round trips and keeps entries from idle siblings; gathering acknowledgements saves round trips and
repeats events when the process is killed. Both pay for fast handlers only.
"""

from __future__ import annotations

import time

from edx_event_bus_redis.internal.sizes import READ_AHEAD_BYTES

# A batch is this much work, in seconds: small against any claim time, large against a round trip (0.1 ms).
BATCH_SECONDS = 0.1

# The most entries of a batch: so many that each bears little of the round trip; so few that they do not keep one worker
# busy for long, with its siblings idle, if they turn out to be slower than those before them.
BATCH_LIMIT = 100

# Seconds of handling that a killed worker may repeat.
ACK_WINDOW = 0.005

# Share of the size of the largest entry that it is remembered by after each read of smaller ones.
_SIZE_MEMORY = 0.9

# Weight of the newest event in the mean of handling times.
_WEIGHT = 0.2


class Pace:
    """
    The handling times of one consumer, by event type, and the size of the largest entries that it has read of late.

    A type that has not been seen yet is taken for slow.
    """

    def __init__(self) -> None:
        self._mean: float | None = None
        self._means: dict[str, float] = {}
        self._largest = 0.0

    def handled(self, event_type: str, seconds: float) -> None:
        """Take note of how long an event took."""
        mean = self._means.get(event_type)
        self._means[event_type] = seconds if mean is None else mean + _WEIGHT * (seconds - mean)
        self._mean = seconds if self._mean is None else self._mean + _WEIGHT * (seconds - self._mean)

    def read(self, largest: int) -> None:
        """Take note of the bytes of the largest entry of a batch."""
        self._largest = max(largest, _SIZE_MEMORY * self._largest)

    def batch_size(self) -> int:
        """Return how many entries to read at once, 1 to BATCH_LIMIT."""
        if self._mean is None:
            return 1
        within_memory = READ_AHEAD_BYTES / max(self._largest, 1)
        return max(1, int(min(BATCH_LIMIT, BATCH_SECONDS / max(self._mean, 1e-6), within_memory)))

    def is_slow(self, event_type: str) -> bool:
        """Return whether an event of this type is likely to outlast the ack window."""
        return self._means.get(event_type, ACK_WINDOW) >= ACK_WINDOW


class AckWindow:
    """
    The acknowledgements that wait, and since when.

    Attributes:
        ids: of entries whose acknowledgement is to be sent.
        has_slow: whether handling one of these took longer than the window. Then nothing is to be begun before it is
            acknowledged: whoever is killed repeats one slow event at the most.
    """

    def __init__(self) -> None:
        self.ids: list[bytes] = []
        self.has_slow = False
        self._on_their_way: list[bytes] = []
        self._opened = 0.0

    @property
    def count(self) -> int:
        """Number of entries that were handled and, for all that is known, are pending."""
        return len(self.ids) + len(self._on_their_way)

    def add(self, entry_id: bytes, began: float, seconds: float) -> None:
        """Add an entry whose handling began at that time of the monotonic clock, and how long it took."""
        if not self.ids:
            self._opened = began
        if seconds >= ACK_WINDOW:
            self.has_slow = True
        self.ids.append(entry_id)

    def is_over(self) -> bool:
        """Return whether the window has been open for long enough; never with nothing in it."""
        return bool(self.ids) and time.monotonic() - self._opened >= ACK_WINDOW

    def were_sent(self) -> None:
        """Say that all were sent, and that the reply is not known."""
        self.ids, self._on_their_way = [], self.ids

    def were_answered(self, *, done: bool) -> None:
        """Say whether those that were sent are done; if not, they are to be sent again."""
        if not done:
            self.ids[:0] = self._on_their_way
        self._on_their_way = []

    def clear(self) -> None:
        """Forget the acknowledgements: they are done."""
        self.ids, self._on_their_way = [], []
        self.has_slow = False
