"""What becomes of an event that was not handled."""

import pytest

from edx_event_bus_redis.internal.delivery import Bury, Retry, decide
from edx_event_bus_redis.internal.errors import EventTooLarge, ReceiverError


@pytest.mark.parametrize(("failures", "seconds"), [(0, 1), (1, 2), (2, 4), (8, 256), (9, 300), (1000, 300)])
def test_each_retry_waits_twice_as_long_up_to_five_minutes(failures: int, seconds: float) -> None:
    """With a tenth more or less, so that events that failed together are not tried again together."""
    waits = []
    for _ in range(200):
        decided = decide(ReceiverError("failed", []), failures, max_retries=2000)
        assert isinstance(decided, Retry)
        waits.append(decided.after)

    assert 0.9 * seconds <= min(waits) < max(waits) <= 1.1 * seconds


@pytest.mark.parametrize(
    ("max_retries", "cause"),
    [(0, "receivers failed"), (1, "receivers failed 2 times"), (3, "receivers failed 4 times")],
)
def test_an_event_is_a_dead_letter_when_its_retries_are_used_up(max_retries: int, cause: str) -> None:
    """Each retry is granted and none beyond; the cause tells how often receivers have failed."""
    error = ReceiverError("failed", [])

    decided = [decide(error, failures, max_retries) for failures in range(max_retries + 1)]

    assert [isinstance(each, Retry) for each in decided] == [True] * max_retries + [False]
    assert decided[-1] == Bury(cause)


def test_an_event_that_cannot_be_read_is_not_tried_again() -> None:
    """No retry makes it readable, however many are left; the cause tells what is wrong with it."""
    error = EventTooLarge(7, 5)

    assert decide(error, 0, max_retries=3) == Bury(f"not usable: {error}")
