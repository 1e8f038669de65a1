"""Which fault is next: at random, by weight, and each kind at least once in each part of a run."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.faults import Fault

# Seconds of a part. A run of ten minutes has two.
PART_SECONDS = 300.0

# Share of a part in which the moment is drawn from which on a kind is tried until it applies. The rest is for that.
_DRAWN_WITHIN = 0.75

# Seconds that nothing else is done for a fault that needs peace, and seconds for others if there was no peace even so.
_HUSH_SECONDS, _OTHERS_SECONDS = 25.0, 10.0


@dataclass
class _Visit:
    """A kind that has yet to come in a part: seconds at which the part begins, and from which on it is tried."""

    fault: Fault
    begins: float
    due: float


class Schedule:
    """
    The order of the faults of one run. All times are seconds from its start.

    Arguments:
        faults: the kinds.
        weights: how often each of them is drawn, against the others; those of 0 never come.
        seconds: that the run takes. One that is shorter than a part has only what is drawn.
        choices: draws, also when each kind comes.
    """

    def __init__(
        self, faults: Sequence[Fault], weights: Sequence[float], seconds: float, choices: random.Random
    ) -> None:
        self._faults = faults
        self._weights = weights
        self._random = choices
        begins = [part * PART_SECONDS for part in range(int(seconds // PART_SECONDS))]
        self._visits = [
            _Visit(fault, begin, begin + choices.uniform(0.0, PART_SECONDS * _DRAWN_WITHIN))
            for fault, weight in zip(faults, weights, strict=True)
            for begin in begins
            if weight > 0
        ]

    def next(self, at: float) -> list[Fault]:
        """Return the faults of which the first that applies is to be done now; if none does, ask again."""
        owed = [visit for visit in self._visits if visit.due <= at]
        for visit in owed:
            if visit.fault.needs_peace:
                if at <= visit.due + _HUSH_SECONDS:
                    return [visit.fault]
                visit.due = at + _OTHERS_SECONDS
        return [visit.fault for visit in owed if not visit.fault.needs_peace] + self._random.choices(
            self._faults, self._weights
        )

    def done(self, fault: Fault, at: float) -> None:
        """Take note that a fault was done. One that came by chance is as good as one that was owed."""
        for visit in self._visits:
            if visit.fault is fault and visit.begins <= at:
                self._visits.remove(visit)
                return
