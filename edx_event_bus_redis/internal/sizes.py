"""
How large an entry is, and what is kept of one that is too large.

Whoever may write to a stream may write 512 MB into a single field. No command reads the beginning of an entry, so such
a one has to be read once; what is too large of it is let go at once, here or already in a script on the server.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# Bytes, where there is no limit. Lua keeps it exactly.
NO_LIMIT = 2**53

# Bytes of entries that one process reads ahead. A batch that was sized by those before it can have more: then the rest
# is read again when its turn comes.
READ_AHEAD_BYTES = 16 * 1024 * 1024

# What is kept of an entry that is too large: of so many names and values at its beginning, the pairs of so many bytes
# at the most. Of an event these are the headers.
SHORT_PARTS = 64
SHORT_BYTES = 1000


def size_of(fields: Iterable[bytes] | None) -> int:
    """Return the bytes of names and values, 0 if there are none any more."""
    return sum(map(len, fields)) if fields else 0


def shortened(fields: Sequence[bytes]) -> list[bytes]:
    """Return what is kept of the fields of an entry that is too large."""
    pairs = zip(fields[:SHORT_PARTS:2], fields[1:SHORT_PARTS:2], strict=True)
    return [part for pair in pairs if len(pair[0]) + len(pair[1]) <= SHORT_BYTES for part in pair]
