"""What is said about failures, and how often."""

import logging

import pytest

from edx_event_bus_redis.internal.errors import AccessRefused, ServerError, ServerUnavailable
from edx_event_bus_redis.internal.telemetry import RunContext
from edx_event_bus_redis.internal.troubles import Troubles


@pytest.fixture
def troubles() -> Troubles:
    return Troubles(RunContext("stream", "group", "c1"), 1.0)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines that an operator sees."""
    return [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]


def test_errors_that_differ_in_numbers_are_one_kind(troubles: Troubles, caplog: pytest.LogCaptureFixture) -> None:
    """Ports, times, ids and hashes in an error's text make no other line."""
    for number in range(50):
        troubles.happened(ServerUnavailable(f"from 127.0.0.1:{40000 + number} after {number / 7} s"))
        troubles.happened(
            ServerError(f"script {number:#x} {hash(number) * 7919:08x}b1 at 2026-01-01T00:00:{number:02}")
        )

    assert len(said(caplog)) == 2


def test_kinds_of_errors_that_alternate_are_said_once_each(
    troubles: Troubles, caplog: pytest.LogCaptureFixture
) -> None:
    """However often they take turns, there is one line for each kind, and one at the end."""
    for _ in range(50):
        for error in (ServerUnavailable("refused"), ServerError("refused"), AccessRefused("no")):
            troubles.happened(error)
    troubles.over()

    assert len(said(caplog)) == 4
    assert "Consumer c1 goes on, after 150 failures" in said(caplog)[-1]


def test_errors_without_end_of_new_texts_are_no_flood(troubles: Troubles, caplog: pytest.LogCaptureFixture) -> None:
    """A text that is never the same is said so many times in one row, not each time."""
    for number in range(1000):
        word = "".join(chr(ord("g") + int(digit)) for digit in str(number))
        troubles.happened(ServerError(word))

    assert len(said(caplog)) == 20


def test_what_comes_and_goes_is_said_a_few_times(troubles: Troubles, caplog: pytest.LogCaptureFixture) -> None:
    """A fault that ends and begins again all the time is no flood either; another kind is said all the same."""
    for _ in range(50):
        troubles.happened(ServerError("flickers"))
        troubles.over()
    assert len(said(caplog)) == 6

    troubles.happened(ServerError("something else"))
    troubles.over()

    assert len(said(caplog)) == 8


def test_what_failed_has_to_succeed_itself(troubles: Troubles, caplog: pytest.LogCaptureFixture) -> None:
    """While one thing still fails, that another one works is not the end of it."""
    troubles.happened(ServerError("full"), at="settle")
    troubles.over("read")
    troubles.happened(ServerError("full"), at="settle")
    troubles.happened(ServerError("gone"), at="read")
    troubles.over("settle")
    assert (len(said(caplog)), troubles.count) == (2, 3)

    troubles.over("read")

    assert (len(said(caplog)), troubles.count) == (3, 0)


def test_each_thing_that_fails_has_its_own_delays(troubles: Troubles) -> None:
    """Delays double with each failure of the same thing, up to the longest."""
    delays = [troubles.happened(ServerError("full"), at="settle") for _ in range(5)]

    assert delays == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert troubles.happened(ServerError("gone"), at="read") == 1.0
