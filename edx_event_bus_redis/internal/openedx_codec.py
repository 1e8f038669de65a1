"""Event data to and from Avro bytes by openedx-events' own code, but for a schema that is parsed once."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import fastavro
from openedx_events.event_bus.avro.deserializer import AvroSignalDeserializer
from openedx_events.event_bus.avro.serializer import AvroSignalSerializer
from openedx_events.tooling import OpenEdxPublicSignal

from edx_event_bus_redis.internal.avro_walk import can_be_bottomless, walk
from edx_event_bus_redis.internal.lazy import lazy


class OpenedxCodec:
    """
    Encodes and decodes the event data of one signal, whatever openedx-events can do.

    Raises:
        TypeError: openedx-events has no Avro schema for a type of the signal's data.
    """

    def __init__(self, signal: OpenEdxPublicSignal) -> None:
        self._signal = signal
        self._serializer = AvroSignalSerializer(signal)

    @property
    def schema(self) -> Mapping[str, Any]:
        """The Avro schema of the signal's data."""
        schema: Mapping[str, Any] = self._serializer.schema
        return schema

    def encode(self, event_data: Mapping[str, Any]) -> bytes:
        """Return the Avro bytes of the event data; raises what openedx-events raises."""
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self._parsed_schema, self._serializer.to_dict(event_data))
        return out.getvalue()

    def to_json(self, event_data: Mapping[str, Any]) -> str:
        """Return the event data as a JSON object."""
        return json.dumps(self._serializer.to_dict(event_data))

    def decode(self, data: bytes) -> dict[str, Any]:
        """Return the event data that the bytes hold; raises whatever damaged bytes bring about."""
        if self._can_be_bottomless:
            walk(self.schema, data)
        record = fastavro.schemaless_reader(io.BytesIO(data), self._parsed_schema, None)
        return dict(self._deserializer.from_dict(record))

    # Most signals never need these.

    @lazy
    def _can_be_bottomless(self) -> bool:
        return can_be_bottomless(self.schema)

    @lazy
    def _parsed_schema(self) -> Any:
        return fastavro.parse_schema(self._serializer.schema)

    @lazy
    def _deserializer(self) -> Any:
        return AvroSignalDeserializer(self._signal)
