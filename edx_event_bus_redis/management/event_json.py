"""
From JSON, as people type it and producers log it, to the data and the metadata that an event is sent with.

What does not fit is a CommandError that says where, and what would. Nothing is sent here.
"""

from __future__ import annotations

import difflib
import json
import reprlib
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, get_args, get_origin
from uuid import UUID

import attrs
from django.core.management.base import CommandError
from opaque_keys.edx.keys import CourseKey, UsageKey
from openedx_events.data import EventsMetadata
from openedx_events.event_bus.avro.deserializer import DEFAULT_DESERIALIZERS
from openedx_events.tooling import OpenEdxPublicSignal

from edx_event_bus_redis.internal.codec import codec_for

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


def metadata_of(text: str | None, signal: OpenEdxPublicSignal) -> EventsMetadata | None:
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


def event_data_of(text: str, signal: OpenEdxPublicSignal) -> dict[str, Any]:
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
        raise CommandError(f"--data does not fit {signal.event_type}: {first_line(error)}") from None
    return event_data


def _json_object(option: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise CommandError(f"{option} is no JSON ({first_line(error)}): expected an object, {{...}}") from None
    if not isinstance(value, dict):
        raise CommandError(f"{option} is {reprlib.repr(value)}: expected a JSON object, {{...}}")
    return value


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
        raise _Misfit(f"{path or data_class.__name__}: {first_line(error)}") from None


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


def first_line(error: Exception) -> str:
    """Return what an error says, for a line that goes on after it."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
