"""The settings of a pool."""

from typing import Any

import pytest

from pool import MOST_WORKERS, PoolConfig, PoolConfigError, PoolError


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("workers", 0, "at least 1"),
        ("workers", -1, "at least 1"),
        ("shutdown_timeout", 0, "above 0 seconds"),
        ("shutdown_timeout", -0.5, "above 0 seconds"),
        ("shutdown_timeout", float("nan"), "above 0 seconds"),
        ("stable_after", 0, "above 0 seconds"),
        ("item_timeout", 0, "above 0 seconds"),
        ("monitor_timeout", 0, "above 0 seconds"),
        ("monitor_timeout", float("nan"), "above 0 seconds"),
        ("give_up_after", 0, "at least 1"),
        ("fewest_workers", 0, "at least 1"),
        ("max_items_per_worker", 0, "at least 1"),
        ("max_memory_per_worker", 0, "at least 1"),
        ("memory_patience", 0, "above 0 seconds"),
        ("ready_timeout", 0, "above 0 seconds"),
        ("give_up_after_each", 0, "at least 1"),
        ("give_up_after_error_limits", 0, "at least 1"),
    ],
)
def test_values_that_cannot_work_are_refused(name: str, value: Any, rule: str) -> None:
    """A value out of range is refused by its name, with the value and what would be right."""
    with pytest.raises(PoolConfigError, match=f"^{name} is {value!r}, it must be {rule}$"):
        PoolConfig(**{"name": "c1", "workers": 1} | {name: value})


@pytest.mark.parametrize(("workers", "fewest", "most"), [(1, 2, 4), (5, 2, 4), (2, 3, 1)])
def test_the_number_of_workers_is_within_its_limits(workers: int, fewest: int, most: int) -> None:
    """A pool begins with no fewer workers than the fewest and no more than the most."""
    with pytest.raises(PoolConfigError, match=f"^workers is {workers}, it must be from {fewest} to {most}$"):
        PoolConfig(name="c1", workers=workers, fewest_workers=fewest, most_workers=most)


@pytest.mark.parametrize(("workers", "most"), [(2, MOST_WORKERS), (MOST_WORKERS + 6, MOST_WORKERS + 6)])
def test_a_pool_without_limit_has_one(workers: int, most: int) -> None:
    """A pool does not grow without end, but it may always have as many workers as it began with."""
    assert PoolConfig(name="c1", workers=workers).most == most


def test_one_error_tree() -> None:
    """Whoever catches PoolError catches every error of the pool."""
    assert issubclass(PoolConfigError, PoolError)


def test_settings_are_frozen() -> None:
    """What a pool was told cannot change while it runs."""
    with pytest.raises(AttributeError):
        PoolConfig(name="c1", workers=1).workers = 2  # type: ignore[misc]
