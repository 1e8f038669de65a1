"""The settings of a pool."""

from typing import Any

import pytest

from pool import PoolConfig, PoolConfigError, PoolError


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("workers", 0, "at least 1"),
        ("workers", -1, "at least 1"),
        ("shutdown_timeout", 0, "above 0 seconds"),
        ("shutdown_timeout", -0.5, "above 0 seconds"),
        ("shutdown_timeout", float("nan"), "above 0 seconds"),
        ("stable_after", 0, "above 0 seconds"),
        ("give_up_after", 0, "at least 1"),
        ("give_up_after_each", 0, "at least 1"),
        ("give_up_after_error_limits", 0, "at least 1"),
    ],
)
def test_values_that_cannot_work_are_refused(name: str, value: Any, rule: str) -> None:
    """A value out of range is refused by its name, with the value and what would be right."""
    with pytest.raises(PoolConfigError, match=f"^{name} is {value!r}, it must be {rule}$"):
        PoolConfig(**{"name": "c1", "workers": 1} | {name: value})


def test_one_error_tree() -> None:
    """Whoever catches PoolError catches every error of the pool."""
    assert issubclass(PoolConfigError, PoolError)


def test_settings_are_frozen() -> None:
    """What a pool was told cannot change while it runs."""
    with pytest.raises(AttributeError):
        PoolConfig(name="c1", workers=1).workers = 2  # type: ignore[misc]
