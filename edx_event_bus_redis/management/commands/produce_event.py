"""
``manage.py produce_event``: sends events that are given on the command line.

For trials, for measurements, and for sending an event again that a producer could not deliver: its log line has the
event's data and metadata in the form that this command takes.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.module_loading import import_string
from openedx_events.tooling import OpenEdxPublicSignal, load_all_signals

from edx_event_bus_redis.internal.amounts import amount
from edx_event_bus_redis.internal.codec import codec_for
from edx_event_bus_redis.internal.errors import ConfigurationError, EventTooLarge, ServerError
from edx_event_bus_redis.internal.names import stream_key
from edx_event_bus_redis.internal.producer import RedisEventProducer
from edx_event_bus_redis.internal.settings import load_producer_settings, required_server
from edx_event_bus_redis.internal.telemetry import producer_logger
from edx_event_bus_redis.management.event_json import event_data_of, first_line, metadata_of
from edx_event_bus_redis.management.progress_report import reported

_EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


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
        data = event_data_of(options["data"][0], signal)
        count, rate = _count(options["count"]), _rate(options["rate"])
        metadata = metadata_of(options["metadata"], signal)
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
            with reported(self.stderr, f"sent to {stream}", count) as report, _logs_above_the_bar():
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


def _so_far(sent: int, count: int) -> str:
    return f" ({sent} of {count} were sent)" if count > 1 else ""


@contextlib.contextmanager
def _logs_above_the_bar() -> Iterator[None]:
    """
    Let log lines, one for each event, scroll above a bar that is on the same terminal, which moved sys.stderr.

    Without a bar sys.stderr is where it was.
    """
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
        raise CommandError(f"--signal {text!r} cannot be sent by an event bus ({first_line(error)})") from None
    return signal


def _imported_signal(path: str) -> OpenEdxPublicSignal:
    try:
        signal = import_string(path)
    except Exception as error:  # noqa: BLE001 -- importing a module runs it, so it may be anything
        raise CommandError(f"--signal {path!r} cannot be imported ({first_line(error)}){_near_signal(path)}") from None
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
