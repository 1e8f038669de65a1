"""How far a command has got, where there is no terminal."""

import io

import pytest
from django.core.management.base import OutputWrapper

from edx_event_bus_redis.management.progress_report import reported


def lines(total: int, interval: float) -> list[str]:
    out = io.StringIO()
    with reported(OutputWrapper(out), "replaying", total, interval) as report:
        for number in range(1, total + 1):
            report(number)
    return out.getvalue().splitlines()


def test_a_line_says_how_far_it_is() -> None:
    """Where no bar can be, as in a log file, lines say how many of all are done."""
    written = lines(1500, interval=0.0)

    assert written[0] == "replaying: 1 of 1,500"
    assert written[-1] == "replaying: 1,500 of 1,500"


@pytest.mark.parametrize(("total", "interval"), [(1, 0.0), (1500, 3600.0), (0, 0.0)])
def test_what_is_done_soon_needs_no_line(total: int, interval: float) -> None:
    """Nothing is written of a single thing, nor before the first interval is over."""
    assert lines(total, interval) == []
