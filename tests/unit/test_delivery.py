"""What becomes of an event that was not handled."""

import pytest

from edx_event_bus_redis.internal.delivery import Retry, decide
from edx_event_bus_redis.internal.errors import ReceiverError


@pytest.mark.parametrize(("failures", "seconds"), [(0, 1), (1, 2), (2, 4), (8, 256), (9, 300), (1000, 300)])
def test_each_retry_waits_twice_as_long_up_to_five_minutes(failures: int, seconds: float) -> None:
    """With a tenth more or less, so that events that failed together are not tried again together."""
    waits = []
    for _ in range(200):
        decided = decide(ReceiverError("failed", []), failures, max_retries=2000)
        assert isinstance(decided, Retry)
        waits.append(decided.after)

    assert 0.9 * seconds <= min(waits) < max(waits) <= 1.1 * seconds
