"""
Event data to and from Avro bytes.

Schema and rules are openedx-events' own; what depends only on the signal is prepared once per signal.
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Mapping
from typing import Any

import fastavro
from openedx_events.event_bus.avro.deserializer import AvroSignalDeserializer
from openedx_events.event_bus.avro.serializer import AvroSignalSerializer
from openedx_events.tooling import OpenEdxPublicSignal


class SignalCodec:
    """
    Encodes and decodes the event data of one signal.

    Raises:
        TypeError: openedx-events has no Avro schema for a type of the signal's data.
    """

    def __init__(self, signal: OpenEdxPublicSignal) -> None:
        self._serializer = AvroSignalSerializer(signal)
        self._deserializer = AvroSignalDeserializer(signal)
        self._schema = fastavro.parse_schema(self._serializer.schema)

    def encode(self, event_data: Mapping[str, Any]) -> bytes:
        """Return the Avro bytes of the event data, which must fit the signal; raises what openedx-events raises."""
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self._schema, self._serializer.to_dict(event_data))
        return out.getvalue()

    def to_json(self, event_data: Mapping[str, Any]) -> str:
        """Return the event data as the JSON object that ``encode`` takes as well."""
        return json.dumps(self._serializer.to_dict(event_data))

    def decode(self, data: bytes) -> dict[str, Any]:
        """Return the event data that the bytes hold; raises whatever damaged bytes bring about."""
        record = fastavro.schemaless_reader(io.BytesIO(data), self._schema, None)
        return dict(self._deserializer.from_dict(record))


@functools.cache
def codec_for(signal: OpenEdxPublicSignal) -> SignalCodec:
    """Return the signal's codec, made at its first use. Raises TypeError as SignalCodec does."""
    return SignalCodec(signal)
