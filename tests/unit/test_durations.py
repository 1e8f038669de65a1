"""Durations in the unit that suits them."""

import pytest

from edx_event_bus_redis.internal.durations import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.04, "0.0 s"),
        (1.54, "1.5 s"),
        (2.0, "2 s"),
        (9.96, "10 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (86_400, "24 h"),
        (172_800, "2 d"),
    ],
)
def test_a_duration_has_the_unit_that_suits_it(seconds: float, text: str) -> None:
    """Two digits and a unit tell enough."""
    assert duration(seconds) == text
