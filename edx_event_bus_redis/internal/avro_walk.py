"""
A walk over Avro bytes before fastavro reads them, for schemas with which a few bytes could end or hang the process.

fastavro reads what is nested by calling itself, without a limit: a record that may hold itself, some thousands deep,
ends the process. It also believes any number of items: of such as take no bytes a few bytes can announce 2**62. Signals
that can hold such data are rare, so the walk need not be fast.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from edx_event_bus_redis.internal.avro_values import read_long, read_size

# Records within records. A thousandth of what fastavro bears with the stack of a thread.
DEEPEST = 100

_FIXED_SIZES = {"null": 0, "boolean": 1, "float": 4, "double": 8}


class Bottomless(ValueError):
    """Data is nested too deeply, or has too many items that take no bytes."""


def can_be_bottomless(schema: Any, within: tuple[str, ...] = ()) -> bool:
    """Return whether data of a schema can be nested without end, or have items that take no bytes."""
    match schema:
        case str():
            return schema in within
        case list():
            return any(can_be_bottomless(branch, within) for branch in schema)
        case {"type": "record", "name": name, "fields": fields}:
            # A record without fields takes no bytes. Others may, too, if all of their fields are such.
            return not fields or any(can_be_bottomless(field["type"], (*within, name)) for field in fields)
        case {"items": inner} | {"values": inner} | {"type": inner}:
            return inner == "null" or can_be_bottomless(inner, within)
    return False


def walk(schema: Mapping[str, Any], data: bytes) -> None:
    """
    Go through the bytes of a record. What is damaged in another way is left to fastavro, or raises what it raises here.

    Raises:
        Bottomless: as it says.
    """
    _Walk(data).skip(schema, 0)


class _Walk:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self._records: dict[str, Mapping[str, Any]] = {}

    def skip(self, schema: Any, depth: int) -> None:
        match schema:
            case str() if schema in self._records:
                self.skip(self._records[schema], depth)
            case str():
                self._skip_single(schema)
            case list():
                self.skip(schema[self._long()], depth)
            case {"type": "record"}:
                self._skip_record(schema, depth)
            case {"type": "array", "items": items}:
                self._skip_blocks([items], depth)
            case {"type": "map", "values": values}:
                self._skip_blocks(["string", values], depth)
            case {"type": inner}:
                self.skip(inner, depth)

    def _skip_single(self, kind: str) -> None:
        if kind in {"int", "long"}:
            self._long()
        elif kind in {"bytes", "string"}:
            _, self._position = read_size(self._data, self._position)
        else:
            self._position += _FIXED_SIZES[kind]

    def _skip_record(self, schema: Mapping[str, Any], depth: int) -> None:
        if depth == DEEPEST:
            raise Bottomless(f"more than {DEEPEST} records within each other")
        self._records.setdefault(schema["name"], schema)
        for field in schema["fields"]:
            self.skip(field["type"], depth + 1)

    def _skip_blocks(self, item: Sequence[Any], depth: int) -> None:
        while count := self._long():
            if count < 0:
                # The block's size stands behind a negative count.
                self._long()
            if abs(count) > len(self._data):
                raise Bottomless("more items than bytes")
            for part in itertools.chain.from_iterable(itertools.repeat(item, abs(count))):
                self.skip(part, depth)

    def _long(self) -> int:
        number, self._position = read_long(self._data, self._position)
        return number
