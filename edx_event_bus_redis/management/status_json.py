"""What is known of streams, as JSON: keys are only ever added."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import attrs

from edx_event_bus_redis.internal.findings import Finding
from edx_event_bus_redis.internal.progress import Look, added_per_second, progress
from edx_event_bus_redis.internal.status import StreamStatus


def streams_as_json(streams: Iterable[StreamStatus]) -> dict[str, Any]:
    """Return what one look tells."""
    return {"streams": [attrs.asdict(stream) for stream in streams]}


def looks_as_json(before: Look | None, after: Look, found: Iterable[Finding]) -> dict[str, Any]:
    """Return the same with what two looks tell: rates, what comes of them, and what is wrong."""
    document = {"time": round(after.time, 3), **streams_as_json(after.streams)}
    for stream, told in zip(after.streams, document["streams"], strict=True):
        told["added_per_second"] = added_per_second(before, after, stream.stream)
        for group, told_of_group in zip(stream.groups, told["groups"], strict=True):
            getting_on = progress(before, after, stream, group)
            told_of_group["handled_per_second"] = getting_on.handled
            told_of_group["seconds_to_cap"] = getting_on.seconds_to_cap
            told_of_group["seconds_to_done"] = getting_on.seconds_to_done
    document["findings"] = [{**attrs.asdict(each), "kind": each.kind.name.lower()} for each in found]
    return document


def error_as_json(text: str | None) -> dict[str, Any]:
    """Return why nothing is known."""
    return {"time": round(time.time(), 3), "error": text}
