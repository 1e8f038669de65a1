"""The books of the fault suite balance when they should, and only then."""

from collections.abc import Callable

import pytest

from tests.chaos.books import MOST_HELD, Books, Ended, Loss, Sent, faults_of
from tests.support.consuming import Handled


def good_books() -> Books:
    """Books of three events that were handled, one that killed three workers, and one that was lost."""
    return Books(
        sent={
            "a": Sent("fast", "1-0"),
            "b": Sent("slow", "1-1"),
            "c": Sent("fails once", "2-0"),
            "d": Sent("kills", "3-0"),
            "e": Sent("slow", "4-0"),
            "unanswered": Sent("slow", None),
        },
        handled=[Handled("a", 10, 0, 1.0), Handled("b", 10, 0, 1.1), Handled("c", 11, 0, 1.2)],
        begun=[Handled("d", pid, 0, float(pid)) for pid in (20, 21, 22)],
        dead={"d": 3},
        ledger=[Loss("3-1", "4-0", "trimmed", 1)],
        survivors={10, 11},
    )


def wrong(books: Books) -> str:
    return " / ".join(faults_of(books, max_deliveries=3))


def test_good_books_balance() -> None:
    """Handled, dead, lost: each event is accounted for; one that may not have been sent needs no account."""
    assert wrong(good_books()) == ""


def lose(books: Books) -> None:
    books.ledger.clear()


def lose_more(books: Books) -> None:
    books.ledger[0] = Loss("3-1", "4-0", "trimmed", 200)


def lose_unnoticed(books: Books) -> None:
    books.ledger[0] = Loss("3-1", "4-0", "trimmed", 0)


def never_send(books: Books) -> None:
    del books.sent["a"]


def repeat_slow(books: Books) -> None:
    books.handled.append(Handled("b", 11, 0, 2.0))


def repeat_two_slow_after_one_kill(books: Books) -> None:
    books.ended.append(Ended(10, "worker killed", 1.5))
    books.sent["a"] = Sent("slow", "1-0")
    books.handled += [Handled("a", 11, 0, 2.0), Handled("b", 11, 0, 2.1)]


def bury_the_innocent(books: Books) -> None:
    books.dead["b"] = 3


def start_a_fourth_time(books: Books) -> None:
    books.begun.append(Handled("d", 23, 0, 23.0))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lose, "event e (slow, entry 4-0) is neither handled"),
        (lose_more, "1 to 2 events are lost otherwise than with the group, and the ledger counts 200"),
        (lose_unnoticed, "1 to 2 events are lost otherwise than with the group, and the ledger counts 0"),
        (never_send, "event a was never sent"),
        (repeat_slow, "1 events of slow and 0 of fast handlers were handled again after process 10"),
        (repeat_two_slow_after_one_kill, "2 events of slow"),
        (bury_the_innocent, "event b (slow) is a dead letter after 0 starts only"),
        (start_a_fourth_time, "event d has killed 4 workers, 3 are allowed"),
    ],
)
def test_whatever_is_wrong_spoils_the_books(spoil: Callable[[Books], None], said: str) -> None:
    """A lost, an invented, a repeated or a wrongly buried event is found."""
    books = good_books()

    spoil(books)

    assert said in wrong(books)


def test_a_flush_takes_the_count_of_starts() -> None:
    """An event that was in hand when the server was flushed may have as many starts again, another one may not."""
    books = good_books()
    start_a_fourth_time(books)
    last = max(each.at for each in books.begun if each.event_id == "d")

    books.flushed.append(last + 1)
    assert "event d has killed 4 workers, 3 are allowed" in wrong(books)

    books.flushed.append(last - 0.5)
    assert wrong(books) == ""


def test_repeats_after_a_kill_are_allowed() -> None:
    """The process that had handled a slow event was killed before it was acknowledged: once that may be."""
    books = good_books()
    books.ended.append(Ended(10, "worker killed", 1.5))
    books.handled += [Handled("b", 11, 0, 2.0), Handled("a", 11, 0, 2.1)]

    assert wrong(books) == ""


def test_take_over_times_are_those_of_what_was_in_hand() -> None:
    """From the end of a process until another one begins what it had begun; by how it ended."""
    books = good_books()
    books.begun += [Handled("b", 30, 0, 1.0), Handled("b", 31, 0, 1.75)]
    books.ended.append(Ended(30, "worker killed", 1.5))

    assert books.take_overs() == {"worker killed by its event": [1.0, 1.0], "worker killed": [0.25]}


def test_a_group_that_is_deleted_while_all_live_costs_nothing() -> None:
    """What its record has in its range is not accounted for by that; what was read then may be handled again."""
    books = good_books()
    books.sent["e"] = Sent("slow", "4000-0")
    books.ledger = [Loss("1-0", "4000-0", "group_gone", 0, at=4.5)]
    assert wrong(books) == ""

    books.destroyed = [4.0]
    assert "event e (slow, entry 4000-0) is neither handled" in wrong(books)

    books.handled += [Handled("e", 10, 0, 4.1), Handled("e", 11, 0, 4.6)]
    assert wrong(books) == ""


def test_an_event_whose_dead_letter_was_dropped_is_lost() -> None:
    """What the ledger has of it makes up for the letter that is gone: the sum holds, and only with the right count."""
    books = good_books()
    del books.dead["d"]
    assert "event d (kills, entry 3-0) is neither handled" in wrong(books)

    books.ledger.append(Loss("3-0", "3-0", "dropped_dead_letters", 1))
    assert wrong(books) == ""

    books.ledger[-1] = Loss("3-0", "3-0", "dropped_dead_letters", 0)
    assert "2 to 3 events are lost otherwise than with the group, and the ledger counts 1" in wrong(books)


def flushed_books(lost: int, *, count: int, known_first: str = "50000-0") -> Books:
    """Books of a run of a hundred seconds, flushed at the end: that many unread events were lost, of 150 a second."""
    sent = {f"handled {number}": Sent("fast", f"{number}-0") for number in range(1, 100)}
    sent |= {f"lost {number}": Sent("fast", f"{50_000 + number}-0") for number in range(lost)}
    return Books(
        sent=sent,
        handled=[Handled(event_id, 10, 0, 1.0) for event_id in sent if event_id.startswith("handled")],
        ledger=[Loss(known_first, "99000-0", "group_gone", count, at=100.0)],
        flushed=[99.9],
        survivors={10},
    )


@pytest.mark.parametrize("count", [1000 - MOST_HELD, 1000])
def test_the_count_of_a_group_that_is_gone_is_one_about(count: int) -> None:
    """What the workers had in hand may be left out, though it has been read since the last look."""
    assert wrong(flushed_books(1000, count=count)) == ""


def test_more_than_there_were_cannot_have_gone_with_a_group() -> None:
    """A record of more events than were sent in its range is found, a group that was deleted at no cost included."""
    books = flushed_books(1000, count=1001)
    said = "record group_gone from 50000-0 to 99000-0 counts 1001 events, and there were 1000 at the most"
    assert said in wrong(books)

    books.handled += [Handled(event_id, 10, 0, 60.0) for event_id in books.sent if event_id.startswith("lost")]
    books.destroyed = [99.5]
    assert said in wrong(books)


def test_events_that_wait_to_be_delivered_again_may_be_counted_beyond_the_range() -> None:
    """They have ids of another stream; only those that failed in the last minute can be meant."""
    books = flushed_books(1000, count=1001)
    books.sent["old"], books.sent["late"] = Sent("fails", "38000-0"), Sent("fails", "40000-0")
    books.dead |= {"old": 1, "late": 1}
    assert wrong(books) == ""

    books.ledger = [Loss("50000-0", "99000-0", "group_gone", 1002, at=100.0)]
    assert "there were 1001 at the most" in wrong(books)


def test_less_than_was_seen_to_be_there_cannot_have_gone_with_a_group() -> None:
    """Of what was sent well before the group was gone, a record has all but what workers may have had in hand."""
    least = 1000 - MOST_HELD
    said = f"counts {least - 1} events, and at least {least} are lost by it"
    assert said in wrong(flushed_books(1000, count=least - 1))


def test_what_no_monitor_had_seen_is_not_compared() -> None:
    """Where nobody had looked; what came after the last look; and if it may not have been known what was unread."""
    assert wrong(flushed_books(1000, count=0, known_first="0-1")) == ""

    books = flushed_books(1000, count=0)
    books.ledger = [Loss("50000-0", "99000-0", "group_gone", 0, at=52.0)]
    assert wrong(books) == ""

    books = flushed_books(1000, count=0)
    books.ledger.append(Loss("50000-0", "50000-0", "trimmed", 1, at=99.0))
    assert wrong(books) == ""


@pytest.mark.parametrize("count", [0, 7])
def test_other_losses_are_compared_though_a_group_was_gone(count: int) -> None:
    """A wrong count of what was trimmed or deleted is found, also after a group was made anew."""
    books = good_books()
    books.sent |= {"f": Sent("fast", "5-0"), "g": Sent("fast", "6-0")}
    books.ledger += [Loss("6-0", "6-0", "group_gone", 1, at=0.1), Loss("5-0", "5-0", "deleted", 1)]
    assert wrong(books) == ""

    books.ledger[-1] = Loss("5-0", "5-0", "deleted", count)
    assert f"2 to 3 events are lost otherwise than with the group, and the ledger counts {1 + count}" in wrong(books)
