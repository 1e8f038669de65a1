"""What receivers return is formatted for a log that takes it."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openedx_events import tooling
from openedx_events.learning.signals import SESSION_LOGIN_COMPLETED as SIGNAL
from openedx_events.utils import format_responses

from edx_event_bus_redis.internal.dispatch import responses_formatted_for_the_log_alone
from tests.acceptance.project import examples


class Response:
    """What a receiver returns; counts how often it is formatted."""

    formatted = 0

    def __repr__(self) -> str:
        self.formatted += 1
        return "<the response>"


@pytest.fixture
def response() -> Iterator[Response]:
    response = Response()

    def respond(**_: Any) -> Response:
        return response

    SIGNAL.connect(respond)
    yield response
    SIGNAL.disconnect(respond)


def send() -> Any:
    return SIGNAL.send_event_with_custom_metadata(
        examples.metadata(SIGNAL.event_type, 1), **examples.event_data(SIGNAL)
    )


def test_a_log_that_does_not_take_responses_costs_nothing(response: Response, caplog: Any) -> None:
    """Below INFO the receivers are called, their responses returned, and nothing is formatted."""
    with caplog.at_level(logging.WARNING, tooling.log.name), responses_formatted_for_the_log_alone():
        ((_, returned),) = send()

    assert returned is response
    assert response.formatted == 0


def test_a_log_that_takes_responses_gets_the_same_line(response: Response, caplog: Any) -> None:
    """At INFO there is the line that openedx-events writes by itself; also if the level is changed meanwhile."""
    with caplog.at_level(logging.INFO, tooling.log.name):
        send()
    with caplog.at_level(logging.WARNING, tooling.log.name), responses_formatted_for_the_log_alone():
        send()
        caplog.set_level(logging.INFO, tooling.log.name)
        send()

    expected, got = caplog.messages
    assert "<the response>" in expected
    assert got == expected


def test_receivers_that_return_nothing_get_the_same_line_each_time(caplog: Any) -> None:
    """Their line is made once, and anew when others are connected, or when one of them returns something."""
    returned: list[Any] = [None]

    def first(**_: Any) -> Any:
        return returned[0]

    def second(**_: Any) -> None:
        pass

    def send_some() -> list[str]:
        caplog.clear()
        for number in range(5):
            if number == 2:
                SIGNAL.connect(second)
            if number == 4:
                SIGNAL.disconnect(first)
            returned[0] = 7 if number == 3 else None
            send()
        SIGNAL.disconnect(second)
        SIGNAL.connect(first)
        return list(caplog.messages)

    SIGNAL.connect(first)
    try:
        with caplog.at_level(logging.INFO, tooling.log.name):
            expected = send_some()
            with responses_formatted_for_the_log_alone():
                got = send_some()
    finally:
        SIGNAL.disconnect(first)

    assert len(set(expected)) == 4
    assert got == expected


def test_openedx_events_is_left_as_it_was() -> None:
    """After the block it formats by itself again."""
    with responses_formatted_for_the_log_alone():
        assert tooling.format_responses is not format_responses

    assert tooling.format_responses is format_responses


def test_what_is_not_known_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that somebody else has put there, or that another release has, stays there."""
    other: Callable[..., str] = lambda *_, **__: "other"  # noqa: E731 -- a function like any
    monkeypatch.setattr(tooling, "format_responses", other)

    with responses_formatted_for_the_log_alone():
        assert tooling.format_responses is other

    assert tooling.format_responses is other


def test_a_release_without_it_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release of openedx-events that formats otherwise, or not at all, is used as it is."""
    monkeypatch.delattr(tooling, "format_responses")

    with responses_formatted_for_the_log_alone():
        assert not hasattr(tooling, "format_responses")
