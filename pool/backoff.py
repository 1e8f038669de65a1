"""How long to wait before the next try. After what, and how often, is decided by ``patience.py``."""

from __future__ import annotations

import random
from dataclasses import dataclass

from pool.errors import PoolConfigError


@dataclass(frozen=True)
class Backoff:
    """
    Delays that double from ``first`` up to ``maximum`` seconds, less a random part.

    Attributes:
        first: seconds before the second try; the first one never waits.
        maximum: seconds that no delay exceeds.
        jitter: the largest share (0 to 1) taken off a delay, so that what failed together does not return together.

    Raises:
        PoolConfigError: a value is out of range; the message names it.
    """

    first: float = 0.5
    maximum: float = 30.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        # Written so that NaN, which compares false with everything, is refused.
        if not self.first >= 0:
            raise PoolConfigError(f"first is {self.first!r}, it must be at least 0 seconds")
        if not self.maximum >= self.first:
            raise PoolConfigError(f"maximum is {self.maximum!r}, it must be at least first, {self.first!r} seconds")
        if not 0 <= self.jitter <= 1:
            raise PoolConfigError(f"jitter is {self.jitter!r}, it must be from 0 to 1")

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row: 0 after the first."""
        if failures <= 1:
            return 0.0
        # 2.0 ** 1024 overflows; the maximum is reached long before that.
        full = min(self.first * 2.0 ** min(failures - 2, 64), self.maximum)
        return full * (1 - self.jitter * random.random())
