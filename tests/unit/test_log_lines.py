"""Lines of the log: stable words, and fields that a formatter gets."""

import io
import logging
import re
from collections.abc import Iterator

import pytest
from openedx_events.data import EventsMetadata
from openedx_events.learning.signals import SESSION_LOGIN_COMPLETED

from edx_event_bus_redis.internal import log_lines
from edx_event_bus_redis.internal.audit_log import AuditLog
from edx_event_bus_redis.internal.log_lines import Line, identify
from edx_event_bus_redis.internal.message import Message
from edx_event_bus_redis.internal.pool_log import PoolLog
from edx_event_bus_redis.internal.telemetry import ProducingContext, RunContext, producer_logger
from pool import Event, ForkFailed, StackTaken

LINES = [value for value in vars(log_lines).values() if isinstance(value, Line)]
RESERVED = vars(logging.makeLogRecord({})).keys() | {"message", "asctime"}

logger = logging.getLogger(__name__)


@pytest.fixture(autouse=True)
def _no_identity() -> Iterator[None]:
    identify()
    yield
    identify()


@pytest.mark.parametrize(
    ("of_a_worker", "of_the_monitor"),
    [
        (ForkFailed(3, OSError("no"), 0.5), ForkFailed(None, OSError("no"), 0.5)),
        (StackTaken("worker 3", 10, "in work", 3), StackTaken("monitor", 11, "in watch")),
    ],
    ids=["fork_failed", "stack"],
)
def test_what_is_said_of_a_worker_has_its_shard(
    of_a_worker: Event, of_the_monitor: Event, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where the words name whoever it is, the worker's number is an attribute of the record."""
    log = PoolLog("c1")

    log.log(of_a_worker)
    log.log(of_the_monitor)

    assert [(record.__dict__["pool"], record.__dict__["shard"]) for record in caplog.records] == [
        ("c1", 3),
        ("c1", None),
    ]


def test_names_are_given_once() -> None:
    """Two kinds of lines cannot be taken for each other."""
    assert LINES
    assert len({line.name for line in LINES}) == len(LINES)


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_a_line_is_logged_with_its_fields(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    """The words hold every field, and the record has them as attributes that are not the logging module's own."""
    fields = dict(re.findall(r"%\((\w+)\)\S*?([sdrf])", line.words))
    values = {name: 7 if kind in "df" else "seven" for name, kind in fields.items()}
    caplog.set_level(logging.DEBUG)

    line.log(logger, **values)

    (record,) = caplog.records
    assert not fields.keys() & RESERVED
    assert record.levelno == line.level
    assert record.getMessage() == line.words % values
    assert {name: getattr(record, name) for name in fields} == values
    assert record.log_line == line.name  # type: ignore[attr-defined]
    assert record.filename == "test_log_lines.py"


def test_one_of_something_is_in_the_singular(caplog: pytest.LogCaptureFixture) -> None:
    """What is counted agrees with its number, and so does what is said of it."""
    caplog.set_level(logging.INFO)

    for count in (0, 1, 2):
        log_lines.STOPPED.log(logger, pool="c1", seconds=1.0, pending=count, killed=count)
    log_lines.LOST_DELETED.log(logger, count=1, group="g", stream="s", first="1-0", last="1-0")

    assert [record.getMessage().partition(" with ")[2] for record in caplog.records[:3]] == [
        "0 entries left pending, 0 workers killed",
        "1 entry left pending, 1 worker killed",
        "2 entries left pending, 2 workers killed",
    ]
    assert caplog.records[3].getMessage() == (
        "Lost 1 event: it was pending in group g, and stream s has been trimmed or it was deleted (entries 1-0 to 1-0)"
    )


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_words_that_depend_on_a_number_are_chosen(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of the notation shows, whether there is one or more."""
    kinds = dict(re.findall(r"%\((\w+)\)\S*?([sdrf])", line.words))
    for number in (1, 2):
        line.log(logger, **{name: number if kind in "df" else "x" for name, kind in kinds.items()})

    texts = [record.getMessage() for record in caplog.records]
    assert not any("[" in text or "|" in text for text in texts)
    assert not re.search(r"(?<!of )\b1 (?:[a-z]+ )?(?:events|entries|workers|failures|replacements)\b", texts[0])


def test_a_line_says_which_process_it_is_from(caplog: pytest.LogCaptureFixture) -> None:
    """The consumer's name is at the end, unless the words have it; pool and shard are among the fields."""
    identify(consumer_name="c1.0", pool="c1", shard=0)

    log_lines.DEAD_LETTER.log(logger, entry_id=b"1-0", stream="s", group="g", cause="receivers failed")
    log_lines.GOES_ON.log(logger, consumer_name="c1.0", count=2, seconds=1.0)

    letter, goes_on = caplog.records
    assert letter.getMessage() == "Entry 1-0 of stream s is a dead letter of group g now: receivers failed [c1.0]"
    assert (letter.consumer_name, letter.pool, letter.shard) == ("c1.0", "c1", 0)  # type: ignore[attr-defined]
    assert goes_on.getMessage() == "Consumer c1.0 goes on, after 2 failures in 1.0 s"


def test_a_line_about_an_event_names_it(caplog: pytest.LogCaptureFixture) -> None:
    """Its id, by which producers know it, is at the end too, where there is one: not only a formatter gets it."""
    identify(consumer_name="c1.0", pool="c1", shard=0)
    about = {"entry_id": b"1-0", "stream": "s", "group": "g", "cause": "receivers failed"}

    log_lines.DEAD_LETTER.log(logger, **about, event_id="3f1a")
    log_lines.DEAD_LETTER.log(logger, **about, event_id=None)

    assert [text.partition(": ")[2] for text in caplog.messages] == [
        "receivers failed [c1.0, event 3f1a]",
        "receivers failed [c1.0]",
    ]


def test_nothing_is_formatted_that_nobody_wants() -> None:
    """A line below the logger's level costs its values nothing."""

    class Loud:
        def __str__(self) -> str:
            raise AssertionError("was formatted")

    logger.setLevel(logging.CRITICAL)
    try:
        log_lines.CANNOT_CHECK.log(logger, group="g", stream="s", error=Loud())
    finally:
        logger.setLevel(logging.NOTSET)


def test_the_audit_log_has_fields_too(caplog: pytest.LogCaptureFixture) -> None:
    """The lines of the published package keep their words, and say which event they are about to a formatter."""
    identify(consumer_name="c1.0", pool="c1", shard=0)
    caplog.set_level(logging.INFO)
    metadata = EventsMetadata(event_type="org.openedx.some.type.v1")
    context = RunContext("stream", "group", "c1.0")

    audit_log = AuditLog(context)
    audit_log.received(Message("stream", b"1-0", metadata, b""))
    audit_log.processed()
    context.record_error(ValueError("x"), None, b"1-1")

    received, processed, failed = caplog.records
    assert received.getMessage().startswith(
        f"Message received from Redis: topic=stream, message_id={metadata.id}, redis_msg_id=b'1-0', event_timestamp_ms="
    )
    assert processed.getMessage() == "Message from Redis processed successfully"
    about = {"stream": "stream", "group": "group", "consumer_name": "c1.0", "pool": "c1", "shard": 0}
    event = {"entry_id": "1-0", "event_id": str(metadata.id), "event_type": "org.openedx.some.type.v1"}
    assert vars(received).items() >= {**about, **event, "log_line": "received"}.items()
    assert vars(processed).items() >= {**about, **event, "log_line": "processed"}.items()
    assert (
        vars(failed).items() >= {**about, "entry_id": "1-1", "event_id": None, "log_line": "consuming_failed"}.items()
    )


class Loud:
    """Data that fits no signal, and counts how often it is formatted."""

    formatted = 0

    def __repr__(self) -> str:
        self.formatted += 1
        return "<loud>"


@pytest.mark.parametrize("level", [logging.ERROR, logging.CRITICAL])
def test_an_event_that_was_not_delivered_is_formatted_for_a_handler_that_takes_it(level: int) -> None:
    """The one line with event data is made where somebody wants it, and nowhere else."""
    data = Loud()
    metadata = EventsMetadata(event_type=SESSION_LOGIN_COMPLETED.event_type)
    context = ProducingContext(
        signal=SESSION_LOGIN_COMPLETED,
        initial_topic="t",
        event_key_field="k",
        event_data={"user": data},
        event_metadata=metadata,
    )
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setLevel(level)
    producer_logger.addHandler(handler)
    producer_logger.propagate = False
    try:
        context.record_error(ValueError("x"))
    finally:
        producer_logger.propagate = True
        producer_logger.removeHandler(handler)

    is_taken = level == logging.ERROR
    assert data.formatted == is_taken
    assert ("event_data={'user': <loud>}" in written.getvalue()) == is_taken


FORGED = "x\r\n2026-01-01 CRITICAL \x1b[31mforged\x9b"


@pytest.mark.parametrize("value", [FORGED, FORGED.encode(), ValueError(FORGED)], ids=["text", "bytes", "error"])
def test_what_others_have_written_begins_no_new_line(value: object, caplog: pytest.LogCaptureFixture) -> None:
    """Control characters are escapes, in the text and in the attributes of the record, whatever they come in."""
    log_lines.CANNOT_CHECK.log(logger, group="g", stream="s", error=value)

    (record,) = caplog.records
    assert record.getMessage().isprintable()
    assert "x\\r\\n2026-01-01 CRITICAL \\x1b[31mforged" in record.getMessage()
    assert str(record.error).isprintable()  # type: ignore[attr-defined]


def test_a_stack_has_several_lines(caplog: pytest.LogCaptureFixture) -> None:
    """It is no value that somebody else has written."""
    log_lines.WORKER_STACK.log(logger, pool="p", shard=0, stack="a\nb")

    assert caplog.messages == ["Pool p: where worker 0 was:\na\nb"]
