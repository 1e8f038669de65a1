"""Values of options and settings: which are taken, and the error for any other."""

from collections.abc import Callable
from typing import Any

import pytest

from edx_event_bus_redis.internal import values
from edx_event_bus_redis.internal.values import Workers, Wrong


def refused(convert: Callable[[object], Any], value: object) -> str:
    """Return the error text for a wrong value."""
    with pytest.raises(Wrong) as caught:
        convert(value)
    return str(caught.value)


def test_a_number_within_its_limits_is_taken() -> None:
    """From the smallest to the largest; the error names both, unless the largest is only what JSON can keep."""
    assert [values.count(1)(number) for number in (1, 2**53)] == [1, 2**53]
    assert values.count(0, 5)(5) == 5

    assert refused(values.count(1), 0) == refused(values.count(1), 2**53 + 1) == "expected a whole number from 1"
    assert refused(values.count(0, 5), 6) == "expected a whole number from 0 to 5"


def test_a_number_of_workers_or_a_range_of_them_is_taken() -> None:
    """From one to the limit, in a range too, the fewest first; the error shows what a range looks like."""
    workers = values.workers(16)

    assert [workers(number) for number in (1, 16)] == [Workers(1, None), Workers(16, None)]
    assert [workers(text) for text in ("1-16", "4-4")] == [Workers(1, 16), Workers(4, 4)]
    expected = 'expected a whole number from 1 to 16, or the fewest and the most, like "2-16"'
    assert {refused(workers, value) for value in (0, 17, True, "4", "0-4", "2-17", None)} == {expected}
    assert refused(workers, "3-2") == 'expected the fewest workers first and the most then, like "2-3"'


def test_a_time_is_above_zero_or_from_zero_and_up_to_three_years() -> None:
    """Whole seconds or not; the error says whether 0 is one."""
    assert [values.seconds(each) for each in (0.001, 2, 100_000_000)] == [0.001, 2.0, 100_000_000.0]
    assert [values.seconds_or_zero(each) for each in (0, 0.5)] == [0.0, 0.5]

    assert refused(values.seconds, 0) == refused(values.seconds, 100_000_001) == "expected a number of seconds above 0"
    assert refused(values.seconds_or_zero, -1) == "expected a number of seconds, 0 or more"


def test_the_smallest_and_the_largest_are_taken() -> None:
    """Port 1, a stream of one entry, the last id that Redis can give, and no larger one."""
    assert [values.port(each) for each in (1, 65_535)] == [1, 65_535]
    assert [values.max_len(each) for each in (1, " 1 ")] == [1, 1]
    last = f"{2**64 - 1}-{2**64 - 1}"
    assert [values.entry_id(each) for each in (0, last)] == ["0", last]

    expected = 'expected the id of an entry like "1679676448892-0", "0" for all or "$" for none'
    assert refused(values.entry_id, f"0-{2**64}") == refused(values.entry_id, True) == expected
