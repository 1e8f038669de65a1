"""The names of keys and consumers."""

from __future__ import annotations


def stream_key(topic: str, prefix: str | None) -> str:
    """Return the Redis key of a topic's stream: the topic behind ``EVENT_BUS_TOPIC_PREFIX`` and a hyphen, if any."""
    return f"{prefix}-{topic}" if prefix else topic


def group_key(stream: str, kind: str, group: str) -> str:
    """
    Return a key that belongs to one group of a stream, in the stream's hash slot.

    Kinds: ``dead`` (dead letters), ``later`` (events that wait for their retry), ``again`` (events to be delivered to
    this group again), ``starts`` (how often suspects were started), ``left`` (when consumers left on purpose).
    """
    return f"{{{stream}}}:{kind}:{group}"


def shard_consumer_name(consumer_name: str, shard: int) -> str:
    """Return the consumer name of one worker of a pool."""
    return f"{consumer_name}.{shard}"


def is_own_name(name: str, consumer_name: str) -> bool:
    """Return whether a consumer name is the pool's or consumer's own: itself or one of its shards, today's or not."""
    stem, _, shard = name.rpartition(".")
    return name == consumer_name or (stem == consumer_name and shard.isdecimal())
