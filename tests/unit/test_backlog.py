"""When to warn that a group is going to lose events, or that a stream grows without bound."""

import logging
import math
from collections.abc import Callable

import pytest

from edx_event_bus_redis.internal.backlog import Backlog, Outgrowth
from edx_event_bus_redis.internal.errors import ServerUnavailable


@pytest.fixture
def backlog(caplog: pytest.LogCaptureFixture) -> Backlog:
    caplog.set_level(logging.WARNING)
    return Backlog("dev-user-login", "group", cap=1000, is_kept=lambda: False)


def test_it_warns_at_four_fifths_with_the_time_that_is_left(backlog: Backlog, caplog: pytest.LogCaptureFixture) -> None:
    """At 80 % of the cap it says how many are unread and when events are lost at the present rates."""
    for second in range(9):
        backlog.looked(700 + 12 * second, 1000, now=float(second))
    assert caplog.messages == []
    backlog.looked(800, 1000, now=10.0)

    (line,) = caplog.messages
    assert line.startswith("Group group on stream dev-user-login falls behind: 800 of 1000 entries unread, ")
    assert line.endswith("at the present rates it loses events in 20 s")


def test_only_the_present_counts(backlog: Backlog) -> None:
    """The rate is that of the last seconds, not that of an hour ago."""
    for second in range(20):
        backlog.looked(40 * second, 1000, now=float(second))
    for second in range(20, 31):
        backlog.looked(800 + 2 * (second - 20), 1000, now=float(second))
    assert backlog.seconds_until_loss() == pytest.approx(90)


def test_a_backlog_that_shrinks_or_stays_loses_nothing(backlog: Backlog, caplog: pytest.LogCaptureFixture) -> None:
    """A backlog that does not grow is still worth a warning, without a time."""
    backlog.looked(900, 1000, now=0.0)
    backlog.looked(890, 1000, now=600.0)
    assert math.isinf(backlog.seconds_until_loss())
    assert [line.partition("falls behind: ")[2] for line in caplog.messages] == [
        "900 of 1000 entries unread, how fast it grows is not known yet",
        "890 of 1000 entries unread, it does not grow now",
    ]


def test_a_backlog_at_the_cap_is_losing(backlog: Backlog, caplog: pytest.LogCaptureFixture) -> None:
    """It cannot grow any more, and that is no good news."""
    backlog.looked(1000, 1000, now=0.0)
    backlog.looked(1000, 1000, now=600.0)

    assert len(caplog.messages) == 2
    assert all(line.endswith("entries unread, what is not read in time is lost") for line in caplog.messages)


def test_what_is_kept_is_not_said_to_be_lost(caplog: pytest.LogCaptureFixture) -> None:
    """Where producers keep what is unread, as far as is known here, it says what that hangs on, and no time."""
    backlog = Backlog("dev-user-login", "group", cap=1000, is_kept=lambda: True)
    backlog.looked(700, 1000, now=0.0)
    backlog.looked(900, 1000, now=10.0)
    backlog.looked(1100, 1100, now=611.0)

    kept = "are kept if all producers have EVENT_BUS_REDIS_STREAM_KEEP_UNACKED as here"
    assert [line.partition("falls behind: ")[2] for line in caplog.messages] == [
        f"900 of 1000 entries unread, which {kept}",
        f"1100 of 1000 entries unread, which {kept}",
    ]


@pytest.mark.parametrize("unread", [800, 1300])
def test_a_stream_above_its_cap_is_not_trimmed_there(
    backlog: Backlog, caplog: pytest.LogCaptureFixture, unread: int
) -> None:
    """More entries than trimming leaves: the producers keep them, or have another cap, whatever is set here."""
    backlog.looked(unread, 1301, now=0.0)

    (line,) = caplog.messages
    assert line.endswith(f"{unread} of 1000 entries unread, but so far the stream is not trimmed there: it has 1301")


def test_a_stream_of_some_entries_more_is_trimmed_at_its_cap(
    backlog: Backlog, caplog: pytest.LogCaptureFixture
) -> None:
    """Servers trim whole nodes, so that a hundred entries above the cap say nothing."""
    backlog.looked(1000, 1100, now=0.0)

    assert caplog.messages[0].endswith("what is not read in time is lost")


def answering(*answers: bool | ServerUnavailable) -> Callable[[], bool]:
    """Return what gives these answers, one after the other and no more, and raises those that are errors."""
    remaining = iter(answers)

    def is_kept() -> bool:
        answer = next(remaining)
        if isinstance(answer, ServerUnavailable):
            raise answer
        return answer

    return is_kept


def test_a_warning_that_could_not_be_said_is_said_later(caplog: pytest.LogCaptureFixture) -> None:
    """A server that does not answer when it is asked what it can do costs no warning."""
    backlog = Backlog("dev-user-login", "group", cap=1000, is_kept=answering(ServerUnavailable("gone"), False))
    with pytest.raises(ServerUnavailable):
        backlog.looked(900, 1000, now=0.0)
    backlog.looked(900, 1000, now=1.0)

    assert len(caplog.messages) == 1


def test_it_is_said_once_and_so_is_its_end(backlog: Backlog, caplog: pytest.LogCaptureFixture) -> None:
    """A backlog around the line is said once; again after ten minutes; and that it is over, well below the line."""
    for second, unread in enumerate([810, 790, 805, 799, 830]):
        backlog.looked(unread, 1000, now=float(second))
    assert len(caplog.messages) == 1
    backlog.looked(830, 1000, now=601.0)
    assert len(caplog.messages) == 2
    backlog.looked(10, 1000, now=602.0)
    backlog.looked(5, 1000, now=603.0)
    assert caplog.messages[2:] == ["Group group on stream dev-user-login has caught up: 10 of 1000 entries unread"]


OUTGROWN = "Stream dev-user-login has {} entries, its cap is 1000, and may grow until the server has no memory left: "


@pytest.fixture
def outgrowth(caplog: pytest.LogCaptureFixture) -> Outgrowth:
    caplog.set_level(logging.INFO)
    return Outgrowth("dev-user-login", cap=1000, is_kept=lambda: True)


def test_a_stream_far_above_its_cap_is_warned_of(outgrowth: Outgrowth, caplog: pytest.LogCaptureFixture) -> None:
    """One line says how long it is, and who can tell why."""
    outgrowth.looked(3000, now=0.0)
    assert caplog.messages == []
    outgrowth.looked(3001, now=1.0)

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert caplog.messages[0].startswith(OUTGROWN.format(3001) + "some group does not acknowledge ")


@pytest.mark.parametrize(("cap", "longest"), [(1, 1002), (100, 1200), (10_000, 21_000)])
def test_many_producers_may_leave_some_more(caplog: pytest.LogCaptureFixture, cap: int, longest: int) -> None:
    """Each process leaves up to a hundred entries above the cap: only above twice the cap and a thousand it is kept."""
    outgrowth = Outgrowth("dev-user-login", cap, is_kept=lambda: True)
    outgrowth.looked(longest, now=0.0)
    assert caplog.messages == []
    outgrowth.looked(longest + 1, now=1.0)

    assert len(caplog.messages) == 1


def test_an_outgrown_stream_is_said_once_and_so_is_its_end(
    outgrowth: Outgrowth, caplog: pytest.LogCaptureFixture
) -> None:
    """A length around the line is said once; again after ten minutes; and that it is over, well below the line."""
    for second, length in enumerate([3001, 2999, 3001, 2700, 4000]):
        outgrowth.looked(length, now=float(second))
    outgrowth.looked(5000, now=599.0)
    assert len(caplog.messages) == 1
    outgrowth.looked(5000, now=600.0)
    assert len(caplog.messages) == 2
    assert caplog.messages[1].startswith(OUTGROWN.format(5000))
    outgrowth.looked(2699, now=601.0)
    outgrowth.looked(1000, now=602.0)

    assert caplog.messages[2:] == ["Stream dev-user-login is trimmed again: it has 2699 entries, its cap is 1000"]
    assert caplog.records[2].levelno == logging.INFO


def test_where_nothing_is_kept_no_length_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Without the setting, or on a server that cannot do it, producers have another cap: no warning, and no end."""
    caplog.set_level(logging.INFO)
    outgrowth = Outgrowth("dev-user-login", cap=1000, is_kept=lambda: False)
    outgrowth.looked(9000, now=0.0)
    outgrowth.looked(1000, now=1.0)

    assert caplog.messages == []


def test_a_warning_of_a_stream_that_could_not_be_said_is_said_later(caplog: pytest.LogCaptureFixture) -> None:
    """As one of a backlog; nor is the server asked again before it is time for the next."""
    outgrowth = Outgrowth("dev-user-login", cap=1000, is_kept=answering(ServerUnavailable("gone"), True))
    with pytest.raises(ServerUnavailable):
        outgrowth.looked(9000, now=0.0)
    outgrowth.looked(9000, now=1.0)
    outgrowth.looked(9000, now=2.0)

    assert len(caplog.messages) == 1
