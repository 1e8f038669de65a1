"""
Avro bytes to event data, by a function that is written for the signal.

The function reads the bytes in the order of the schema and calls the constructors as openedx-events does, without a
record in between. It reads what writers usually write: it raises an exception for bytes that are damaged, but also for
some that are merely unusual. Whoever calls it then asks openedx-events.

The code for the text of an attribute that may be None, for example, is::

    branch = data[position]
    position += 1
    if branch == 2:
        size = data[position]
        if size & 0x81:
            start, position = read_size(data, position)
        else:
            start = position + 1
            position = start + (size >> 1)
        name_1 = data[start:position].decode() or default_1
    elif branch == 0:
        name_1 = default_1
    else:
        raise Unusual
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edx_event_bus_redis.internal import avro_values
from edx_event_bus_redis.internal.opaque_keys import LONGEST, is_opaque_key, parsers
from edx_event_bus_redis.internal.shapes import DictShape, ListShape, Record, Shape, Simple, Text, parameters_of
from edx_event_bus_redis.internal.source import Source
from edx_event_bus_redis.internal.uuids import is_plain_uuid, read_usual_uuid


def compile_decoder(shapes: Mapping[str, Shape]) -> Callable[[bytes], dict[str, Any]]:
    """
    Return a function from Avro bytes to event data.

    Arguments:
        shapes: of the event data, by name.

    Raises:
        Unknown: a class takes other arguments than its attributes.
    """
    writer = _Writer()
    source = writer.source
    values = {name: writer.read(name, shape) for name, shape in shapes.items()}
    with source.block("if position > len(data):"):
        # A slice that goes beyond the end is short, and raises nothing.
        source.add("raise Unusual")
    items = ", ".join(f"{name!r}: {value}" for name, value in values.items())
    source.add(f"return {{{items}}}")
    return source.compile("decode", "data", vars(avro_values))


class _Writer:
    """Writes code that reads a shape at ``position`` and leaves the position behind it."""

    def __init__(self) -> None:
        self.source = Source()
        self.source.add("position = 0")

    def read(self, name: str, shape: Shape, default: str = "", *, can_be_null: bool = False) -> str:
        """
        Write the code for a shape, and return the name of the variable that it leaves the value in.

        Arguments:
            name: of what is read, to name the variable after.
            shape: to read.
            default: the name of what the variable gets instead of anything that is false in the record that fastavro
                would have read, as openedx-events leaves such a value out of the constructor's arguments. Empty: the
                attribute has no default and is never left out.
            can_be_null: whether the schema is a union of null and the shape.
        """
        target = self.source.new_name(name)
        if not can_be_null:
            self._read(shape, target, default)
            return target
        self.source.add("branch = data[position]", "position += 1")
        with self.source.block("if branch == 2:"):
            self._read(shape, target, default)
        with self.source.block("elif branch == 0:"):
            self.source.add(f"{target} = {default}")
        with self.source.block("else:"):
            self.source.add("raise Unusual")
        return target

    def _read(self, shape: Shape, target: str, default: str) -> None:
        or_default = f" or {default}" if default else ""
        match shape:
            case Simple(kind):
                self._read_simple(kind, target, or_default)
            case Text(serializer):
                self._read_text(serializer, target, default)
            case Record():
                self._read_record(shape, target)
            case ListShape(item):
                self._read_blocks(target, "[]", lambda: f"{target}.append({self.read('item', item)})")
            case DictShape(value):
                self._read_blocks(
                    target, "{}", lambda: f"{target}[{self.read('key', Simple(str))}] = {self.read('item', value)}"
                )
        if isinstance(shape, ListShape | DictShape) and or_default:
            self.source.add(f"{target} = {target}{or_default}")

    def _read_blocks(self, target: str, empty: str, read_item: Callable[[], str]) -> None:
        source = self.source
        count = source.new_name("count")
        source.add(f"{target} = {empty}")
        self._read_long(count)
        with source.block(f"while {count}:"):
            # The size of a block stands behind a negative count. fastavro writes none.
            with source.block(f"if {count} < 0:"):
                source.add("raise Unusual")
            with source.block(f"for _ in range({count}):"):
                source.add(read_item())
            self._read_long(count)

    def _read_simple(self, kind: type, target: str, or_default: str) -> None:
        source = self.source
        if kind is str:
            self._find_size()
            source.add(f"{target} = data[start:position].decode(){or_default}")
        elif kind is bytes:
            self._find_size()
            source.add(f"{target} = data[start:position]{or_default}")
        elif kind is bool:
            source.add(f"{target} = BOOLEANS[data[position]]{or_default}", "position += 1")
        else:
            if kind is int:
                self._read_long(target)
            else:
                source.add(f"{target}, position = read_double(data, position)")
            if or_default:
                source.add(f"{target} = {target}{or_default}")

    def _read_long(self, target: str) -> None:
        source = self.source
        source.add(f"{target} = data[position]")
        # Either one of several bytes, or negative.
        with source.block(f"if {target} & 0x81:"):
            source.add(f"{target}, position = read_long(data, position)")
        with source.block("else:"):
            source.add("position += 1", f"{target} >>= 1")

    def _read_text(self, serializer: Any, target: str, default: str) -> None:
        source = self.source
        self._find_size()
        if default:
            # The object must not be asked whether it is true: keys are built anew as text for that.
            with source.block("if start == position:"):
                source.add(f"{target} = {default}")
            with source.block("else:"):
                self._parse(serializer, target)
        else:
            self._parse(serializer, target)

    def _parse(self, serializer: Any, target: str) -> None:
        if is_opaque_key(serializer):
            remembering, plain = (self.source.name_of("parse", parser) for parser in parsers(serializer))
            parse = f"({remembering} if position - start <= {LONGEST} else {plain})"
            self.source.add(f"{target} = {parse}(data[start:position])")
        elif is_plain_uuid(serializer):
            self.source.add(f"{target} = {self.source.name_of('parse', read_usual_uuid)}(data[start:position])")
        else:
            parse = self.source.name_of("parse", serializer.deserialize)
            self.source.add(f"{target} = {parse}(data[start:position].decode())")

    def _find_size(self) -> None:
        source = self.source
        source.add("size = data[position]")
        # Either one of several bytes, or negative.
        with source.block("if size & 0x81:"):
            source.add("start, position = read_size(data, position)")
        with source.block("else:"):
            source.add("start = position + 1", "position = start + (size >> 1)")

    def _read_record(self, record: Record, target: str) -> None:
        parameters = parameters_of(record)
        values = {}
        for field in record.fields:
            # Passing its own default for a parameter is the same as leaving it out.
            default = self.source.name_of("default", parameters[field.name].default) if field.has_default else ""
            values[field.name] = self.read(field.name, field.shape, default, can_be_null=field.can_be_null)
        arguments = [
            values[name] if parameter.kind is parameter.POSITIONAL_OR_KEYWORD else f"{name}={values[name]}"
            for name, parameter in parameters.items()
        ]
        self.source.add(f"{target} = {self.source.name_of('make', record.type)}({', '.join(arguments)})")
