"""
Counters by name in memory that forked children share: one process writes them, all may read them.

The names are not known beforehand and there is room for so many of them. What comes when there is no room left, or has
a name that is too long, is counted under one name for the rest. Counters never go down, and outlive their writer: the
process that comes after it goes on with them.
"""

from __future__ import annotations

from collections.abc import Iterable

REST = "other"

# Bytes of a name: half as long again as the longest event type of openedx-events. Whole words.
_NAME_BYTES = 112

_WORD = 8
_NAME_WORDS = _NAME_BYTES // _WORD


class NamedCounters:
    """
    Rows of counters. Every number is aligned, so that it is read whole.

    Arguments:
        memory: of ``size`` bytes, all zero at first.
        columns: counters that each name has.
    """

    def __init__(self, memory: memoryview, columns: int) -> None:
        self._bytes = memory
        self._numbers = memory.cast("Q")
        self._columns = columns
        self._row = _NAME_WORDS + columns
        # Where the counters of a name are; each process has its own, of what it has come across.
        self._positions: dict[str, int] = {}

    @staticmethod
    def size(names: int, columns: int) -> int:
        """Return the bytes that so many names need, and the rest, of which each has so many counters."""
        return _WORD * (1 + (1 + names) * (_NAME_WORDS + columns))

    # Called by the one process that writes.

    def add_one(self, name: str, column: int) -> None:
        """Count one more."""
        position = self._positions.get(name)
        if position is None:
            position = self._find(name)
        self._numbers[position + column] += 1

    def _find(self, name: str) -> int:
        if not self._positions:
            # Those of the process that wrote before.
            self._positions = {found: position for position, found in self._rows()}
            if name in self._positions:
                return self._positions[name]
        used = self._numbers[0] + 1
        encoded = name.encode(errors="backslashreplace")
        if not encoded or len(encoded) > _NAME_BYTES or len(self._numbers) < 1 + (used + 1) * self._row:
            # Not kept in mind: there may be any number of such names.
            return self._position(0)
        start = _WORD * (1 + used * self._row)
        self._bytes[start : start + _NAME_BYTES] = encoded.ljust(_NAME_BYTES, b"\0")
        # Last, so that nobody reads a name that is not there yet.
        self._numbers[0] = used
        position = self._positions[name] = self._position(used)
        return position

    # Called by all.

    def rows(self) -> list[tuple[str, tuple[int, ...]]]:
        """Return names and their counters; a name may be there more than once."""
        rows = [(name, self._counters(position)) for position, name in self._rows()]
        rest = self._counters(self._position(0))
        return [*rows, (REST, rest)] if any(rest) else rows

    def _rows(self) -> list[tuple[int, str]]:
        return [(self._position(number), self._name(number)) for number in range(1, self._numbers[0] + 1)]

    def _position(self, number: int) -> int:
        return 1 + number * self._row + _NAME_WORDS

    def _name(self, number: int) -> str:
        start = _WORD * (1 + number * self._row)
        return bytes(self._bytes[start : start + _NAME_BYTES]).rstrip(b"\0").decode(errors="replace")

    def _counters(self, position: int) -> tuple[int, ...]:
        return tuple(self._numbers[position : position + self._columns])


def totals(tables: Iterable[NamedCounters]) -> dict[str, tuple[int, ...]]:
    """Return the counters of each name, added up over tables of as many columns."""
    sums: dict[str, tuple[int, ...]] = {}
    for table in tables:
        for name, counters in table.rows():
            former = sums.get(name)
            sums[name] = counters if former is None else tuple(map(sum, zip(former, counters, strict=True)))
    return sums
