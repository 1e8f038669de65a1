"""What a scenario is made of. Each file of ``perf/scenarios`` has ``TITLE``, ``BARS`` and ``cases(bench)``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, cast

from perf import scenarios
from perf.bench import Bench


class Skipped(Exception):
    """The scenario cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Case:
    """
    One side of a comparison.

    Attributes:
        name: of the side.
        measure: measures once; returns each quantity, named with its unit, and its value.
    """

    name: str
    measure: Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class Bar:
    """
    What has to be reached, by the medians of all rounds.

    Attributes:
        what: is compared, in words.
        case, quantity: the measured ones.
        against: the case that it is divided by; None if the value itself counts.
        less: the case that is taken off before; then ``per`` divides what is left.
        at_least, at_most: one of them.
    """

    what: str
    case: str
    quantity: str
    against: str | None = None
    less: str | None = None
    per: float = 1.0
    at_least: float | None = None
    at_most: float | None = None

    def value(self, medians: Mapping[tuple[str, str], float]) -> float | None:
        """Return what the medians give, by case and quantity; None if one of them was not measured."""
        asked = [(name, self.quantity) for name in (self.case, self.against, self.less) if name is not None]
        if any(key not in medians for key in asked):
            return None
        value = medians[self.case, self.quantity]
        if self.less is not None:
            value = (value - medians[self.less, self.quantity]) / self.per
        return value / medians[self.against, self.quantity] if self.against is not None else value

    def is_reached(self, value: float) -> bool:
        """Return whether the value is good enough."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


@dataclass(frozen=True)
class Scenario:
    """
    A file of ``perf/scenarios``.

    Attributes:
        name: of the file.
        title: what it measures.
        bars: what has to be reached.
        cases: makes the cases. Raises Skipped.
        needs_peers: whether it is only run when peers are asked for.
        about: what else the file says of itself, to be kept with the results.
    """

    name: str
    title: str
    bars: Sequence[Bar]
    cases: Callable[[Bench], Sequence[Case]]
    needs_peers: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)


def all_scenarios() -> list[Scenario]:
    """Return all scenarios, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(scenarios.__path__))
    return [_scenario(name, importlib.import_module(f"{scenarios.__name__}.{name}")) for name in names]


def _scenario(name: str, module: ModuleType) -> Scenario:
    found = cast("Any", module)
    return Scenario(
        name,
        found.TITLE,
        found.BARS,
        found.cases,
        getattr(found, "NEEDS_PEERS", False),
        getattr(found, "ABOUT", {}),
    )
