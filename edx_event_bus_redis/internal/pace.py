"""
How many entries to read at once, and when to acknowledge: decided from how long handling takes.

Reading ahead saves round trips and keeps entries from idle siblings; gathering acknowledgements saves round trips and
repeats events when the process is killed. Both pay for fast handlers only.
"""

from __future__ import annotations

import math
import time

from edx_event_bus_redis.internal.sizes import READ_AHEAD_BYTES

# A batch is this much work, in seconds: small against any claim time, large against a round trip (0.1 ms).
BATCH_SECONDS = 0.1

# The most entries of a batch. Where more than these are handled within the ack window, a batch is larger: all of it is
# acknowledged by the next read, and each event bears less of that round trip. The ids of the largest fit into what
# redis-py sends in one piece (6000 bytes).
BATCH_LIMIT = 100
LARGEST_BATCH = 200

# Seconds of handling that a killed worker may repeat.
ACK_WINDOW = 0.005

# Share of the ack window that such a batch is to take, so that it seldom outlasts the window.
_WINDOW_SHARE = 0.8

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
        self._handled = 0
        self._largest = 0.0
        self._asked_at = -math.inf

    def handled(self, event_type: str, seconds: float) -> None:
        """Take note of how long an event took."""
        self._handled += 1
        mean = self._means.get(event_type)
        self._means[event_type] = seconds if mean is None else mean + _WEIGHT * (seconds - mean)
        self._mean = seconds if self._mean is None else self._mean + _WEIGHT * (seconds - self._mean)

    def read(self, largest: int) -> None:
        """Take note of the bytes of the largest entry of a batch."""
        self._largest = max(largest, _SIZE_MEMORY * self._largest)

    def batch_size(self) -> int:
        """Return how many entries to read at once, 1 to LARGEST_BATCH; to be asked before each read."""
        now = time.monotonic()
        # What was handled since the last read, in a time that has all that goes with an event, and the read itself.
        within_window = int(_WINDOW_SHARE * ACK_WINDOW * self._handled / max(now - self._asked_at, 1e-6))
        self._handled, self._asked_at = 0, now
        if self._mean is None:
            return 1
        most = max(BATCH_LIMIT, min(LARGEST_BATCH, within_window))
        within_memory = READ_AHEAD_BYTES / max(self._largest, 1)
        return max(1, int(min(most, BATCH_SECONDS / max(self._mean, 1e-6), within_memory)))

    def is_slow(self, event_type: str) -> bool:
        """Return whether an event of this type is likely to outlast the ack window."""
        return self._means.get(event_type, ACK_WINDOW) >= ACK_WINDOW


class AckWindow:
    """The acknowledgements that wait, and since when."""

    def __init__(self) -> None:
        self.ids: list[bytes] = []
        self._opened = 0.0

    def add(self, entry_id: bytes, began: float) -> None:
        """Add an entry whose handling began at that time of the monotonic clock."""
        if not self.ids:
            self._opened = began
        self.ids.append(entry_id)

    def is_over(self) -> bool:
        """Return whether the window has been open for long enough; never with nothing in it."""
        return bool(self.ids) and time.monotonic() - self._opened >= ACK_WINDOW

    def clear(self) -> None:
        """Forget the acknowledgements: they have been sent."""
        self.ids = []
