"""What is said of a stream or a group that does not exist, so that a slip of the pen is seen at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from edx_event_bus_redis.internal.client import Clients
from edx_event_bus_redis.internal.errors import AccessRefused, GroupMissing
from edx_event_bus_redis.internal.keyspace import streams_of_prefix
from edx_event_bus_redis.internal.names import stream_key, topic_of
from edx_event_bus_redis.internal.settings import GroupSettings
from edx_event_bus_redis.internal.stream import Stream
from edx_event_bus_redis.management.command_line import shown

# Names that are told.
_MOST = 5


def missing(clients: Clients, settings: GroupSettings) -> str:
    """Return that there is no such stream, or no such group of it, and what is there. Raises ServerError."""
    key, prefix = stream_key(settings.topic, settings.topic_prefix), settings.topic_prefix
    found = _found(clients, prefix)
    groups = found.get(key, set())
    try:
        groups = groups.union(Stream(clients.of(key), key).about().groups)
    except GroupMissing:
        if key not in found:
            topics = [topic_of(each, prefix) for each in found]
            return f"there is no stream {shown(key)}{_instead('topics', settings.topic, topics)}"
    return f"stream {shown(key)} has no group {shown(settings.group)}{_instead('groups', settings.group, groups)}"


def _found(clients: Clients, prefix: str | None) -> dict[str, set[str]]:
    try:
        return streams_of_prefix(clients, prefix)
    except AccessRefused:
        # Names of keys are not for everybody; that something is missing is said all the same.
        return {}


def _instead(what: str, name: str, names: Iterable[str]) -> str:
    """Return the name that was meant, or else those that there are."""
    there = sorted(names)
    near = difflib.get_close_matches(name, there, n=1)
    if near:
        return f": did you mean {shown(near[0])}?"
    if not there:
        return ""
    more = f" and {len(there) - _MOST:,} more" if len(there) > _MOST else ""
    return f"; {what} that there are: {', '.join(map(shown, there[:_MOST]))}{more}"
