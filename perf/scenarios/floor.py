"""
How far one worker is from what Python makes possible: the least that every event needs, step by step.

The least is: read the Avro bytes with fastavro and build the objects directly; make the metadata; send the signal. A
worker does more: it talks to Redis, says what it has in hand, prepares the application for each event, tells the
monitoring system, and knows what to do if something fails.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

import fastavro
from opaque_keys.edx.keys import CourseKey
from openedx_events.data import EventsMetadata
from openedx_events.event_bus.avro.serializer import AvroSignalSerializer
from openedx_events.learning.data import CourseData, CourseEnrollmentData, UserData, UserPersonalData

from edx_event_bus_redis.internal.codec import codec_for
from edx_event_bus_redis.internal.dispatch import emit
from edx_event_bus_redis.internal.message import Entry, parse_entry
from perf.bench import OURS, Bench
from perf.events import SIGNAL, new_entry
from perf.scenario import Bar, Case

TITLE = "processor time of one event: the least it needs, and what a worker uses"

EVENTS = 20_000

BARS: list[Bar] = []


def cases(bench: Bench) -> list[Case]:
    """Return the cases."""
    count = bench.scaled(EVENTS)
    schema = fastavro.parse_schema(AvroSignalSerializer(SIGNAL).schema)
    all_fields = [new_entry(number)[1] for number in range(min(count, 1000))]
    course_key = cache(CourseKey.from_string)

    def read_and_build(data: bytes) -> dict[str, Any]:
        found = fastavro.schemaless_reader(io.BytesIO(data), schema, None)["enrollment"]
        user, course = found["user"], found["course"]
        return {
            "enrollment": CourseEnrollmentData(
                user=UserData(id=user["id"], is_active=user["is_active"], pii=UserPersonalData(**user["pii"])),
                course=CourseData(
                    course_key=course_key(course["course_key"]),
                    display_name=course["display_name"],
                    start=course["start"] and datetime.fromisoformat(course["start"]),
                    end=course["end"] and datetime.fromisoformat(course["end"]),
                ),
                mode=found["mode"],
                is_active=found["is_active"],
                creation_date=datetime.fromisoformat(found["creation_date"]),
            )
        }

    def metadata(fields: list[bytes]) -> EventsMetadata:
        found = dict(zip(fields[::2], fields[1::2], strict=True))
        return EventsMetadata(
            event_type=found[b"type"].decode(),
            id=UUID(found[b"id"].decode()),
            source=found[b"source"].decode(),
            sourcehost=found[b"sourcehost"].decode(),
            minorversion=int(found[b"minorversion"]),
            time=datetime.fromisoformat(found[b"time"].decode()),
            sourcelib=tuple(map(int, found[b"sourcelib"].split(b"."))),
        )

    def least(fields: list[bytes]) -> None:
        SIGNAL.send_event_with_custom_metadata(metadata(fields), **read_and_build(fields[-1]))

    def ours(fields: list[bytes]) -> None:
        emit(parse_entry(Entry(b"0-1", fields), "stream"))

    def steps() -> Mapping[str, float]:
        decode = codec_for(SIGNAL).decode
        assert decode(all_fields[0][-1]) == read_and_build(all_fields[0][-1])
        SIGNAL.connect(_do_nothing)
        try:
            return {
                "µs, read and build": _microseconds(lambda fields: read_and_build(fields[-1]), all_fields, count),
                "µs, metadata": _microseconds(metadata, all_fields, count),
                "µs, all with the signal": _microseconds(least, all_fields, count),
                "µs, decode here": _microseconds(lambda fields: decode(fields[-1]), all_fields, count),
                "µs, all with the signal here": _microseconds(ours, all_fields, count),
            }
        finally:
            SIGNAL.disconnect(_do_nothing)

    def worker(workers: int | None) -> Mapping[str, float]:
        run = bench.consume(OURS, count, workers)
        return {"µs, processor": run.cost, "µs, passed": 1e6 / run.rate}

    return [
        Case("the steps alone", steps),
        Case("a pool of one worker", lambda: worker(1)),
        Case("no pool", lambda: worker(None)),
    ]


def _do_nothing(**_: Any) -> None:
    pass


def _microseconds(function: Callable[[list[bytes]], object], all_fields: list[list[bytes]], count: int) -> float:
    began = time.process_time()
    for number in range(count):
        function(all_fields[number % len(all_fields)])
    return (time.process_time() - began) / count * 1e6
