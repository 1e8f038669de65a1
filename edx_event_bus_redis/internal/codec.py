"""
Event data to and from Avro bytes.

Schema and rules are openedx-events' own. What its code does for an event, functions that are written once for the
signal do faster; whatever these do not know is left to it (ADR 0014).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from openedx_events.tooling import OpenEdxPublicSignal

from edx_event_bus_redis.internal.decoder import compile_decoder
from edx_event_bus_redis.internal.encoder import compile_encoder
from edx_event_bus_redis.internal.lazy import lazy
from edx_event_bus_redis.internal.openedx_codec import OpenedxCodec
from edx_event_bus_redis.internal.shapes import shapes_of


class SignalCodec:
    """
    Encodes and decodes the event data of one signal.

    Raises:
        TypeError: openedx-events has no Avro schema for a type of the signal's data.
    """

    def __init__(self, signal: OpenEdxPublicSignal) -> None:
        self._by_openedx = OpenedxCodec(signal)
        self._signal = signal

    def encode(self, event_data: Mapping[str, Any]) -> bytes:
        """Return the Avro bytes of the event data, which must fit the signal; raises what openedx-events raises."""
        try:
            return self._encode(event_data)
        except Exception:  # noqa: BLE001, S110 -- openedx-events says what is wrong, or finds nothing wrong
            pass
        return self._by_openedx.encode(event_data)

    def to_json(self, event_data: Mapping[str, Any]) -> str:
        """Return the event data as the JSON object that ``encode`` takes as well."""
        return self._by_openedx.to_json(event_data)

    def decode(self, data: bytes) -> dict[str, Any]:
        """Return the event data that the bytes hold; raises whatever damaged bytes bring about."""
        try:
            return self._decode(data)
        except Exception:  # noqa: BLE001, S110 -- as above
            pass
        return self._by_openedx.decode(data)

    def get_ready_to_decode(self) -> None:
        """Compile what ``decode`` needs, now instead of at its first call."""
        _ = self._decode

    # Compiled when needed: who consumes a signal seldom produces it. Whatever keeps a signal from being compiled, it is
    # no reason to do without it.

    @lazy
    def _encode(self) -> Callable[[Mapping[str, Any]], bytes]:
        try:
            return compile_encoder(shapes_of(self._signal, self._by_openedx.schema))
        except Exception:  # noqa: BLE001 -- as said
            return self._by_openedx.encode

    @lazy
    def _decode(self) -> Callable[[bytes], dict[str, Any]]:
        try:
            return compile_decoder(shapes_of(self._signal, self._by_openedx.schema))
        except Exception:  # noqa: BLE001 -- as said
            return self._by_openedx.decode


@functools.cache
def codec_for(signal: OpenEdxPublicSignal) -> SignalCodec:
    """Return the signal's codec, made at its first use. Raises TypeError as SignalCodec does."""
    return SignalCodec(signal)
