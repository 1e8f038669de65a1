"""Avro bytes that would end or hang the process that reads them."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from openedx_events.tooling import OpenEdxPublicSignal

from edx_event_bus_redis.internal.avro_values import write_long
from edx_event_bus_redis.internal.avro_walk import DEEPEST, Bottomless, can_be_bottomless, walk
from edx_event_bus_redis.internal.codec import SignalCodec, codec_for
from tests.acceptance.project import examples


@attrs.frozen
class Folder:
    """Some folders are in another one."""

    name: str
    # As openedx-events wants it: what is None by default may be None.
    parent: Folder = None


attrs.resolve_types(Folder)

NOTHINGS = {"type": "array", "items": {"type": "record", "name": "Nothing", "fields": []}}


def nested(depth: int) -> bytes:
    """The bytes of folders within each other."""
    return b"\x02a\x02" * (depth - 1) + b"\x02a\x00"


def record(kind: Any) -> dict[str, Any]:
    """The schema of a record with one field."""
    return {"type": "record", "name": "CloudEvent", "fields": [{"name": "field", "type": kind}]}


@pytest.fixture(scope="module")
def codec() -> SignalCodec:
    """Of a signal whose data may hold data of the same type."""
    return SignalCodec(OpenEdxPublicSignal(event_type="org.openedx.test.folder.moved.v1", data={"folder": Folder}))


def test_data_within_data_is_decoded(codec: SignalCodec) -> None:
    """A type that holds itself is encoded and decoded, as in openedx-events."""
    data = {"folder": Folder("a", Folder("b", Folder("c")))}

    assert codec.decode(codec.encode(data)) == data


@pytest.mark.parametrize("depth", [DEEPEST, 10_000, 1_000_000])
def test_data_that_is_too_deep_is_an_error(codec: SignalCodec, depth: int) -> None:
    """Nesting ends with an exception, where fastavro alone would end the process."""
    with pytest.raises(Bottomless):
        codec.decode(nested(depth))


def test_data_as_deep_as_it_may_be_is_decoded(codec: SignalCodec) -> None:
    """The record of the event itself is one, and the others fill up the rest."""
    folder, depth = codec.decode(nested(DEEPEST - 1))["folder"], 0
    while folder is not None:
        folder, depth = folder.parent, depth + 1

    assert depth == DEEPEST - 1


@pytest.mark.parametrize("count", [2**40, -(2**40)])
def test_a_count_of_nothings_is_bounded_by_the_bytes(count: int) -> None:
    """Items that take no bytes cannot be announced in a number beyond all measure."""
    data = write_long(count) + b"\x00\x00"

    assert can_be_bottomless(record(NOTHINGS))
    with pytest.raises(Bottomless):
        walk(record(NOTHINGS), data)


def test_a_walk_goes_through_every_type() -> None:
    """What is well-formed is gone through to its end: then the count behind it is the one that is found."""
    kinds = ["boolean", "int", "long", "float", "double", "bytes", "string", {"type": "long"}, ["null", "string"]]
    fields = [{"name": f"field{number}", "type": kind} for number, kind in enumerate(kinds)]
    fields += [{"name": "map", "type": {"type": "map", "values": "long"}}, {"name": "nothings", "type": NOTHINGS}]
    schema = {"type": "record", "name": "CloudEvent", "fields": fields}
    values = b"\x01" + b"\x02" + write_long(2**40) + bytes(4) + bytes(8) + b"\x04ab" + b"\x02c" + b"\x02" + b"\x02\x02d"
    block_with_size = write_long(-1) + write_long(3) + b"\x02k\x02" + b"\x00"

    walk(schema, values + block_with_size + b"\x04\x00")
    with pytest.raises(Bottomless, match="more items than bytes"):
        walk(schema, values + block_with_size + write_long(1000))


@pytest.mark.parametrize("event_type", examples.event_types())
def test_events_of_openedx_cannot_be_bottomless(event_type: str) -> None:
    """The walk costs none of the known signals anything."""
    assert not codec_for(examples.signal_of(event_type))._by_openedx._can_be_bottomless
