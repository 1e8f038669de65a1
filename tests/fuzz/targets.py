"""
What takes bytes from outside, and what must hold whatever these are.

Each target is a function of bytes that raises if something does not hold. The coverage-guided fuzzer and the tests of
``tests/unit/test_fuzzed.py`` call the same ones.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator

from edx_event_bus_redis.internal.again import delivered_again
from edx_event_bus_redis.internal.codec import SignalCodec, codec_for
from edx_event_bus_redis.internal.dead_letters import details
from edx_event_bus_redis.internal.errors import EventTooLarge, UnusableMessageError
from edx_event_bus_redis.internal.headers import HEADER_NAMES
from edx_event_bus_redis.internal.letter import encode_facts, parse_letter, restored, stored
from edx_event_bus_redis.internal.message import Entry, encode_fields, parse_entry
from edx_event_bus_redis.internal.openedx_codec import OpenedxCodec
from edx_event_bus_redis.internal.sizes import shortened, size_of
from tests.acceptance.project import examples

# Signals that together have every kind of data there is: texts, times, keys, numbers, what may be null, lists, maps. As
# far as this release of openedx-events has them.
_SIGNALS = {
    "login": "org.openedx.learning.auth.session.login.completed.v1",
    "enrollment": "org.openedx.learning.course.enrollment.created.v1",
    "associations": "org.openedx.content_authoring.content.object.associations.changed.v1",
    "launch": "org.openedx.learning.lti_provider.launch.success.v1",
    "skills": "org.openedx.learning.xblock.skill.verified.v1",
    "ledger": "org.openedx.enterprise.subsidy_ledger_transaction.committed.v1",
}
SIGNALS = {name: _SIGNALS[name] for name in _SIGNALS if _SIGNALS[name] in set(examples.event_types())}

LARGEST = 4000

_EVENT_TYPE = re.compile(r"[\w.-]{1,200}", re.ASCII)


def _outcome(decode: Callable[[bytes], object], data: bytes) -> str:
    try:
        decoded = decode(data)
    except Exception as error:  # noqa: BLE001 -- any, but not the end of the process
        return type(error).__name__
    return json.dumps(examples.described(decoded))


def decodes(codec: SignalCodec) -> Callable[[bytes], None]:
    """Bytes become what openedx-events makes of them, or an exception of the same type."""
    by_openedx = OpenedxCodec(codec._signal)

    def target(data: bytes) -> None:
        ours, theirs = _outcome(codec.decode, data), _outcome(by_openedx.decode, data)
        assert ours == theirs, f"{ours} is not {theirs}"

    return target


def fields_of(data: bytes) -> list[bytes]:
    """
    Return names and values that bytes are made into.

    The first byte of each says what it is: a known name, or so many of the bytes that follow.
    """
    known, parts, position = [*HEADER_NAMES, b"event_data", *map(b"again_%s".__mod__, (b"origin", b"failures"))], [], 0
    while position < len(data) and len(parts) < 100:
        size = data[position]
        position += 1
        if size >= 256 - len(known):
            parts.append(known[255 - size])
        else:
            parts.append(data[position : position + size])
            position += size
    return parts[: len(parts) // 2 * 2]


def headers(data: bytes) -> None:
    """Whatever the headers hold, the usual way to read them finds what the other way finds."""
    values = (data.split(b"\n", len(HEADER_NAMES) - 1) + [b"x"] * len(HEADER_NAMES))[: len(HEADER_NAMES)]
    pairs = list(zip([*HEADER_NAMES, b"event_data"], [*values, b"avro"], strict=True))
    usual, unusual = (_parsed([part for pair in order for part in pair]) for order in (pairs, pairs[::-1]))
    # These are made up anew where they are missing.
    made_up = {name for name in ("id", "time") if not dict(pairs)[name.encode()]}
    if isinstance(usual, dict) and isinstance(unusual, dict):
        usual, unusual = (
            {name: value for name, value in each.items() if name not in made_up} for each in (usual, unusual)
        )
    assert usual == unusual, f"{usual} is not {unusual}"


def _parsed(fields: list[bytes]) -> dict[str, object] | str:
    try:
        message = parse_entry(Entry(b"1-0", fields, size=size_of(fields)), "stream", LARGEST)
    except UnusableMessageError as error:
        text = str(error)
        assert len(text) < 200, "an error that quotes"
        assert text.isprintable(), "an error that could control a terminal"
        return text
    assert _EVENT_TYPE.fullmatch(message.metadata.event_type), message.metadata.event_type
    assert repr(message).isprintable(), repr(message)
    return {name: repr(value) for name, value in vars(message.metadata).items()}


def entries(data: bytes) -> None:
    """Whatever the fields are, an entry is a message or unusable, and log lines have little and harmless of it."""
    fields = fields_of(data)
    entry = Entry(b"1-0", fields, size=size_of(fields))
    parsed = _parsed(fields)
    if entry.size > LARGEST:
        assert parsed == str(EventTooLarge(entry.size, LARGEST)), parsed
    if entry.event_id is not None:
        assert entry.event_id.isprintable(), entry.event_id
        assert len(entry.event_id) < 1000, entry.event_id


def letters(data: bytes) -> None:
    """Whatever the fields are, what is kept of them comes back, and a dead letter of them can be shown."""
    fields = fields_of(data)
    entry = Entry(b"1-0", fields, size=size_of(fields))
    assert restored(stored(entry)) == (fields, 0), "fields change when they are kept"
    short = entry._replace(fields=shortened(fields))
    size = entry.size if size_of(short.fields) < entry.size else 0
    assert restored(stored(short)) == (short.fields, size), "fields that were shortened change when they are kept"
    facts = encode_facts(entry, cause="c", deliveries=1, consumer="c1")
    for letter in (parse_letter(Entry(b"2-0", [*stored(entry), *facts])), parse_letter(Entry(b"2-0", fields))):
        assert letter.fields == fields, letter
        json.dumps(details(letter))
    # It is nobody's event if it cannot be read, and got rid of as one.
    with contextlib.suppress(ValueError):
        delivered_again(b"2-0", fields)


def targets() -> dict[str, Callable[[bytes], None]]:
    """Return all targets by name."""
    codecs = {name: decodes(codec_for(examples.signal_of(event_type))) for name, event_type in SIGNALS.items()}
    return {**codecs, "headers": headers, "entries": entries, "letters": letters}


def seeds(name: str) -> Iterator[bytes]:
    """Yield inputs of a target to begin with."""
    signal = examples.signal_of(SIGNALS.get(name, SIGNALS["login"]))
    codec = codec_for(signal)
    for variant in ("full", "least"):
        data = codec.encode(examples.event_data(signal, variant))
        if name in SIGNALS:
            yield data
            continue
        fields = encode_fields(examples.metadata(signal.event_type, 1), data)
        if name == "headers":
            yield b"\n".join(fields[1:14:2])
        else:
            yield b"".join(bytes([len(part)]) + part for part in fields if len(part) < 200)
