"""
Single values in Avro's binary encoding, for the code that encoder and decoder write.

https://avro.apache.org/docs/1.11.1/specification/#binary-encoding
"""

from __future__ import annotations

from math import isnan
from struct import Struct

_DOUBLE = Struct("<d")
_LONG_MIN, _LONG_MAX = -(1 << 63), (1 << 63) - 1


class Unusual(Exception):
    """Data that the code written for a signal leaves to openedx-events: it is wrong, or right in a rare way."""


def write_long(number: int) -> bytes:
    """Return an integer in variable length, the sign in the lowest bit. Raises Unusual beyond 64 bits."""
    # True is an int too, and JSON tells the difference.
    if type(number) is not int or not _LONG_MIN <= number <= _LONG_MAX:
        raise Unusual
    rest = (number << 1) ^ (number >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


class _Sizes(dict[int, bytes]):
    """Encoded sizes; those of short texts are at hand."""

    def __missing__(self, size: int) -> bytes:
        return write_long(size)


SIZES = _Sizes((size, write_long(size)) for size in range(512))


def write_boolean(value: bool) -> bytes:
    """Return a truth value. Raises Unusual if it is not one."""
    if value is True:
        return b"\x01"
    if value is False:
        return b"\x00"
    raise Unusual


def write_double(number: float) -> bytes:
    """Return a number. Raises Unusual if it is not a float, or not a number: JSON has but one of these."""
    if type(number) is not float or isnan(number):
        raise Unusual
    return _DOUBLE.pack(number)


# Which branch of a union of null and something else follows.
NULL = b"\x00"
NOT_NULL = b"\x02"

# Behind the last block of an array or a map.
END = b"\x00"

BOOLEANS = (False, True)


def read_long(data: bytes, position: int) -> tuple[int, int]:
    """Return the integer at a position, and the position behind it."""
    number = 0
    # 9 bytes hold 63 bits, more than anybody counts.
    for shift in range(0, 63, 7):
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), position
    raise Unusual


def read_size(data: bytes, position: int) -> tuple[int, int]:
    """Return start and end of the bytes or text whose size is at a position."""
    size, start = read_long(data, position)
    if size < 0:
        raise Unusual
    return start, start + size


def read_double(data: bytes, position: int) -> tuple[float, int]:
    """Return the number at a position, and the position behind it."""
    return _DOUBLE.unpack_from(data, position)[0], position + 8
