"""What receivers return is formatted for a log that takes it."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openedx_events import tooling
from openedx_events.learning.signals import SESSION_LOGIN_COMPLETED as SIGNAL
from openedx_events.utils import format_responses

from edx_event_bus_redis.internal.responses import responses_logged_cheaply
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
    with caplog.at_level(logging.WARNING, tooling.log.name), responses_logged_cheaply():
        ((_, returned),) = send()

    assert returned is response
    assert response.formatted == 0


def test_a_log_that_takes_responses_gets_the_same_line(response: Response, caplog: Any) -> None:
    """At INFO there is the line that openedx-events writes by itself; also if the level is changed meanwhile."""
    with caplog.at_level(logging.INFO, tooling.log.name):
        send()
    with caplog.at_level(logging.WARNING, tooling.log.name), responses_logged_cheaply():
        send()
        with caplog.at_level(logging.INFO, tooling.log.name):
            send()

    expected, got = caplog.messages
    assert "<the response>" in expected
    assert got == expected


@contextlib.contextmanager
def heard_from(level: int) -> Iterator[None]:
    """Give openedx-events' log, at level INFO, one handler of this level; pytest's would take everything."""
    handler = logging.NullHandler(level)
    handlers, tooling.log.handlers = tooling.log.handlers, [handler]
    tooling.log.propagate = False
    tooling.log.setLevel(logging.INFO)
    yield
    tooling.log.setLevel(logging.NOTSET)
    tooling.log.propagate = True
    tooling.log.handlers = handlers


@pytest.mark.parametrize("is_taken", [True, False])
def test_responses_are_formatted_for_a_handler_that_takes_them(is_taken: bool, response: Response) -> None:
    """Where the logger takes INFO and none of the handlers does, nothing is formatted."""
    with heard_from(logging.INFO if is_taken else logging.WARNING), responses_logged_cheaply():
        send()

    assert response.formatted == is_taken


def test_responses_are_formatted_for_who_looks_at_all_records(
    response: Response, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Error trackers replace the method that gives records to handlers, and see what these do not take."""
    seen = []
    monkeypatch.setattr(logging.Logger, "callHandlers", lambda _, record: seen.append(record.getMessage()))
    with heard_from(logging.WARNING), responses_logged_cheaply():
        send()

    assert "<the response>" in seen[-1]


def test_a_filter_that_fails_is_no_failure_of_receivers(response: Response, caplog: Any) -> None:
    """What they return is returned all the same, so that the event is not handled again."""

    def fail(_: logging.LogRecord) -> bool:
        raise RuntimeError

    tooling.log.addFilter(fail)
    try:
        with caplog.at_level(logging.INFO, tooling.log.name), responses_logged_cheaply():
            ((_, returned),) = send()
    finally:
        tooling.log.removeFilter(fail)

    assert returned is response


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
            with responses_logged_cheaply():
                got = send_some()
    finally:
        SIGNAL.disconnect(first)

    assert len(set(expected)) == 4
    assert got == expected


# What differs between two records of the line.
TIMES = {"created", "msecs", "relativeCreated", "asctime"}


def in_a_thread(do: Callable[[], Any]) -> None:
    thread = threading.Thread(target=do, name="a receiver's thread")
    thread.start()
    thread.join(10)


def in_a_task(do: Callable[[], Any]) -> None:
    async def task() -> None:
        do()

    asyncio.run(task())


def at_once(do: Callable[[], Any]) -> None:
    do()


@pytest.mark.parametrize("somewhere", [at_once, in_a_thread, in_a_task])
def test_a_record_has_all_that_openedx_events_gives_it(
    somewhere: Callable[[Callable[[], Any]], None], caplog: Any
) -> None:
    """Names, types and values are the same but for the times, also where a receiver sends in a thread or a task."""

    def silent(**_: Any) -> None:
        pass

    SIGNAL.connect(silent)
    try:
        with caplog.at_level(logging.INFO, tooling.log.name):
            somewhere(send)
            with responses_logged_cheaply():
                send()
                caplog.records.pop()
                somewhere(send)
                somewhere(send)
    finally:
        SIGNAL.disconnect(silent)

    records = [vars(record) for record in caplog.records]
    kinds = [{name: type(value) for name, value in record.items()} for record in records]
    # Two threads, or two tasks, have a number each.
    numbers = {"thread", "taskName"} if somewhere is not at_once else set()
    made, *copied = [{name: record[name] for name in record.keys() - TIMES - numbers} for record in records]
    assert len(copied) == 2
    assert copied == [made, made]
    assert kinds == [kinds[0]] * 3
    assert made["funcName"] == "_send_event_with_metadata"


def test_a_record_has_its_own_time(caplog: Any) -> None:
    """Copies say when their own line was logged."""
    with caplog.at_level(logging.INFO, tooling.log.name), responses_logged_cheaply():
        send()
        time.sleep(0.01)
        send()

    first, last = caplog.records
    assert last.created - first.created >= 0.01
    assert last.relativeCreated - first.relativeCreated >= 10


def test_other_lines_of_openedx_events_are_logged_as_ever(caplog: Any) -> None:
    """Another release may log more, with arguments, with fields, at other levels: from where it does."""
    with caplog.at_level(logging.INFO, tooling.log.name), responses_logged_cheaply():
        send()
        tooling.log.info("Sent %s", 3, extra={"number": 3})
        tooling.log.warning("Not sent")

    _, sent, not_sent = caplog.records
    assert (sent.getMessage(), sent.number, not_sent.getMessage()) == ("Sent 3", 3, "Not sent")
    assert (sent.funcName, not_sent.funcName) == (test_other_lines_of_openedx_events_are_logged_as_ever.__name__,) * 2


class OwnLogger(logging.Logger):
    """A logger of the host's."""


def test_a_hosts_own_logger_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known of what it does."""
    own = OwnLogger("own")
    monkeypatch.setattr(tooling, "log", own)

    with responses_logged_cheaply():
        assert tooling.log is own


def test_what_is_set_at_the_logger_holds(caplog: Any) -> None:
    """However somebody comes by it: level, handlers and all else are the logger's."""
    logger = logging.getLogger(tooling.log.name)
    with caplog.at_level(logging.INFO, logger.name), responses_logged_cheaply():
        assert isinstance(tooling.log, logging.Logger)
        tooling.log.disabled = True
        assert logger.disabled
        send()
        logger.disabled = False
        send()

    assert len(caplog.records) == 1


def test_openedx_events_is_left_as_it_was() -> None:
    """After the block it formats and logs by itself again."""
    logger = tooling.log
    with responses_logged_cheaply():
        assert tooling.format_responses is not format_responses
        assert tooling.log is not logger

    assert tooling.format_responses is format_responses
    assert tooling.log is logger


def test_what_is_not_known_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that somebody else has put there, or that another release has, stays there."""
    other: Callable[..., str] = lambda *_, **__: "other"  # noqa: E731 -- a function like any
    monkeypatch.setattr(tooling, "format_responses", other)

    with responses_logged_cheaply():
        assert tooling.format_responses is other

    assert tooling.format_responses is other


def test_a_release_without_it_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release of openedx-events that formats otherwise, or not at all, is used as it is."""
    monkeypatch.delattr(tooling, "format_responses")

    with responses_logged_cheaply():
        assert not hasattr(tooling, "format_responses")
