"""Reading ahead pays for fast handlers only."""

import time

from edx_event_bus_redis.internal.pace import ACK_WINDOW, BATCH_LIMIT, AckWindow, Pace
from edx_event_bus_redis.internal.sizes import READ_AHEAD_BYTES


def pace_of(seconds: float, count: int = 50) -> Pace:
    pace = Pace()
    for _ in range(count):
        pace.handled("type", seconds)
    return pace


def test_the_first_read_is_of_one_entry() -> None:
    """Nothing is read ahead before anything is known."""
    assert Pace().batch_size() == 1


def test_a_batch_is_a_fraction_of_a_second() -> None:
    """Fast handlers read many entries at once, slow ones one at a time."""
    assert pace_of(0.00001).batch_size() == BATCH_LIMIT
    assert pace_of(0.010).batch_size() == 10
    assert pace_of(0.2).batch_size() == 1


def test_a_slow_start_is_forgotten() -> None:
    """One slow event, such as the first of a process, does not keep a fast handler slow; one fast event is no proof."""
    pace = Pace()
    pace.handled("type", 1.0)
    pace.handled("type", 0.0001)
    assert pace.batch_size() == 1
    for _ in range(60):
        pace.handled("type", 0.0001)
    assert pace.batch_size() == BATCH_LIMIT


def test_unknown_types_count_as_slow() -> None:
    """An event of a type that is slow, or not known yet, is not begun with acknowledgements waiting."""
    pace = pace_of(0.0001)
    assert not pace.is_slow("type")
    assert pace.is_slow("another type")
    pace.handled("another type", 1.0)
    assert pace.is_slow("another type")


def test_a_type_is_as_fast_as_its_events_of_late() -> None:
    """One fast event does not make a slow type fast, a few do; one slow event makes a fast type slow."""
    pace = Pace()
    pace.handled("type", 2 * ACK_WINDOW)
    pace.handled("type", 0.0)
    assert pace.is_slow("type")
    for _ in range(10):
        pace.handled("type", 0.0)
    assert not pace.is_slow("type")
    pace.handled("type", 10 * ACK_WINDOW)
    assert pace.is_slow("type")


def test_a_new_window_has_nothing_in_it() -> None:
    """Nothing waits, nothing is on its way, and nothing was slow."""
    window = AckWindow()

    assert (window.count, window.has_slow, window.is_over()) == (0, False, False)


def test_the_ack_window_opens_when_handling_begins() -> None:
    """A handler slower than the window has its event acknowledged at once."""
    window = AckWindow()
    assert not window.is_over()
    window.add(b"1-0", time.monotonic() - 2 * ACK_WINDOW, 0.0)
    assert window.is_over()
    window.clear()
    assert not window.is_over()
    window.add(b"2-0", time.monotonic() + 60, 0.0)
    window.add(b"3-0", time.monotonic() - 60, 0.0)
    assert not window.is_over()
    assert window.ids == [b"2-0", b"3-0"]


def test_a_slow_event_is_known_until_it_is_acknowledged() -> None:
    """Also one of a type that is fast on the whole: after it nothing is begun before the server has said that it is."""
    window = AckWindow()
    window.add(b"1-0", 1.0, ACK_WINDOW)
    window.add(b"2-0", 1.0, 0.0)
    assert window.has_slow
    window.clear()
    window.add(b"3-0", 1.0, 0.9 * ACK_WINDOW)
    assert not window.has_slow


def test_acknowledgements_that_were_not_done_are_sent_again() -> None:
    """What was sent counts as not acknowledged until that is known, and comes before what waits if it has to."""
    window = AckWindow()
    window.add(b"1-0", 1.0, 0.0)
    window.were_sent()
    window.add(b"2-0", time.monotonic(), 0.0)
    assert (window.ids, window.count) == ([b"2-0"], 2)

    window.were_answered(done=False)
    assert (window.ids, window.count) == ([b"1-0", b"2-0"], 2)

    window.were_sent()
    window.were_answered(done=True)
    assert (window.ids, window.count) == ([], 0)


def test_large_entries_are_read_a_few_at_a_time_until_they_are_long_past() -> None:
    """A batch has the bytes that a process reads ahead, by the largest entry of late; one entry is always read."""
    pace, sizes = pace_of(0.00001), []

    for largest in (1000, 4 * 1024 * 1024, READ_AHEAD_BYTES * 10):
        pace.read(largest)
        sizes.append(pace.batch_size())
    for _ in range(100):
        pace.read(1000)

    assert sizes == [BATCH_LIMIT, 4, 1]
    assert pace.batch_size() == BATCH_LIMIT
