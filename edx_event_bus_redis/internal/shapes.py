"""
What the data of a signal consists of: its Python types side by side with their Avro schema.

Encoder and decoder are compiled from a shape. A shape is only made of what both of them know; the schema comes from
openedx-events, and where it says anything else than the types let expect there is no shape.
"""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Mapping
from typing import Any, get_args, get_origin

import attrs
from openedx_events.event_bus.avro.custom_serializers import DEFAULT_CUSTOM_SERIALIZERS
from openedx_events.tooling import OpenEdxPublicSignal

# The Avro types of single values that are known here, by their Python types.
_SIMPLE = {bool: "boolean", int: "long", float: "double", bytes: "bytes", str: "string"}

# Later entries win, as they do in openedx-events.
_SERIALIZERS = {serializer.cls: serializer for serializer in DEFAULT_CUSTOM_SERIALIZERS}


class Unknown(Exception):
    """A type, or its schema, is not one that is known here. The signal is left to openedx-events' own code."""


@attrs.frozen
class Simple:
    """A bool, int, float, bytes or str."""

    type: type


@attrs.frozen
class Text:
    """An object that travels as text, as one of openedx-events' custom serializers has it."""

    serializer: Any


@attrs.frozen
class ListShape:
    """A list of things of one shape."""

    item: Shape


@attrs.frozen
class DictShape:
    """A dict with values of one shape; Avro knows no other keys than text."""

    value: Shape


@attrs.frozen
class Field:
    """
    An attribute of an attrs class.

    Attributes:
        name: of the attribute.
        shape: what it holds.
        can_be_null: whether it may be None instead, which openedx-events allows where None is the default.
        has_default: whether it may be left out.
    """

    name: str
    shape: Shape
    can_be_null: bool
    has_default: bool


@attrs.frozen
class Record:
    """An object of an attrs class, with its attributes in the order of the schema."""

    type: type
    fields: tuple[Field, ...]


Shape = Simple | Text | ListShape | DictShape | Record


def shapes_of(signal: OpenEdxPublicSignal, schema: Mapping[str, Any]) -> dict[str, Shape]:
    """
    Return the shapes of a signal's event data by name, in the order of the schema.

    Arguments:
        signal: the signal.
        schema: its Avro schema, as AvroSignalSerializer makes it.

    Raises:
        Unknown: something about it is not known here.
    """
    reader = _SchemaReader()
    fields = _fields(schema, list(signal.init_data))
    return {name: reader.shape(kind, fields[name]) for name, kind in signal.init_data.items()}


class _SchemaReader:
    """Walks through types and schema at the same time, and remembers the records that the schema names."""

    def __init__(self) -> None:
        self._records: dict[str, Mapping[str, Any]] = {}
        self._within: list[type] = []

    def shape(self, kind: Any, schema: Any) -> Shape:
        arguments = get_args(kind)
        if kind in _SERIALIZERS:
            _expect(schema == "string", kind)
            return Text(_SERIALIZERS[kind])
        if kind in _SIMPLE:
            _expect(schema == _SIMPLE[kind], kind)
            return Simple(kind)
        if get_origin(kind) is list:
            _expect(set(schema) == {"type", "items"} and schema["type"] == "array", kind)
            return ListShape(self.shape(arguments[0], schema["items"]))
        if get_origin(kind) is dict:
            # To a key of another type openedx-events pays no attention, or refuses it.
            _expect(arguments[0] is str and set(schema) == {"type", "values"} and schema["type"] == "map", kind)
            return DictShape(self.shape(arguments[1], schema["values"]))
        _expect(isinstance(kind, type) and attrs.has(kind), kind)
        return self._record(kind, schema)

    def _record(self, kind: type, schema: Any) -> Record:
        # A class that holds itself would never end; one that openedx-events turns into text is no record to it.
        _expect(kind not in self._within and not issubclass(kind, tuple(_SERIALIZERS)), kind)
        if isinstance(schema, str):
            # Avro has each record spelt out once, and refers to it by its name after that. Classes of the same name
            # share the record of the first.
            schema = self._records.get(schema)
        _expect(isinstance(schema, Mapping) and schema["type"] == "record", kind)
        self._records.setdefault(schema["name"], schema)
        self._within.append(kind)
        attributes = attrs.fields(kind)
        fields = _fields(schema, [attribute.name for attribute in attributes])
        record = Record(kind, tuple(self._field(attribute, fields[attribute.name]) for attribute in attributes))
        self._within.pop()
        return record

    def _field(self, attribute: attrs.Attribute[Any], schema: Any) -> Field:
        can_be_null = attribute.default is None
        if can_be_null:
            _expect(isinstance(schema, list) and len(schema) == 2 and schema[0] == "null", attribute)
            schema = schema[1]
        shape = self.shape(attribute.type, schema)
        return Field(attribute.name, shape, can_be_null, attribute.default is not attrs.NOTHING)


def _fields(record: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the types of a record's fields, which must have these names in this order."""
    _expect(bool(names) and [field["name"] for field in record["fields"]] == names, names)
    # They become part of generated code.
    _expect(all(name.isidentifier() and not keyword.iskeyword(name) for name in names), names)
    return {field["name"]: field["type"] for field in record["fields"]}


def parameters_of(record: Record) -> dict[str, inspect.Parameter]:
    """
    Return the parameters of the class of a record by name, which are its fields in their order.

    Raises:
        Unknown: the class is made in another way.
    """
    parameters = dict(inspect.signature(record.type).parameters)
    _expect({field.name for field in record.fields} == set(parameters), record.type)
    positional = [name for name, parameter in parameters.items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    keywords = [name for name, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY]
    _expect([*positional, *keywords] == list(parameters), record.type)
    for field in record.fields:
        _expect(not field.has_default or parameters[field.name].default is not inspect.Parameter.empty, record.type)
    return parameters


def _expect(condition: bool, kind: object) -> None:
    if not condition:
        raise Unknown(f"{kind!r} or its schema is not known here")
