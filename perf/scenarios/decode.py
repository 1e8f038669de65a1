"""Decoding event data against openedx-events, for every signal that it ships; ``perf/codec.py`` shows each of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from openedx_events.event_bus.avro.deserializer import deserialize_bytes_to_event_data
from openedx_events.event_bus.avro.serializer import serialize_event_data_to_bytes

from edx_event_bus_redis.internal.codec import codec_for
from perf.bench import Bench
from perf.codec import compare
from perf.scenario import Bar, Case
from tests.acceptance.project import examples

TITLE = "decode and encode the event data of every shipped signal, against openedx-events"

BARS = [
    Bar(
        "decode of any shipped signal, against openedx-events, in the median",
        case="decode",
        quantity="times, median",
        at_least=4.0,
    ),
    Bar("the signal that gains least", case="decode", quantity="times, least", at_least=4.0),
]


def cases(bench: Bench) -> list[Case]:
    """Return the cases."""
    event_types = examples.event_types()[:: 10 if bench.is_scaled_down else 1]

    def decode() -> Mapping[str, float]:
        ratios = []
        for event_type in event_types:
            signal = examples.signal_of(event_type)
            data = serialize_event_data_to_bytes(examples.event_data(signal), signal)
            codec = codec_for(signal)
            compared = compare(
                lambda: deserialize_bytes_to_event_data(data, signal),  # noqa: B023 -- called at once
                lambda: codec.decode(data),  # noqa: B023 -- called at once
                rounds=5,
            )
            ratios.append(compared.ratio)
        return _summary(ratios)

    def encode() -> Mapping[str, float]:
        ratios = []
        for event_type in event_types:
            signal = examples.signal_of(event_type)
            event_data = examples.event_data(signal)
            codec = codec_for(signal)
            compared = compare(
                lambda: serialize_event_data_to_bytes(event_data, signal),  # noqa: B023 -- called at once
                lambda: codec.encode(event_data),  # noqa: B023 -- called at once
                rounds=5,
            )
            ratios.append(compared.ratio)
        return _summary(ratios)

    return [Case("decode", decode), Case("encode", encode)]


def _summary(ratios: list[float]) -> Mapping[str, float]:
    return {"times, median": statistics.median(ratios), "times, least": min(ratios)}
