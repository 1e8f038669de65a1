"""
Event data to Avro bytes, by a function that is written for the signal.

openedx-events makes JSON of the data, a record of the JSON, and fastavro makes bytes of the record. For values of
exactly the types that the signal declares the bytes can be told without that. The function raises an exception for
everything else, such as a lazily translated text or an object of a subclass: some of that passes through JSON, some
changes on the way, some fails. Whoever calls it then asks openedx-events.

The code for the text of an attribute that may be None, for example, is::

    name_1 = pii_1.name
    if name_1 is None:
        part_1 = NULL
    else:
        if type(name_1) is not class_2:
            raise Unusual
        text_2 = name_1.encode()
        part_1 = b"".join((NOT_NULL, SIZES[len(text_2)], text_2))
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from openedx_events.event_bus.avro.serializer import DEFAULT_SERIALIZERS

from edx_event_bus_redis.internal import avro_values
from edx_event_bus_redis.internal.avro_values import Unusual
from edx_event_bus_redis.internal.shapes import DictShape, ListShape, Record, Shape, Simple, Text, Unknown
from edx_event_bus_redis.internal.source import Source

# Names in avro_values.
_WRITERS = {int: "write_long", bool: "write_boolean", float: "write_double"}


def compile_encoder(shapes: Mapping[str, Shape]) -> Callable[[Mapping[str, Any]], bytes]:
    """
    Return a function from event data to Avro bytes.

    Arguments:
        shapes: of the event data, by name.

    Raises:
        Unknown: JSON has no form for something.
    """
    writer = _Writer()
    source = writer.source
    with source.block(f"if type(event_data) is not dict or len(event_data) != {len(shapes)}:"):
        source.add("raise Unusual")
    parts: list[str] = []
    for name, shape in shapes.items():
        value = source.new_name(name)
        source.add(f"{value} = event_data[{name!r}]")
        parts += writer.write(shape, value, within_attrs=False)
    source.add(f"return {_joined(parts)}")
    return source.compile("encode", "event_data", {**vars(avro_values), "serializer_for": _serializer_for})


@functools.lru_cache(256)
def _serializer_for(declared: type | None, actual: type) -> Callable[[Any], str]:
    """
    Return how openedx-events makes text of an object.

    Arguments:
        declared: the type of the attribute, None if the object is not in an attribute.
        actual: the type of the object.
    """
    if actual is not type(None):
        for cls, serialize in DEFAULT_SERIALIZERS.items():
            if issubclass(actual, cls) or (declared is not None and issubclass(declared, cls)):
                return serialize  # type: ignore[no-any-return]
    raise Unusual


class _Writer:
    """Writes code that checks and encodes values."""

    def __init__(self) -> None:
        self.source = Source()

    def write(self, shape: Shape, value: str, *, within_attrs: bool = True) -> list[str]:
        """
        Write the code for a shape, and return expressions of its bytes, which are to be joined.

        Arguments:
            shape: that the value should have.
            value: name of the variable that has it.
            within_attrs: whether it is the value of an attribute, whose type openedx-events looks at too.
        """
        match shape:
            case Simple(kind):
                return self._write_simple(kind, value)
            case Text(serializer):
                text = self.source.new_name("text")
                declared = self.source.name_of("declared", serializer.cls if within_attrs else None)
                self.source.add(f"{text} = serializer_for({declared}, type({value}))({value})")
                return self._write_simple(str, text)
            case ListShape(item):
                self._check(value, list)
                name = self.source.new_name("item")
                return self._write_block(value, f"for {name} in {value}:", {name: item})
            case DictShape(item):
                self._check(value, dict)
                key, name = self.source.new_name("key"), self.source.new_name("item")
                # openedx-events sorts them.
                loop = f"for {key}, {name} in sorted({value}.items()):"
                return self._write_block(value, loop, {key: Simple(str), name: item})
            case Record(kind, fields):
                self._check(value, kind)
                parts: list[str] = []
                for field in fields:
                    attribute = self.source.new_name(field.name)
                    self.source.add(f"{attribute} = {value}.{field.name}")
                    write_attribute = self._write_nullable if field.can_be_null else self.write
                    parts += write_attribute(field.shape, attribute)
                return parts

    def _write_nullable(self, shape: Shape, value: str) -> list[str]:
        part = self.source.new_name("part")
        with self.source.block(f"if {value} is None:"):
            self.source.add(f"{part} = NULL")
        with self.source.block("else:"):
            parts = self.write(shape, value)
            self.source.add(f"{part} = {_joined(['NOT_NULL', *parts])}")
        return [part]

    def _write_block(self, value: str, loop: str, shapes: Mapping[str, Shape]) -> list[str]:
        """Write the code for a list or a dict: one block of what the loop's variables have, unless it is empty."""
        parts = self.source.new_name("parts")
        self.source.add(f"{parts} = [SIZES[len({value})]] if {value} else []")
        with self.source.block(loop):
            items = [part for name, shape in shapes.items() for part in self.write(shape, name, within_attrs=False)]
            self.source.add(f"{parts} += ({', '.join(items)},)")
        return [f"*{parts}", "END"]

    def _write_simple(self, kind: type, value: str) -> list[str]:
        if kind is str:
            self._check(value, str)
            text = self.source.new_name("text")
            self.source.add(f"{text} = {value}.encode()")
            return [f"SIZES[len({text})]", text]
        if kind not in _WRITERS:
            raise Unknown(f"JSON has no form for {kind!r}")
        # These check the type by themselves.
        return [f"{_WRITERS[kind]}({value})"]

    def _check(self, value: str, kind: type) -> None:
        with self.source.block(f"if type({value}) is not {self.source.name_of('class', kind)}:"):
            self.source.add("raise Unusual")


def _joined(parts: list[str]) -> str:
    return f'b"".join(({", ".join(parts)},))'
