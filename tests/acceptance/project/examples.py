"""Made-up events of every signal, the same in every process; and a description of an event that two can compare."""

from __future__ import annotations

import typing
import uuid
from datetime import UTC, datetime, timedelta, timezone

import attr
from opaque_keys.edx.keys import CourseKey, UsageKey
from openedx_events import tooling
from openedx_events.data import EventsMetadata

COURSE = "course-v1:Exämple+Bus101+2026"
LIBRARY = "lib:Example:bus"

# Values that are true, and in their binary form more than one byte long.
EXAMPLES = {
    "bool": True,
    "int": 1_234_567_890_123,
    "float": 0.1,
    "str": "Ada “Äda” \u2603 \U0001f680",
    "bytes": b"\x00\xff\x80",
    "datetime": datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    "UUID": uuid.UUID("01234567-89ab-cdef-0123-456789abcdef"),
    "CourseKey": CourseKey.from_string(COURSE),
    "UsageKey": UsageKey.from_string("block-v1:Exämple+Bus101+2026+type@video+block@intro"),
}

# The texts of keys whose types are not in every supported release of their packages.
KEYS = {
    "CCXLocator": "ccx-v1:Example+Bus101+2026+ccx@7",
    "LibraryCollectionLocator": "lib-collection:Example:bus:collection1",
    "LibraryContainerLocator": "lct:Example:bus:unit:unit1",
    "LibraryLocatorV2": LIBRARY,
    "LibraryUsageLocatorV2": "lb:Example:bus:problem:problem1",
}


def event_types() -> list[str]:
    """Return the types of all events that a bus can carry."""
    tooling.load_all_signals()
    types = {signal.event_type for signal in tooling.OpenEdxPublicSignal.all_events()}
    return sorted(types - set(tooling.KNOWN_UNSERIALIZABLE_SIGNALS))


def signal_of(event_type: str) -> tooling.OpenEdxPublicSignal:
    """Return the signal of an event type."""
    tooling.load_all_signals()
    return tooling.OpenEdxPublicSignal.get_signal_by_type(event_type)


def event_data(signal: tooling.OpenEdxPublicSignal, variant: str = "full", order: str | None = None) -> dict:
    """
    Return made-up data of a signal.

    Arguments:
        signal: it is for.
        variant: ``full``, or ``least`` for an event that leaves out what has a default.
        order: the username, if the data has one: what the receiver shall do.
    """
    return {name: _example(kind, variant, order) for name, kind in signal.init_data.items()}


def _example(kind: typing.Any, variant: str, order: str | None) -> typing.Any:
    if attr.has(kind):
        fields = [field for field in attr.fields(kind) if variant == "full" or not _can_be_left_out(field)]
        values = {field.name: _example(field.type, variant, order) for field in fields}
        if order is not None and "username" in values:
            values["username"] = order
        return kind(**values)
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is list:
        return [_example(arguments[0], variant, order)] * 2
    if typing.get_origin(kind) is dict:
        return {f"{key} Ä": _example(arguments[1], variant, order) for key in ("b", "a")}
    if kind.__name__ in EXAMPLES:
        return EXAMPLES[kind.__name__]
    return kind.from_string(KEYS[kind.__name__])


def _can_be_left_out(field: attr.Attribute) -> bool:
    # One of openedx-events 11 has the class dict for its default, where an empty dict is meant; no bus can carry that.
    return field.default is not attr.NOTHING and not isinstance(field.default, type)


def metadata(event_type: str, number: int) -> EventsMetadata:
    """Return made-up metadata, which differs in all that can differ from number to number."""
    return EventsMetadata(
        event_type=event_type,
        id=uuid.uuid5(uuid.NAMESPACE_URL, f"{event_type}/{number}"),
        minorversion=number % 3,
        source=f"openedx/sërvice-{number}/web",
        sourcehost=f"host-{number}.example",
        # The first one has no fraction of a second, which its text then leaves out.
        time=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC) + timedelta(milliseconds=1.001) * number,
        sourcelib=(9, 10, number),
    )


def described(value: typing.Any) -> typing.Any:
    """Return what JSON can hold of a value and still tells it from every other: types, names and representations."""
    kind = type(value)
    if attr.has(kind):
        fields = {field.name: described(getattr(value, field.name)) for field in attr.fields(kind)}
        return {"": f"{kind.__module__}.{kind.__qualname__}", **fields}
    if kind is list:
        return [described(item) for item in value]
    if kind is dict:
        return {key: described(value[key]) for key in sorted(value)}
    return f"{kind.__qualname__} {value!r}"
