"""The names of keys, and the hash slots that they are in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from edx_event_bus_redis.internal.names import (
    Owner,
    group_key,
    has_private_slot,
    hash_tag,
    is_own_name,
    owner_of,
    pool_key,
    pool_of,
    shard_consumer_name,
    stream_key,
    topic_of,
)

STREAMS = [
    "dev-user-login",
    "user-login",
    "{tag}-user-login",
    "dev-{a}b{c}",
    "a{{b}c",
    "a{b",
    "{}x",
    "a}b",
    "x}{y",
    "}{a}",
]


@pytest.mark.parametrize(
    ("key", "tag"),
    [("a", None), ("{a}b", "a"), ("x{a}{b}", "a"), ("{}{a}", None), ("a{b", None), ("a}b", None), ("{{a}}", "{a")],
)
def test_the_hash_tag_is_that_of_the_specification(key: str, tag: str | None) -> None:
    """The examples of the specification, and what stands between: what redis-py hashes is the tag."""
    assert hash_tag(key) == tag
    assert key_slot(key.encode()) == key_slot((tag or key).encode() if tag is None or "{" not in tag else key.encode())


@given(st.sampled_from(STREAMS) | st.text("ab{}", min_size=1, max_size=8))
def test_private_keys_are_in_the_streams_slot(stream: str) -> None:
    """Every key of a group is in its stream's slot, unless the stream is known to be one that cannot have such keys."""
    keys = [group_key(stream, "dead", "group"), pool_key(stream, "group", "c1")]

    together = all(key_slot(key.encode()) == key_slot(stream.encode()) for key in keys)

    assert together or not has_private_slot(stream)


@given(st.sampled_from(STREAMS) | st.text("ab{}", min_size=1, max_size=8).filter(has_private_slot))
def test_a_private_key_tells_its_owner(stream: str) -> None:
    """From the key of a group its stream, kind and group are known, braces or not."""
    assert owner_of(group_key(stream, "dead", "group")) == Owner(stream, "dead", "group")
    assert owner_of(pool_key(stream, "group", "c1")) == Owner(stream, "pool", "group:c1")


def test_streams_without_braces_have_plain_keys() -> None:
    """The names of the design stay as they are."""
    assert group_key("dev-user-login", "dead", "group") == "{dev-user-login}:dead:group"
    assert group_key("{x}login", "dead", "group") == "{x}{{x}login}:dead:group"
    assert owner_of("{dev-user-login}:nothing:group") is None
    assert owner_of("dev-user-login") is None


@pytest.mark.parametrize(
    ("topic", "prefix", "stream"),
    [
        ("user-login", "dev", "dev-user-login"),
        ("user-login", None, "user-login"),
        ("dev-x-dev-", "dev", "dev-dev-x-dev-"),
    ],
)
def test_a_stream_is_named_after_its_topic(topic: str, prefix: str | None, stream: str) -> None:
    """With the prefix and a hyphen before it if there is one; and the topic is known from the stream."""
    assert stream_key(topic, prefix) == stream
    assert topic_of(stream, prefix) == topic


@pytest.mark.parametrize(
    ("name", "pool"),
    [("c1.0", "c1"), ("c1.17", "c1"), ("a.b.3", "a.b"), ("c1", ""), ("c1.", ""), ("c1.x", ""), ("7", "")],
)
def test_a_workers_name_tells_its_pool(name: str, pool: str) -> None:
    """What stands before the last dot, if a number stands behind it; any other consumer is of no pool."""
    assert pool_of(name) == pool
    assert pool_of(shard_consumer_name(name, 4)) == name


def test_a_name_is_ones_own_with_any_number_behind_it() -> None:
    """That of the consumer and those of its workers, however many it has today; not those of another name."""
    own = ["c1", "c1.0", "c1.99", "c2", "c10", "c1.x", "c1.0.0"]

    assert [name for name in own if is_own_name(name, "c1")] == ["c1", "c1.0", "c1.99"]
