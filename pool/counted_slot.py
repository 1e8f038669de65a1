"""The slot of a worker that may only do so much."""

from __future__ import annotations

import random
from collections.abc import Callable

from pool.slots import Slot

# Share of the limit by which that of each worker is lower at random, at the most: workers that share the load evenly
# would leave together.
_JITTER = 0.2


class CountedSlot(Slot):
    """
    A slot whose worker says that it is worn when it is done with so many items; it goes on until it is replaced.

    Arguments:
        slot: of the shard.
        most: items that one worker may handle, about.
        say_worn: called once, then.
    """

    __slots__ = ("_left", "_say_worn")

    def __init__(self, slot: Slot, most: int, say_worn: Callable[[], None]) -> None:
        super().__init__(slot.memory)
        self._left = max(1, most - int(most * _JITTER * random.random()))
        self._say_worn = say_worn

    def succeeded(self) -> None:
        """Count the item in hand as handled and let go of it; the row of errors is over."""
        super().succeeded()
        self._count()

    def failed(self) -> None:
        """Count the item in hand as failed and let go of it."""
        super().failed()
        self._count()

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._say_worn()
