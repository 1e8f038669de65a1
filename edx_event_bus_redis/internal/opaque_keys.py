"""
Keys of courses, blocks and libraries, parsed once for each text.

Parsing one takes as long as the rest of an event, and events of one course come in hundreds. The objects are
immutable, so that events can share them.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

from opaque_keys import InvalidKeyError, OpaqueKey

# Of each kind, about 1 KiB each. An installation has hundreds of courses that something happens in at the same time.
_REMEMBERED = 1024

# Bytes. Database columns for keys hold 255 characters; whoever sends longer ones shall not fill our memory.
LONGEST = 255

_NO_KEY = b"none:"

Parser = Callable[[bytes], Any]


@functools.cache
def parsers(serializer: Any) -> tuple[Parser, Parser]:
    """
    Return how to read an object from its text in UTF-8: one function that remembers objects, and one that does not.

    Arguments:
        serializer: a custom serializer of openedx-events for opaque keys. The function that remembers must not be
            given more than ``LONGEST`` bytes.
    """

    def parse(text: bytes) -> Any:
        return serializer.deserialize(text.decode())

    # The first text has all kinds of keys looked for among the installed packages, whatever it is.
    with contextlib.suppress(InvalidKeyError):
        parse(_NO_KEY)
    # Errors are not remembered.
    return functools.lru_cache(_REMEMBERED)(parse), parse


def is_opaque_key(serializer: Any) -> bool:
    """Return whether a custom serializer of openedx-events is for opaque keys."""
    return isinstance(serializer.cls, type) and issubclass(serializer.cls, OpaqueKey)
