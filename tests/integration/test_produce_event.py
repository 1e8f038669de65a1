"""The command ``produce_event``, through the real command line."""

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.core.management import call_command, load_command_class
from openedx_events.data import EventsMetadata

from devtools.demo.events import KINDS, Campus
from devtools.server import EmbeddedServer
from edx_event_bus_redis.internal.codec import codec_for
from edx_event_bus_redis.internal.message import encode_fields
from edx_event_bus_redis.internal.producer import RedisEventProducer
from tests.support.commands import manage, start
from tests.support.events import SIGNAL, TOPIC
from tests.support.waiting import wait_until

LOGIN = "openedx_events.learning.signals.SESSION_LOGIN_COMPLETED"
SKILLS = "openedx_events.learning.signals.XBLOCK_SKILL_VERIFIED"
BLOCK = "block-v1:Example+CS50+2026+type@problem+block@one"

Produce = Callable[..., subprocess.CompletedProcess[str]]


def login(**pii: Any) -> dict[str, Any]:
    return {"user": {"id": 7, "is_active": True, "pii": {"username": "ada", "email": "ada@example.org", **pii}}}


def command(**options: Any) -> list[str]:
    options = {"signal": LOGIN, "topic": TOPIC, "key_field": "user.pii.username", "data": login()} | options
    arguments = ["produce_event"]
    for name, value in options.items():
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value)
            arguments += [f"--{name.replace('_', '-')}", text]
    return arguments


def here(**options: Any) -> None:
    """Run the command line in this process, which spares the second that a new one takes to start."""
    load_command_class("edx_event_bus_redis", "produce_event").run_from_argv(["manage.py", *command(**options)])


@pytest.fixture
def produce(url: str, prefix: str) -> Produce:
    """Run the command; ``how`` are keywords of ``manage``, everything else is an option."""

    def run(how: dict[str, Any] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        return manage(*command(**options), **{"url": url, "prefix": prefix} | (how or {}))

    return run


def fields_of(client: redis.Redis, stream_name: str) -> list[dict[bytes, bytes]]:
    return [fields for _, fields in client.xrange(stream_name)]


def test_an_event_is_sent_and_handled(
    produce: Produce, consume: Callable[..., Any], client: redis.Redis, stream_name: str
) -> None:
    """What the command sends is handled by a consumer, and the command says where it is."""
    consumer = consume().wait_running()

    done = produce(data=login(username="ok"))

    last = client.xinfo_stream(stream_name)["last-generated-id"].decode()
    assert (done.returncode, done.stdout) == (0, f"sent 1 event to stream {stream_name}, last entry id {last}\n")
    consumer.wait_handled(1)
    assert "ERROR" not in consumer.log


def test_the_published_options_work_as_lists_for_call_command(
    bus_settings: None, client: redis.Redis, stream_name: str
) -> None:
    """Code that calls the command as the published package's tests do goes on to work."""
    call_command(
        "produce_event", signal=[LOGIN], topic=[TOPIC], key_field=["user.pii.username"], data=[json.dumps(login())]
    )

    assert client.xlen(stream_name) == 1


def test_the_key_field_is_optional_and_an_event_type_will_do(
    produce: Produce, client: redis.Redis, stream_name: str
) -> None:
    """A log line of a producer names the event type and not the path of the signal: that is enough."""
    assert produce(signal=SIGNAL.event_type, key_field=None).returncode == 0

    assert [fields[b"type"] for fields in fields_of(client, stream_name)] == [SIGNAL.event_type.encode()]


def test_fields_with_defaults_may_be_left_out(produce: Produce, client: redis.Redis, stream_name: str) -> None:
    """What a data class has a default for need not be given, as it need not be where an event is sent by code."""
    assert produce(data=login()).returncode == 0

    (fields,) = fields_of(client, stream_name)
    assert codec_for(SIGNAL).decode(fields[b"event_data"])["user"].pii.name == ""


def test_each_of_many_is_an_event_of_its_own(produce: Produce, client: redis.Redis, stream_name: str) -> None:
    """--count sends so many events with as many ids, and without a terminal nothing but the last line is printed."""
    done = produce(count="120")

    assert len({fields[b"id"] for fields in fields_of(client, stream_name)}) == 120
    assert done.stdout.startswith(f"sent 120 events to stream {stream_name}, last entry id ")
    assert "\x1b" not in done.stdout + done.stderr


def test_a_rate_is_kept(produce: Produce, client: redis.Redis, stream_name: str) -> None:
    """--rate spreads the events over time."""
    assert produce(count="11", rate="10").returncode == 0

    entries = client.xrange(stream_name)
    first, last = (int(entry_id.partition(b"-")[0]) for entry_id in (entries[0][0], entries[-1][0]))
    # One second, less what the first one may have been late.
    assert last - first >= 500


def test_a_terminal_gets_a_progress_bar_below_the_log(url: str, prefix: str, client: redis.Redis) -> None:
    """On a terminal a bar shows how many of all are sent, and log lines scroll above it."""
    terminal, stderr = pty.openpty()
    process = start(
        *command(count="30", rate="30"),
        url=url,
        prefix=prefix,
        environment={"TERM": "xterm", "COLUMNS": "300"},
        starts=True,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )
    os.close(stderr)
    shown = b""
    # On Linux a terminal whose other side is closed is an error.
    try:
        while chunk := os.read(terminal, 65536):
            shown += chunk
    except OSError:
        pass
    finally:
        os.close(terminal)

    assert process.wait(30) == 0
    assert re.search(rb"\b[1-9]\d*/30\b", shown)
    # A line of the log begins where a line begins, or where the bar was erased.
    uncoloured = re.sub(rb"\x1b\[[\d;]*m", b"", shown)
    before = re.findall(rb"(.|\n)\d{4}-\d\d-\d\d [\d:,]+ \d+ INFO [\w.]+: Message delivered", uncoloured)
    assert len(before) == 30
    assert set(before) <= {b"\n", b"\r", b"K"}


def test_metadata_is_kept(produce: Produce, client: redis.Redis, stream_name: str) -> None:
    """--metadata sends an event with the id, the time and all the rest that it had."""
    metadata = EventsMetadata(
        event_type=SIGNAL.event_type, minorversion=3, source="openedx/cms/web", sourcehost="cms1", sourcelib=(9, 5, 0)
    )

    assert produce(data=login(name="Ada"), metadata=metadata.to_json()).returncode == 0

    (fields,) = fields_of(client, stream_name)
    event_data = codec_for(SIGNAL).decode(fields[b"event_data"])
    expected = encode_fields(metadata, codec_for(SIGNAL).encode(event_data))
    assert [each for pair in fields.items() for each in pair] == expected


def test_an_event_that_was_not_delivered_can_be_sent_from_the_log(
    bus_settings: None, client: redis.Redis, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A producer's log line about a failure has all that the command needs to send the same entry, for any signal."""
    for number, (sent, make) in enumerate(KINDS):
        event_data, original, topic = make(Campus()), sent.generate_signal_metadata(), f"topic{number}"
        caplog.clear()
        RedisEventProducer("redis://127.0.0.1:1/").send(
            signal=sent, topic=topic, event_key_field="", event_data=event_data, event_metadata=original
        )
        found = re.search(r"event_data=(\{.*\}) event_metadata=(\{.*\})$", caplog.messages[-1])
        assert found is not None

        here(signal=sent.event_type, topic=topic, data=found[1], metadata=found[2])

        (fields,) = fields_of(client, f"{prefix}-{topic}")
        client.delete(f"{prefix}-{topic}")
        expected = encode_fields(original, codec_for(sent).encode(event_data))
        assert [each for pair in fields.items() for each in pair] == expected


def user(**attributes: Any) -> dict[str, Any]:
    return {"user": login()["user"] | attributes}


def skills(**attributes: Any) -> dict[str, Any]:
    return {"xblock_info": {"usage_key": BLOCK, **attributes}}


def metadata(**attributes: Any) -> dict[str, Any]:
    return json.loads(EventsMetadata(event_type=SIGNAL.event_type).to_json()) | attributes


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"signal": "openedx_events.learning.signals.SESION_LOGIN_COMPLETED"}, f"did you mean {LOGIN}?"),
        ({"signal": "openedx_events.lerning.signals.SESSION_LOGIN_COMPLETED"}, f"did you mean {LOGIN}?"),
        ({"signal": "org.openedx.learning.auth.session.login.v1"}, f"did you mean {SIGNAL.event_type}?"),
        ({"signal": "nowhere.NOTHING"}, "No module named 'nowhere'"),
        ({"signal": "nothing"}, f"expected a path like {LOGIN}"),
        ({"signal": "openedx_events.learning.signals.UserData"}, "is a type, not an OpenEdxPublicSignal"),
        (
            {"signal": "openedx_events.content_authoring.signals.COURSE_CERTIFICATE_CONFIG_CHANGED"},
            "cannot be sent by an event bus",
        ),
        ({"topic": ""}, "--topic is ''"),
        ({"topic": " "}, "--topic is ' '"),
        ({"data": "{user: 7}"}, "--data is no JSON"),
        ({"data": "[7]"}, "--data is [7]: expected a JSON object"),
        ({"data": {}}, "key 'user' is missing"),
        ({"data": {"usr": {}}}, "key 'usr' is unknown, did you mean 'user'?"),
        ({"data": login() | {"course": {}}}, "key 'course' is unknown, known keys: user"),
        ({"data": login(emial="x")}, "key 'user.pii.emial' is unknown, did you mean 'email'?"),
        ({"data": {"user": {"id": 7, "is_active": True}}}, "key 'user.pii' is missing"),
        ({"data": {"user": "ada"}}, "user is 'ada', expected an object"),
        ({"data": login(username=7)}, "user.pii.username is 7, expected text"),
        ({"data": login(username=None)}, "user.pii.username is None, expected text"),
        ({"data": user(id="7")}, "user.id is '7', expected a whole number"),
        ({"data": user(id=7.5)}, "user.id is 7.5, expected a whole number"),
        ({"data": user(id=True)}, "user.id is True, expected a whole number"),
        ({"data": user(id=2**63)}, "more than 64 bits"),
        ({"data": user(is_active=1)}, "user.is_active is 1, expected true or false"),
        (
            {"data": '{"user": {"id": 7, "is_active": true, "pii": {"username": "\\ud800", "email": ""}}}'},
            "does not fit",
        ),
        (
            {"signal": SKILLS, "data": skills(usage_key="problem one")},
            "usage_key is 'problem one', expected a UsageKey",
        ),
        ({"signal": SKILLS, "data": skills(verified_skills=[1, "2"])}, "verified_skills[1] is '2', expected a whole"),
        ({"count": "0"}, "--count is '0': expected a whole number from 1"),
        ({"count": "many"}, "--count is 'many'"),
        ({"rate": "0"}, "--rate is '0': expected a number of events per second"),
        ({"rate": "-1"}, "--rate is '-1'"),
        ({"rate": "inf"}, "--rate is 'inf'"),
        ({"metadata": metadata(), "count": "2"}, "does not go with --count 2"),
        ({"metadata": "{"}, "--metadata is no JSON"),
        ({"metadata": {"id": "x"}}, "key 'event_type' is missing"),
        ({"metadata": metadata(id="seven")}, "id is 'seven', expected a UUID"),
        ({"metadata": metadata(time="2026-11-23T12:00:00")}, "must have timezone.utc"),
        ({"metadata": metadata(minorversion="0")}, "minorversion is '0', expected a whole number"),
        ({"metadata": metadata(sourcelib="9.5.0")}, "sourcelib is '9.5.0', expected a list"),
        ({"metadata": metadata(tiem="")}, "key 'tiem' is unknown, did you mean 'time'?"),
        (
            {"metadata": metadata(event_type="org.openedx.other.v1")},
            "--metadata is of event type 'org.openedx.other.v1'",
        ),
    ],
)
def test_an_option_that_cannot_work_is_named(
    bus_settings: None,
    client: redis.Redis,
    stream_name: str,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, Any],
    expected: str,
) -> None:
    """A bad option ends with status 1 and one line that names it and says what would be right; nothing is sent."""
    with pytest.raises(SystemExit) as leaving:
        here(**options)

    fails(leaving.value.code, *capsys.readouterr(), expected)
    assert not client.exists(stream_name)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"url": None}, "setting EVENT_BUS_REDIS_CONNECTION_URL is missing: expected a URL like redis://"),
        ({"url": "localhost:6379"}, "setting EVENT_BUS_REDIS_CONNECTION_URL"),
        ({"url": "redis://:hush@127.0.0.1:1/"}, "Redis at redis://***@127.0.0.1:1/ did not take the event: "),
        ({"EVENT_BUS_REDIS_STREAM_MAX_LEN": 0}, "setting EVENT_BUS_REDIS_STREAM_MAX_LEN is 0"),
    ],
)
def test_a_setting_that_cannot_work_is_named(produce: Produce, settings: dict[str, Any], expected: str) -> None:
    """A missing or bad setting, or a server that is down, ends with status 1 and one line that names it."""
    done = produce(settings)

    fails(done.returncode, done.stdout, done.stderr, expected)


def test_a_bad_option_is_one_line_in_a_shell_too(produce: Produce) -> None:
    """No traceback, no warning and no usage message surround the line that names a bad option."""
    done = produce({"starts": True}, topic="")

    fails(done.returncode, done.stdout, done.stderr, "--topic is ''")


def fails(status: object, stdout: str, stderr: str, expected: str) -> None:
    assert (status, stdout) == (1, "")
    assert stderr.startswith("CommandError: ")
    assert len(stderr.splitlines()) == 1, stderr
    assert expected in stderr
    assert "hush" not in stderr


def test_a_server_that_goes_down_ends_it(own_server: EmbeddedServer, prefix: str, stream_name: str) -> None:
    """When Redis is gone half-way the command says how many of the events it has."""
    process = send_many(own_server, prefix)
    with own_server.client() as client:
        wait_until(lambda: client.xlen(stream_name) >= 5, what="some events are sent")

    own_server.kill()

    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert re.search(r"CommandError: Redis at .* did not take the event: .* \(\d+ of 100000 were sent\)$", stderr)


def test_control_c_ends_it(own_server: EmbeddedServer, prefix: str, stream_name: str) -> None:
    """Control-C ends it with the status that shells expect, and it says how many were sent."""
    process = send_many(own_server, prefix)
    with own_server.client() as client:
        wait_until(lambda: client.xlen(stream_name) >= 5, what="some events are sent")

    process.send_signal(signal.SIGINT)

    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert re.search(r"CommandError: interrupted \(\d+ of 100000 were sent\)$", stderr)


def send_many(server: EmbeddedServer, prefix: str) -> subprocess.Popen[str]:
    return start(
        *command(count="100000", rate="100"),
        url=server.url,
        prefix=prefix,
        settings={"EVENT_BUS_REDIS_AUDIT_LOGGING_ENABLED": False},
        starts=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
