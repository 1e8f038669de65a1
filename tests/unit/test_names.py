"""The names of keys, and the hash slots that they are in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from edx_event_bus_redis.internal.names import Owner, group_key, has_private_slot, hash_tag, owner_of, pool_key

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
