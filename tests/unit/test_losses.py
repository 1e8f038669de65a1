"""How often the log says that something was lost."""

import logging

import pytest

from edx_event_bus_redis.internal.losses import Loss, LossLog


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


def test_the_first_loss_is_said_at_once_and_the_next_as_a_sum(caplog: pytest.LogCaptureFixture) -> None:
    """A loss is an error in the log at once; what is lost within ten seconds after that is one line more."""
    log = LossLog("stream", "group")

    log.add(Loss(3, b"1-0", b"3-0"))
    log.say(100.0)
    for number in range(4, 104):
        log.add(Loss(1, b"%d-0" % number, b"%d-0" % number))
        log.say(100.0 + number / 104 * 9.9)
    log.say(110.0)
    log.say(111.0)

    assert lines(caplog) == [
        "Lost 3 events: group group on stream stream: trimmed before they were read (entries 1-0 to 3-0)",
        "Lost 100 events: group group on stream stream: trimmed before they were read (entries 4-0 to 103-0)",
    ]


def test_what_is_unsaid_at_the_end_is_said_then(caplog: pytest.LogCaptureFixture) -> None:
    """A consumer that leaves does not keep a loss to itself, and says it once."""
    log = LossLog("stream", "group")
    log.add(Loss(1, b"1-0", b"1-0"))
    log.say(0.0)
    log.add(Loss(2, b"2-0", b"3-0"))
    log.say(1.0)

    log.say_all()
    log.say_all()

    assert [line.split(":")[0] for line in lines(caplog)] == ["Lost 1 event", "Lost 2 events"]
