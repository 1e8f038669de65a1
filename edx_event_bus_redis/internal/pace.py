"""
How many entries to read at once, and when to acknowledge: decided from how long handling takes.

Reading ahead saves round trips and keeps entries from idle siblings; gathering acknowledgements saves round trips and
repeats events when the process is killed. Both pay for fast handlers only.
"""

from __future__ import annotations

import time

# A batch is this much work, in seconds: small against any claim time, large against a round trip (0.1 ms).
BATCH_SECONDS = 0.1

# The most entries of a batch. More saves nothing: at 100 a round trip costs an event a microsecond.
BATCH_LIMIT = 100

# Seconds of handling that a killed worker may repeat.
ACK_WINDOW = 0.005

# Weight of the newest event in the mean of handling times.
_WEIGHT = 0.2


class Pace:
    """
    The handling times of one consumer, by event type.

    A type that has not been seen yet is taken for slow.
    """

    def __init__(self) -> None:
        self._mean: float | None = None
        self._means: dict[str, float] = {}

    def handled(self, event_type: str, seconds: float) -> None:
        """Take note of how long an event took."""
        mean = self._means.get(event_type)
        self._means[event_type] = seconds if mean is None else mean + _WEIGHT * (seconds - mean)
        self._mean = seconds if self._mean is None else self._mean + _WEIGHT * (seconds - self._mean)

    def batch_size(self) -> int:
        """Return how many entries to read at once, 1 to BATCH_LIMIT."""
        if self._mean is None:
            return 1
        return max(1, min(BATCH_LIMIT, int(BATCH_SECONDS / max(self._mean, 1e-6))))

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
