"""The books of the fault suite balance when they should, and only then."""

from collections.abc import Callable

import pytest

from tests.chaos.books import Books, Ended, Loss, Sent, faults_of
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
        (lose_more, "1 events are lost, and 200 of"),
        (lose_unnoticed, "1 events are lost, and 0 of"),
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
    assert wrong(books) == "2 events are lost, and 1 of the ledger's count"
