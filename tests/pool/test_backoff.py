"""Delays between tries."""

from typing import Any

import pytest

from pool import Backoff, PoolConfigError


@pytest.mark.parametrize("failures", [0, 1])
def test_the_first_try_again_never_waits(failures: int) -> None:
    """One failure is answered at once."""
    assert Backoff(first=5.0).delay(failures) == 0.0


def test_delays_double_up_to_the_maximum() -> None:
    """Without jitter each delay is twice the one before, and none exceeds the maximum."""
    backoff = Backoff(first=0.5, maximum=10.0, jitter=0.0)

    assert [backoff.delay(failures) for failures in range(2, 9)] == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_a_failure_that_never_ends_does_not_overflow() -> None:
    """However many failures there were, the delay is the maximum."""
    assert Backoff(jitter=0.0).delay(1_000_000) == 30.0


def test_jitter_takes_off_no_more_than_its_share() -> None:
    """Delays spread over the whole share of the jitter and never leave it."""
    backoff = Backoff(first=1.0, maximum=8.0, jitter=0.25)

    delays = [backoff.delay(5) for _ in range(2_000)]

    assert all(6.0 <= delay <= 8.0 for delay in delays)
    assert min(delays) < 6.2
    assert max(delays) > 7.8


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"first": -0.1}, "first is -0.1, it must be at least 0 seconds"),
        ({"first": float("nan")}, "first is nan, it must be at least 0 seconds"),
        ({"first": 2.0, "maximum": 1.0}, "maximum is 1.0, it must be at least first, 2.0 seconds"),
        ({"jitter": 1.1}, "jitter is 1.1, it must be from 0 to 1"),
        ({"jitter": -0.1}, "jitter is -0.1, it must be from 0 to 1"),
    ],
)
def test_values_that_cannot_work_are_refused(values: dict[str, Any], message: str) -> None:
    """A value out of range is refused by its name, with the value and what would be right."""
    with pytest.raises(PoolConfigError, match=f"^{message}$"):
        Backoff(**values)


def test_no_delay_at_all_can_be_asked_for() -> None:
    """With a first delay of 0 nothing ever waits."""
    assert Backoff(first=0.0).delay(20) == 0.0
