"""
The gaps in a parent's memory, filled before it forks.

CPython puts a new object of up to 512 bytes into a gap that a former one of about its size has left, between objects
that stay. In a forked child that costs a copy of a whole page, which parent and child have shared until then. Once the
gaps are filled in the parent, the objects of its children go to pages of their own. The larger the parent, the more
gaps it has: loading modules leaves some hundred kilobytes of them.
"""

from __future__ import annotations

import sys

# Pools and their sizes are those of Objects/obmalloc.c since Python 3.10: each has objects of one size, side by side.
_POOL_BYTES, _HEADER_BYTES = 16384, 48
_SIZES = range(32, 513, 16)

# Bytes of objects of one size that are made at the most.
_MOST = 8 * 1024 * 1024

_EMPTY = sys.getsizeof(b"")


def fill_gaps() -> list[object]:
    """
    Return objects that fill the gaps; they have to be kept while children are forked.

    It does nothing, and returns nothing, where Python is not CPython or has another allocator (``PYTHONMALLOC``).
    """
    if sys.implementation.name != "cpython" or not sys.getallocatedblocks():
        return []
    return [each for size in _SIZES for each in _fill(size)]


def _fill(size: int) -> list[object]:
    """
    Return objects of a size that fill the gaps of that size.

    There are no more of them when objects have filled a pool that nothing else was in: one after the other, from its
    beginning to its end. Such a pool is taken when no other has any room.
    """
    in_a_pool = (_POOL_BYTES - _HEADER_BYTES) // size
    made: list[object] = []
    in_a_row, address = 0, 0
    for number in range(_MOST // size):
        new = _new_object(size, number)
        in_a_row = in_a_row + 1 if id(new) == address + size else 1
        address = id(new)
        made.append(new)
        if in_a_row == in_a_pool:
            # That pool is free again.
            del made[-in_a_pool:]
            return made
    # Not the allocator that this knows.
    return []


def _new_object(size: int, number: int) -> object:
    # A number beyond 30 bits takes 32 bytes, less than any bytes object but the shortest.
    return bytes(size - _EMPTY) if size > 32 else (1 << 40) + number
