"""The records of the audit log are those that the logging module would make."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openedx_events.data import EventsMetadata

from edx_event_bus_redis.internal import audit_log
from edx_event_bus_redis.internal.audit_log import AuditLog
from edx_event_bus_redis.internal.log_lines import identify
from edx_event_bus_redis.internal.message import Message
from edx_event_bus_redis.internal.telemetry import RunContext, consumer_logger

EVENT_TYPE = "org.openedx.some.type.v1"

# What differs between two records of one line, beside the fields of the event.
TIMES = {"created", "msecs", "relativeCreated", "asctime"}
EVENT = {"entry_id", "event_id", "args", "message"}


@pytest.fixture(autouse=True)
def nobody() -> Iterator[None]:
    identify(consumer_name="c1.0", pool="c1", shard=0)
    yield
    identify()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> AuditLog:
    caplog.set_level(logging.INFO)
    return AuditLog(RunContext("stream", "group", "c1.0"))


def write(log: AuditLog, number: int) -> None:
    log.received(Message("stream", b"%d-0" % number, EventsMetadata(event_type=EVENT_TYPE), b""))
    log.processed()


def slowly(log: AuditLog, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write by the logging module's own means."""
    with monkeypatch.context() as patch:
        patch.setattr(audit_log, "records_are_plain", lambda _: False)
        write(log, number)


def test_a_record_has_all_that_the_logging_module_gives_it(
    log: AuditLog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names, types and values are the same, but for the times and the event."""
    write(log, 1)
    slowly(log, 2, monkeypatch)
    write(log, 3)

    records = [vars(record) for record in caplog.records]
    for copied, made, again in (records[0::2], records[1::2]):
        kinds = [{name: type(value) for name, value in each.items()} for each in (copied, made, again)]
        assert kinds[0] == kinds[1] == kinds[2]
        staying = [{name: each[name] for name in each.keys() - TIMES - EVENT} for each in (copied, made, again)]
        assert staying[0] == staying[1] == staying[2]
        assert [each["entry_id"] for each in (copied, made, again)] == ["1-0", "2-0", "3-0"]
        assert len({each["event_id"] for each in (copied, made, again)}) == 3
        assert made["funcName"] == made["log_line"]


def test_a_record_has_its_own_time(log: AuditLog, caplog: pytest.LogCaptureFixture) -> None:
    """All three ways to say it agree, in records that are copies."""
    began = time.time()
    write(log, 1)
    time.sleep(0.01)
    write(log, 2)
    ended = time.time()

    first, *_, last = caplog.records
    assert began <= first.created < last.created <= ended
    for record in (first, last):
        assert record.msecs == int(record.created % 1 * 1000)
    assert (last.relativeCreated - first.relativeCreated) / 1000 == pytest.approx(
        last.created - first.created, abs=1e-3
    )


class OwnRecord(logging.LogRecord):
    """A record of the host's."""


def own_factory(*arguments: Any, **options: Any) -> logging.LogRecord:
    record = OwnRecord(*arguments, **options)
    record.host_number = own_factory.number = getattr(own_factory, "number", 0) + 1  # type: ignore[attr-defined]
    return record


def test_a_hosts_own_records_are_used(log: AuditLog, caplog: pytest.LogCaptureFixture) -> None:
    """Who makes records puts into each what belongs to it, so none is a copy."""
    logging.setLogRecordFactory(own_factory)
    try:
        write(log, 1)
        write(log, 2)
    finally:
        logging.setLogRecordFactory(logging.LogRecord)

    assert all(isinstance(record, OwnRecord) for record in caplog.records)
    assert len({vars(record)["host_number"] for record in caplog.records}) == 4


def wrapped(make: Callable[..., logging.LogRecord]) -> Callable[..., logging.LogRecord]:
    """Wrap the method that makes records, as tracers do."""
    numbers = iter(range(1_000))

    def make_and_mark(*arguments: Any, **options: Any) -> logging.LogRecord:
        record = make(*arguments, **options)
        vars(record)["trace"] = next(numbers)
        return record

    return make_and_mark


def marking(begin: Callable[..., None]) -> Callable[..., None]:
    """Wrap the method that a record begins with."""
    numbers = iter(range(1_000))

    def begin_and_mark(record: logging.LogRecord, *arguments: Any, **options: Any) -> None:
        begin(record, *arguments, **options)
        vars(record)["trace"] = next(numbers)

    return begin_and_mark


@pytest.mark.parametrize(
    ("owner", "method", "wrap"),
    [
        (logging.Logger, "makeRecord", wrapped),
        (consumer_logger, "makeRecord", wrapped),
        (logging.LogRecord, "__init__", marking),
    ],
    ids=["all loggers", "this logger", "all records"],
)
def test_a_tracers_mark_is_its_own_in_each_record(
    owner: Any,
    method: str,
    wrap: Callable[..., Any],
    log: AuditLog,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tracer that marks what the logger makes is asked for each record."""
    write(log, 1)
    monkeypatch.setattr(owner, method, wrap(getattr(owner, method)))
    write(log, 2)
    write(log, 3)

    assert [vars(record).get("trace") for record in caplog.records] == [None, None, 0, 1, 2, 3]


@pytest.mark.parametrize(
    ("owner", "method"),
    [(logging.Logger, "info"), (logging.Logger, "_log"), (consumer_logger, "_log"), (consumer_logger, "makeRecord")],
)
def test_whoever_wraps_a_method_is_called_for_each_line(
    owner: Any, method: str, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a tracer wraps, of all loggers or of this one."""
    calls = []
    wrapped_method = getattr(owner, method)

    def count(*arguments: Any, **options: Any) -> Any:
        calls.append(method)
        return wrapped_method(*arguments, **options)

    monkeypatch.setattr(owner, method, count)
    write(log, 1)
    write(log, 2)

    assert len(calls) == 4


def test_a_handler_that_changes_a_record_changes_that_one(log: AuditLog, caplog: pytest.LogCaptureFixture) -> None:
    """What formatters and filters leave in a record does not come back in the next one."""

    class Marking(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            assert not hasattr(record, "marked")
            record.marked = threading.get_ident()
            return True

    marking = Marking()
    consumer_logger.addFilter(marking)
    try:
        write(log, 1)
        write(log, 2)
    finally:
        consumer_logger.removeFilter(marking)

    assert len(caplog.records) == 4
