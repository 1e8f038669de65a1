"""The names of keys and consumers."""

from __future__ import annotations

import re
from typing import NamedTuple

_KINDS = "dead|later|again|starts|left|lost|read|taken|pools|pool"
# With the stream's hash tag before it, if it has one.
_PRIVATE = re.compile(rf"(?:\{{[^}}]+\}})?\{{(.+)\}}:({_KINDS}):(.+)", re.DOTALL)
_PRIVATE_WITHOUT_TAG = re.compile(rf"\{{(.+)\}}:({_KINDS}):(.+)", re.DOTALL)


class Owner(NamedTuple):
    """
    What a private key belongs to.

    Attributes:
        stream: key of the stream.
        kind: what it is, as in ``group_key``; ``pool`` for that of ``pool_key``.
        group: name of the group; for ``pool`` with the pool's name behind it.
    """

    stream: str
    kind: str
    group: str


def stream_key(topic: str, prefix: str | None) -> str:
    """Return the Redis key of a topic's stream: the topic behind ``EVENT_BUS_TOPIC_PREFIX`` and a hyphen, if any."""
    return f"{prefix}-{topic}" if prefix else topic


def topic_of(stream: str, prefix: str | None) -> str:
    """Return the topic of a stream under this prefix."""
    return stream.removeprefix(stream_key("", prefix))


def hash_tag(key: str) -> str | None:
    """
    Return the part of a key that alone decides on its hash slot, None if that is the whole key.

    It is what stands between the first brace that opens and the first behind it that closes, if that is not nothing
    (Redis Cluster specification, "Hash tags").
    """
    _, opened, behind = key.partition("{")
    tag, closed, _ = behind.partition("}")
    return tag if opened and closed and tag else None


def has_private_slot(stream: str) -> bool:
    """
    Return whether the keys of a stream's groups are in its hash slot.

    Not if the stream has a brace that closes and is not the end of a hash tag: nothing but the stream's own key hashes
    as the stream then.
    """
    return "}" not in stream or hash_tag(stream) is not None


def private_keys(stream: str) -> str:
    """Return what the keys of all groups of a stream begin with."""
    tag = hash_tag(stream)
    return f"{{{stream}}}:" if tag is None else f"{{{tag}}}{{{stream}}}:"


def group_key(stream: str, kind: str, group: str) -> str:
    """
    Return a key that belongs to one group of a stream, in the stream's hash slot: ``{<stream>}:<kind>:<group>``.

    A stream that has a hash tag itself lends it to the key: ``{<tag>}{<stream>}:<kind>:<group>``.

    Kinds: ``dead`` (dead letters), ``later`` (events that wait for their retry), ``again`` (events to be delivered to
    this group again), ``starts`` (how often suspects were started, and how a worker died of one), ``left`` (when
    consumers left on purpose), ``lost`` (the ledger of losses), ``read`` (how much the group has read, while the server
    does not know it), ``taken`` (what was taken over lately, and from whom), ``pools`` (the pools that the
    group has or had).
    """
    return f"{private_keys(stream)}{kind}:{group}"


def pool_key(stream: str, group: str, pool: str) -> str:
    """Return the key by which a pool holds its name and shows that it lives, in the stream's hash slot."""
    return group_key(stream, "pool", f"{group}:{pool}")


def owner_of(key: str) -> Owner | None:
    """Return what a key belongs to that is one of those that groups have beside a stream, None for any other key."""
    for pattern in (_PRIVATE, _PRIVATE_WITHOUT_TAG):
        found = pattern.fullmatch(key)
        # A stream with braces may look as if it began with a hash tag that it does not have.
        if found and key.startswith(private_keys(found[1])):
            return Owner(*found.groups())
    return None


def shard_consumer_name(consumer_name: str, shard: int) -> str:
    """Return the consumer name of one worker of a pool."""
    return f"{consumer_name}.{shard}"


def pool_of(name: str) -> str:
    """Return the name of the pool that a consumer would be of; empty if it cannot be a worker's."""
    stem, _, shard = name.rpartition(".")
    return stem if shard.isdecimal() else ""


def is_own_name(name: str, consumer_name: str) -> bool:
    """Return whether a consumer name is the pool's or consumer's own: itself or one of its shards, today's or not."""
    return consumer_name in {name, pool_of(name)}
