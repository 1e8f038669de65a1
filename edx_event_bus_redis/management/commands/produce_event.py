"""
``manage.py produce_event``: sends events that are given on the command line.

For trials, for measurements, and for sending an event again that a producer could not deliver: its log line has the
event's data and metadata in the form that this command takes.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import logging
import math
import reprlib
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, get_args, get_origin
from uuid import UUID

import attrs
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.module_loading import import_string
from opaque_keys.edx.keys import CourseKey, UsageKey
from openedx_events.data import EventsMetadata
from openedx_events.event_bus.avro.deserializer import DEFAULT_DESERIALIZERS
from openedx_events.tooling import OpenEdxPublicSignal, load_all_signals
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edx_event_bus_redis.internal.amounts import amount
from edx_event_bus_redis.internal.codec import codec_for
from edx_event_bus_redis.internal.errors import ConfigurationError, EventTooLarge, ServerError
from edx_event_bus_redis.internal.names import stream_key
from edx_event_bus_redis.internal.producer import RedisEventProducer
from edx_event_bus_redis.internal.settings import load_producer_settings, required_server
from edx_event_bus_redis.internal.telemetry import producer_logger

# Seconds between two lines about the progress where there is no terminal.
_REPORT_INTERVAL = 10.0

_EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it

_JSON_TYPES: Mapping[Any, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "text"),
    list: ((list,), "a list"),
    dict: ((dict,), "an object"),
}

# Not every version of openedx-events that is supported has the one of metadata's id.
_FROM_TEXT: Mapping[Any, Callable[[str], Any]] = {UUID: UUID, **DEFAULT_DESERIALIZERS}

_EXAMPLES: Mapping[type, str] = {
    CourseKey: "course-v1:edX+DemoX+2026",
    UsageKey: "block-v1:edX+DemoX+2026+type@problem+block@welcome",
    UUID: "d509a63b-eb11-4dc8-8b84-4688c7335110",
    datetime: "2026-11-23T17:30:00+00:00",
}


class _Misfit(Exception):
    """Data does not fit the signal. The message says where, and what would."""


class Command(BaseCommand):
    """Sends one event, or many like it."""

    help = (
        "Send an event to the event bus. Example: manage.py produce_event "
        "--signal openedx_events.learning.signals.SESSION_LOGIN_COMPLETED --topic user-login "
        '--data \'{"user": {"id": 7, "is_active": true, "pii": {"username": "ada", "email": "ada@example.org"}}}\''
    )

    # A setting that cannot work is named here in one line, where the checks would make several.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options. Those of the published package are lists of one, for callers of ``call_command``."""
        parser.add_argument("--signal", nargs=1, required=True, help="dotted path of a signal, or its event type")
        parser.add_argument("--topic", nargs=1, required=True, help="topic to send to, without the prefix")
        parser.add_argument("--key-field", nargs=1, default=[""], help="not used by this event bus")
        parser.add_argument("--data", nargs=1, required=True, help="event data, as a JSON object")
        parser.add_argument("--metadata", help="metadata to keep, as the JSON object in a producer's log line")
        parser.add_argument("--count", default=1, metavar="N", help="how often to send it, each time as a new event")
        parser.add_argument(
            "--rate", metavar="EVENTS_PER_SECOND", help="how many to send in a second; default: as fast as it goes"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Send the events, and say in one line where they are."""
        signal = _signal(options["signal"][0])
        topic = _topic(options["topic"][0])
        data = _event_data(options["data"][0], signal)
        count, rate = _count(options["count"]), _rate(options["rate"])
        metadata = _metadata(options["metadata"], signal)
        if metadata is not None and count > 1:
            raise CommandError(f"--metadata is the identity of one event: it does not go with --count {count}")
        try:
            producer = RedisEventProducer(required_server())
            stream = stream_key(topic, load_producer_settings().topic_prefix)
        except ConfigurationError as error:
            raise CommandError(str(error)) from None

        def deliver() -> bytes:
            return producer.deliver(
                signal=signal,
                topic=topic,
                event_key_field=options["key_field"][0],
                event_data=data,
                event_metadata=metadata or signal.generate_signal_metadata(),
            )

        last = self._send(deliver, stream, count, rate)
        self.stdout.write(f"sent {amount(count, 'event')} to stream {stream}, last entry id {last.decode()}")

    def _send(self, deliver: Callable[[], bytes], stream: str, count: int, rate: float | None) -> bytes:
        """Call ``deliver`` that often and return what the last call did."""
        sent, last = 0, b""
        began = time.monotonic()
        try:
            with self._progress(stream, count) as report:
                for number in range(count):
                    if rate is not None:
                        time.sleep(max(0.0, began + number / rate - time.monotonic()))
                    last = deliver()
                    sent += 1
                    report(sent)
        except EventTooLarge as error:
            raise CommandError(str(error)) from None
        except ServerError as error:
            text = " ".join(str(error).split()) or type(error).__name__
            raise CommandError(
                f"Redis at {required_server()} did not take the event: {text}{_so_far(sent, count)}"
            ) from None
        except KeyboardInterrupt:
            raise CommandError(f"interrupted{_so_far(sent, count)}", returncode=_EXIT_INTERRUPTED) from None
        return last

    @contextlib.contextmanager
    def _progress(self, stream: str, count: int) -> Iterator[Callable[[int], None]]:
        """Yield what is to be told after each event how many were sent."""
        if count > 1 and self.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            with Progress(*columns, console=Console(stderr=True), transient=True) as progress, _logs_above_the_bar():
                task = progress.add_task(stream, total=count)
                yield lambda sent: progress.update(task, completed=sent)
            return
        due = time.monotonic() + _REPORT_INTERVAL

        def report(sent: int) -> None:
            nonlocal due
            if time.monotonic() >= due:
                due += _REPORT_INTERVAL
                self.stderr.write(f"sent {sent} of {count}")

        yield report


def _so_far(sent: int, count: int) -> str:
    return f" ({sent} of {count} were sent)" if count > 1 else ""


@contextlib.contextmanager
def _logs_above_the_bar() -> Iterator[None]:
    """Let log lines, one for each event, scroll above a bar that is on the same terminal, which moved sys.stderr."""
    moved = []
    logger: logging.Logger | None = producer_logger
    while logger is not None:
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.__stderr__:
                handler.setStream(sys.stderr)
                moved.append(handler)
        logger = logger.parent if logger.propagate else None
    try:
        yield
    finally:
        for handler in moved:
            handler.setStream(sys.__stderr__)


# What the options mean.


def _signal(text: str) -> OpenEdxPublicSignal:
    load_all_signals()
    try:
        signal = OpenEdxPublicSignal.get_signal_by_type(text)
    except KeyError:
        signal = _imported_signal(text)
    try:
        codec_for(signal)
    except Exception as error:  # noqa: BLE001 -- openedx-events raises plain Exception for some
        raise CommandError(f"--signal {text!r} cannot be sent by an event bus ({_first_line(error)})") from None
    return signal


def _imported_signal(path: str) -> OpenEdxPublicSignal:
    try:
        signal = import_string(path)
    except Exception as error:  # noqa: BLE001 -- importing a module runs it, so it may be anything
        raise CommandError(f"--signal {path!r} cannot be imported ({_first_line(error)}){_near_signal(path)}") from None
    if not isinstance(signal, OpenEdxPublicSignal):
        kind = type(signal).__name__
        raise CommandError(f"--signal {path!r} is a {kind}, not an OpenEdxPublicSignal{_near_signal(path)}")
    return signal


def _near_signal(text: str) -> str:
    paths = {
        name: f"{module}.{name}"
        for module, loaded in list(sys.modules.items())
        if module.rpartition(".")[2] == "signals"
        for name, value in vars(loaded).items()
        if isinstance(value, OpenEdxPublicSignal)
    }
    near = difflib.get_close_matches(text.rpartition(".")[2], paths, n=1, cutoff=0.7)
    if near:
        return f": did you mean {paths[near[0]]}?"
    types = difflib.get_close_matches(text, [signal.event_type for signal in OpenEdxPublicSignal.all_events()], n=1)
    if types:
        return f": did you mean {types[0]}?"
    return ": expected a path like openedx_events.learning.signals.SESSION_LOGIN_COMPLETED"


def _topic(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise CommandError(
            f"--topic is {text!r}: expected a name: text that is not empty and has no control characters"
        )
    return text


def _count(value: int | str) -> int:
    with contextlib.suppress(ValueError):
        if int(value) >= 1:
            return int(value)
    raise CommandError(f"--count is {value!r}: expected a whole number from 1")


def _rate(value: float | str | None) -> float | None:
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        if 0 < float(value) < math.inf:
            return float(value)
    raise CommandError(f"--rate is {value!r}: expected a number of events per second, above 0")


def _metadata(text: str | None, signal: OpenEdxPublicSignal) -> EventsMetadata | None:
    """Return the metadata of that JSON. openedx-events has a reader for it, which forgets ``minorversion``."""
    if text is None:
        return None
    values = _json_object("--metadata", text)
    try:
        if "sourcelib" in values:
            values["sourcelib"] = tuple(_built(values["sourcelib"], list[int], "sourcelib"))
        metadata: EventsMetadata = _record(values, EventsMetadata)
    except _Misfit as misfit:
        raise CommandError(f"--metadata does not fit: {misfit}") from None
    if metadata.event_type != signal.event_type:
        raise CommandError(f"--metadata is of event type {metadata.event_type!r}, --signal of {signal.event_type!r}")
    return metadata


def _event_data(text: str, signal: OpenEdxPublicSignal) -> dict[str, Any]:
    """Return what a sender would have called ``send_event`` with."""
    values = _json_object("--data", text)
    codec = codec_for(signal)
    try:
        _check_keys(values, signal.init_data, signal.init_data)
        event_data = {key: _built(value, signal.init_data[key], key) for key, value in values.items()}
        # The last word is the codec's: what a consumer could not decode is not sent.
        codec.decode(codec.encode(event_data))
    except _Misfit as misfit:
        raise CommandError(f"--data does not fit {signal.event_type}: {misfit}") from None
    except Exception as error:  # noqa: BLE001 -- whatever openedx-events and fastavro raise
        raise CommandError(f"--data does not fit {signal.event_type}: {_first_line(error)}") from None
    return event_data


def _json_object(option: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise CommandError(f"{option} is no JSON ({_first_line(error)}): expected an object, {{...}}") from None
    if not isinstance(value, dict):
        raise CommandError(f"{option} is {reprlib.repr(value)}: expected a JSON object, {{...}}")
    return value


# From JSON to the data that a signal is sent with.


def _built(value: Any, expected: Any, path: str) -> Any:
    """Return the JSON value as an instance of the type that openedx-events' annotations ask for. Raises _Misfit."""
    if attrs.has(expected):
        return _record(value, expected, path)
    if expected in _FROM_TEXT:
        return _from_text(value, expected, path)
    kind, arguments = get_origin(expected) or expected, get_args(expected)
    if kind not in _JSON_TYPES:
        return value
    accepted, description = _JSON_TYPES[kind]
    # By its very type: JSON's true is an int to Python, and never what was meant.
    if type(value) not in accepted:
        raise _Misfit(f"{path} is {reprlib.repr(value)}, expected {description}")
    if kind is int and not -(2**63) <= value < 2**63:
        raise _Misfit(f"{path} is {reprlib.repr(value)}, which is more than 64 bits")
    if kind is list and arguments:
        return [_built(item, arguments[0], f"{path}[{index}]") for index, item in enumerate(value)]
    if kind is dict and arguments:
        return {key: _built(item, arguments[1], f"{path}.{key}") for key, item in value.items()}
    return value


def _record(value: Any, data_class: type, path: str = "") -> Any:
    values, fields, inside = _built(value, dict, path), attrs.fields_dict(data_class), f"{path}." if path else ""
    _check_keys(values, fields, [name for name, field in fields.items() if field.default is attrs.NOTHING], inside)
    built = {
        key: None if item is None and fields[key].default is None else _built(item, fields[key].type, inside + key)
        for key, item in values.items()
    }
    try:
        return data_class(**built)
    except (TypeError, ValueError) as error:
        raise _Misfit(f"{path or data_class.__name__}: {_first_line(error)}") from None


def _from_text(value: Any, expected: type, path: str) -> Any:
    text = _built(value, str, path)
    try:
        return _FROM_TEXT[expected](text)
    except Exception:  # noqa: BLE001 -- each type of key has its own
        example = f" like {_EXAMPLES[expected]}" if expected in _EXAMPLES else ""
        raise _Misfit(f"{path} is {reprlib.repr(text)}, expected a {expected.__name__}{example}") from None


def _check_keys(given: Collection[str], known: Collection[str], required: Collection[str], inside: str = "") -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.7)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            raise _Misfit(f"key '{inside}{key}' is unknown, {hint}")
    for key in required:
        if key not in given:
            raise _Misfit(f"key '{inside}{key}' is missing")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
