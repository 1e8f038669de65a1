"""
Which streams and groups there are, found out by going through the names of all keys.

Redis has no list of streams, nor of groups whose stream is gone and whose dead letters are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from edx_event_bus_redis.internal.client import Clients
from edx_event_bus_redis.internal.names import owner_of, private_keys, stream_key
from edx_event_bus_redis.internal.server_errors import translated_errors

# Keys that the server goes through in one step: less than a millisecond.
_STEP = 1000

# Of what is private to a group, the kinds that tell that there is something to know of it.
_TELLING = frozenset({"dead", "later", "again", "lost", "pools"})


def streams_of_prefix(clients: Clients, prefix: str | None) -> dict[str, set[str]]:
    """
    Return the streams under a prefix, also those that are gone and of which groups have kept something.

    Arguments:
        clients: of the server or cluster.
        prefix: None for all streams of the database but those that are private to a group.

    Returns:
        Names of groups by keys of streams. Groups that have nothing of their own beside the stream are not among them.

    Raises:
        ServerError: and its subclasses.
    """
    pattern = _literally(stream_key("", prefix)) + "*"
    found: dict[str, set[str]] = {
        key: set() for key in _keys(clients, pattern, "stream") if prefix or owner_of(key) is None
    }
    # Whatever a stream's hash tag is, its groups' keys have it in front.
    for stream, group in _owners(clients, f"*{{{pattern}}}:*"):
        if stream.startswith(stream_key("", prefix)):
            found.setdefault(stream, set()).add(group)
    return found


def groups_of_stream(clients: Clients, stream: str) -> set[str]:
    """Return the groups that have something of their own beside a stream, which may be gone. Raises ServerError."""
    pattern = _literally(private_keys(stream)) + "*"
    return {group for owner, group in _owners(clients, pattern) if owner == stream}


def _owners(clients: Clients, pattern: str) -> Iterator[tuple[str, str]]:
    for key in _keys(clients, pattern):
        owner = owner_of(key)
        if owner is not None and owner.kind in _TELLING:
            yield owner.stream, owner.group


def _keys(clients: Clients, pattern: str, kind: str | None = None) -> Iterator[str]:
    with translated_errors():
        for client in clients.everywhere():
            for key in client.scan_iter(match=pattern, count=_STEP, _type=kind):
                yield key.decode(errors="surrogateescape")


def _literally(text: str) -> str:
    """Return a pattern that matches this text only."""
    return re.sub(r"[\\*?\[\]]", r"\\\g<0>", text)
