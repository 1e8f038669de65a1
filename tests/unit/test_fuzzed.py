"""Whatever bytes come from a stream: the targets of the fuzzer, with made-up inputs, and with what it has found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edx_event_bus_redis.internal.avro_values import write_long
from tests.fuzz.targets import SIGNALS, fields_of, seeds, targets

TARGETS = targets()

SOME = settings(max_examples=100, suppress_health_check=list(HealthCheck))

COUNTS = st.integers(-(2**63), 2**63 - 1).map(write_long)
AVRO = st.lists(st.binary(max_size=20) | st.sampled_from([b"\x00", b"\x02", b"\x04ab"]) | COUNTS).map(b"".join)

# What the fuzzer has found once, and what it took long to find.
FOUND: dict[str, list[bytes]] = {
    # Empty names and values beyond those that are kept have no bytes.
    "letters": [b"\x04type\x04abcd" + b"\x00" * 120, b"\x00\x00", b"\x13dead_shortened_from\x015"],
    "entries": [b"", b"\xff", b"\x04type\x05a\nb\x1bc\x02id\x04\x1b[0m"],
    "headers": [b"", b"\n" * 10, b"a.b\n" + b"-" * 5000 + b"\n\n\n\n\n"],
}


@st.composite
def changed(draw: st.DrawFn, name: str) -> bytes:
    """A good input, in which some bytes are others."""
    data = draw(st.sampled_from(list(seeds(name))))
    start = draw(st.integers(0, len(data)))
    return data[:start] + draw(st.binary(max_size=10) | COUNTS) + data[start + draw(st.integers(0, 10)) :]


@pytest.mark.parametrize("name", TARGETS)
@SOME
@given(data=st.data())
def test_any_bytes(name: str, data: st.DataObject) -> None:
    """What the target says holds for bytes of any kind, and for good ones that were changed."""
    TARGETS[name](data.draw(st.binary(max_size=300) | AVRO | changed(name)))


@pytest.mark.parametrize("name", TARGETS)
def test_what_the_fuzzer_begins_with(name: str) -> None:
    """The targets hold for good input, which is what the fuzzer changes."""
    begun_with = list(seeds(name))
    for data in begun_with:
        TARGETS[name](data)

    assert begun_with


@pytest.mark.parametrize(("name", "data"), [(name, data) for name, each in FOUND.items() for data in each])
def test_what_was_found_once(name: str, data: bytes) -> None:
    """What has failed once does not fail again."""
    TARGETS[name](data)


def test_fields_can_be_any() -> None:
    """Of bytes the fuzzer can make the fields of an event as well as any others."""
    assert fields_of(b"\xff\x01a" + b"\x02no" + b"\x03yes" + b"\x05cut") == [b"type", b"a", b"no", b"yes"]


@pytest.mark.parametrize("name", SIGNALS)
def test_a_target_fails_if_something_does_not_hold(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that finds another thing than openedx-events is found out."""
    target: Callable[[bytes], None] = targets()[name]
    monkeypatch.setattr("edx_event_bus_redis.internal.codec.SignalCodec.decode", lambda *_: {})

    with pytest.raises(AssertionError):
        target(next(seeds(name)))
