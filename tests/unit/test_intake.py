"""When acknowledgements are sent, and when their replies are waited for."""

from collections.abc import Sequence
from typing import Any, cast

from edx_event_bus_redis.internal.intake import Intake


class Sent:
    """An acknowledgement that was sent: whether it could be, and what the reply says."""

    def __init__(self, *, is_on_its_way: bool = True, done: bool = True) -> None:
        self.is_on_its_way = is_on_its_way
        self._done = done

    def is_done(self) -> bool:
        return self._done


class Stream:
    """The part of a reader that acknowledges; what becomes of the acknowledgements that are sent is given."""

    def __init__(self, *sent: Sent) -> None:
        self._sent = list(sent)
        self.calls: list[tuple[str, list[bytes]]] = []

    def send_acknowledgement(self, ids: Sequence[bytes]) -> Sent:
        self.calls.append(("send", list(ids)))
        return self._sent.pop(0)

    def acknowledge(self, ids: Sequence[bytes]) -> None:
        self.calls.append(("wait", list(ids)))


class Word:
    """What an intake leaves word with."""

    doing = None

    def held(self, count: int, unacknowledged: int = 0) -> None:
        self.unacknowledged = unacknowledged


def intake_of(stream: Stream, word: Word) -> Intake:
    of_no_use: Any = None
    return Intake(
        cast("Any", stream),
        of_no_use,
        ledger=of_no_use,
        store=of_no_use,
        suspects=of_no_use,
        failures=cast("Any", word),
        progress=cast("Any", word),
    )


def test_a_reply_is_waited_for_before_more_is_sent() -> None:
    """What is on its way counts as not acknowledged here, and not as left pending: it arrives without this process."""
    stream, word = Stream(Sent(), Sent()), Word()
    intake = intake_of(stream, word)
    intake.acks.add(b"1-0", 0.0, 0.0)
    intake.send_acknowledgements()
    intake.acks.add(b"2-0", 0.0, 0.0)
    assert (word.unacknowledged, intake.acks.count) == (0, 2)

    intake.send_acknowledgements()

    assert stream.calls == [("send", [b"1-0"]), ("send", [b"2-0"])]
    assert (word.unacknowledged, intake.acks.count) == (0, 1)
    intake.acknowledge()
    assert (word.unacknowledged, intake.acks.count) == (0, 0)
    assert len(stream.calls) == 2


def test_after_a_failure_nothing_goes_on_before_all_is_acknowledged() -> None:
    """Else a consumer could go on for long without a server."""
    stream = Stream(Sent(done=False))
    intake = intake_of(stream, Word())
    intake.acks.add(b"1-0", 0.0, 0.0)
    intake.send_acknowledgements()
    intake.acks.add(b"2-0", 0.0, 0.0)

    intake.send_acknowledgements()

    assert stream.calls == [("send", [b"1-0"]), ("wait", [b"1-0", b"2-0"])]
    assert intake.acks.count == 0


def test_what_cannot_be_sent_ahead_is_waited_for() -> None:
    """As where there is one connection only."""
    stream = Stream(Sent(is_on_its_way=False))
    intake = intake_of(stream, Word())
    intake.acks.add(b"1-0", 0.0, 0.0)

    intake.send_acknowledgements()

    assert stream.calls == [("send", [b"1-0"]), ("wait", [b"1-0"])]
    assert intake.acks.count == 0
