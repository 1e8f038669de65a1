"""
What encoding and decoding an event costs, for every signal, against openedx-events.

Usage::

    python -m perf.codec [--rounds 7] [--unseen-keys]

Both sides take turns in one process. Each figure is the median of the rounds, in microseconds of processor time; the
smallest and the greatest ratio of a round are in parentheses. Keys of courses and blocks are the same in all events,
or, with ``--unseen-keys``, in no two of the last thousands.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import django
import fastavro
import openedx_events
from openedx_events.event_bus.avro.deserializer import deserialize_bytes_to_event_data
from openedx_events.event_bus.avro.serializer import serialize_event_data_to_bytes

from edx_event_bus_redis.internal.codec import SignalCodec, codec_for
from edx_event_bus_redis.internal.headers import decode_headers
from edx_event_bus_redis.internal.message import Entry, encode_fields, parse_entry
from edx_event_bus_redis.internal.openedx_codec import OpenedxCodec
from tests.acceptance.project import examples

WHOLE_ENTRIES = (
    "org.openedx.learning.auth.session.login.completed.v1",
    "org.openedx.learning.course.enrollment.created.v1",
)

# More than the codec remembers keys.
UNSEEN = 3000


class Comparison(NamedTuple):
    """Microseconds of either side in each round."""

    before: list[float]
    after: list[float]

    @property
    def ratio(self) -> float:
        """How many times faster the second one is in the median."""
        return statistics.median(self.before) / statistics.median(self.after)

    def __str__(self) -> str:
        ratios = [before / after for before, after in zip(self.before, self.after, strict=True)]
        before, after = statistics.median(self.before), statistics.median(self.after)
        return f"{before:8.1f} {after:7.2f} {self.ratio:6.1f}x ({min(ratios):.1f}-{max(ratios):.1f})".ljust(38)


def compare(before: Callable[[], object], after: Callable[[], object], rounds: int) -> Comparison:
    """Measure two functions in turns."""
    result = Comparison([], [])
    for _ in range(rounds):
        result.before.append(_microseconds(before, 100))
        result.after.append(_microseconds(after, 500))
    return result


def _microseconds(function: Callable[[], object], times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        function()
    return (time.process_time() - began) / times * 1e6


def variants(data: bytes, *, unseen: bool) -> Sequence[bytes]:
    """Return an event many times, either the same or with other keys each time; sizes and times stay valid."""
    if not unseen:
        return [data]
    return [
        data.replace(b"2026", b"%04d" % (number + 1000)).replace(b"Example", b"E%06d" % number)
        for number in range(UNSEEN)
    ]


def in_turn(events: Sequence[bytes], decode: Callable[[bytes], object]) -> Callable[[], object]:
    """Return a function that decodes the next one of the events."""
    position = -1

    def decode_next() -> object:
        nonlocal position
        position = (position + 1) % len(events)
        return decode(events[position])

    return decode_next


def measure_signals(rounds: int, *, unseen: bool) -> None:
    """Print a table of all signals, and what it comes to."""
    print(
        f"openedx-events {openedx_events.__version__}, fastavro {fastavro.__version__}; microseconds of processor time"
    )
    print(f"{'decode: openedx-events, here':38} {'encode: openedx-events, here':38} signal")
    decoding, encoding = [], []
    for event_type in examples.event_types():
        signal = examples.signal_of(event_type)
        codec, event_data = codec_for(signal), examples.event_data(signal)
        data = serialize_event_data_to_bytes(event_data, signal)
        events = variants(data, unseen=unseen)
        decoded = compare(
            in_turn(events, lambda data, signal=signal: deserialize_bytes_to_event_data(data, signal)),
            in_turn(events, codec.decode),
            rounds,
        )
        encoded = compare(
            lambda event_data=event_data, signal=signal: serialize_event_data_to_bytes(event_data, signal),
            lambda event_data=event_data, codec=codec: codec.encode(event_data),
            rounds,
        )
        print(f"{decoded} {encoded} {event_type}")
        decoding.append(decoded.ratio)
        encoding.append(encoded.ratio)
    for name, ratios in (("decode", decoding), ("encode", encoding)):
        print(f"{name}: median {statistics.median(ratios):.1f}x, least {min(ratios):.1f}x, {len(ratios)} signals")


def measure_entries(event_types: Iterable[str], rounds: int) -> None:
    """Print what it takes from an entry to metadata and event data, and back, by openedx-events' code and here."""
    print()
    print("an entry: openedx-events with a schema that is parsed once and EventsMetadata's constructor, here")
    for event_type in event_types:
        signal = examples.signal_of(event_type)
        codec, by_openedx = codec_for(signal), OpenedxCodec(signal)
        metadata, event_data = examples.metadata(event_type, 1), examples.event_data(signal)
        entry = Entry(b"1-0", encode_fields(metadata, by_openedx.encode(event_data)))

        def read_before(entry: Entry = entry, by_openedx: OpenedxCodec = by_openedx) -> object:
            raw = entry.fields or []
            fields = dict(zip(raw[::2], raw[1::2], strict=True))
            return decode_headers(fields), by_openedx.decode(fields[b"event_data"])

        def read(entry: Entry = entry, codec: SignalCodec = codec) -> object:
            message = parse_entry(entry, "stream")
            return message.metadata, codec.decode(message.event_data)

        assert read() == read_before()
        written = compare(
            lambda: encode_fields(metadata, by_openedx.encode(event_data)),  # noqa: B023 -- called at once
            lambda: encode_fields(metadata, codec.encode(event_data)),  # noqa: B023 -- called at once
            rounds,
        )
        print(f"{compare(read_before, read, rounds)} {written} {event_type}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--unseen-keys", action="store_true")
    arguments = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "devtools.settings")
    django.setup()
    measure_signals(arguments.rounds, unseen=arguments.unseen_keys)
    measure_entries(WHOLE_ENTRIES, arguments.rounds)


if __name__ == "__main__":
    main()
