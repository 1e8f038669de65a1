"""The commands that ask Redis, while Redis or everything else is in trouble: one line says what, and how it ends."""

import io
import re
import threading

import pytest
import redis
from django.core.management import CommandError, call_command
from django.test import override_settings

from devtools.server import EmbeddedServer
from tests.support.commands import manage
from tests.support.events import TOPIC
from tests.support.waiting import wait_until

STATUS = ("event_bus_status",)
DEAD_LETTERS = ("event_bus_dead_letters", "list", "-t", TOPIC, "-g", "group")
EACH = pytest.mark.parametrize("command", [STATUS, DEAD_LETTERS], ids=["status", "dead_letters"])


def complaint(*arguments: str, url: str, prefix: str = "dev") -> str:
    """Run a command in this process that cannot do what it is asked, and return what it says."""
    with (
        override_settings(EVENT_BUS_REDIS_CONNECTION_URL=url, EVENT_BUS_TOPIC_PREFIX=prefix),
        pytest.raises(CommandError) as error,
    ):
        call_command(*arguments, stdout=io.StringIO())
    assert error.value.returncode == 1
    assert "\n" not in str(error.value)
    return str(error.value)


@EACH
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://:hush@127.0.0.1:1/", r"Redis cannot be reached: .*refused \(redis://\*\*\*@127\.0\.0\.1:1/\)"),
        ("redis://:hush@host.invalid", r"Redis cannot be reached: .* \(redis://\*\*\*@host\.invalid:6379\)"),
        ("unix:///no/such.socket", r"Redis cannot be reached: .*No such file.* \(unix:///no/such\.socket\)"),
        (
            "redis+sentinel://:hush@127.0.0.1:1,127.0.0.1/bus",
            (
                r"Redis cannot be reached: no sentinel tells where 'bus' is \(.+:1: .*refused.*: .*refused.*\) "
                r"\(redis\+sentinel://\*\*\*@127\.0\.0\.1:1,127\.0\.0\.1:26379/bus\)"
            ),
        ),
        (
            "redis+cluster://:hush@127.0.0.1:1,127.0.0.1:2",
            r"Redis cannot be reached: .*refused \(redis\+cluster://\*\*\*@127\.0\.0\.1:1,127\.0\.0\.1:2\)",
        ),
    ],
)
def test_a_server_that_is_not_there_is_named(command: tuple[str, ...], url: str, said: str) -> None:
    """One line on standard error says so and names host and port, no traceback and no password; the status is 1."""
    done = manage(*command, url=url)

    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"CommandError: {said}\n", done.stderr)


@EACH
def test_a_server_that_hangs_is_not_waited_for_for_ever(command: tuple[str, ...], own_server: EmbeddedServer) -> None:
    """What hangs is a server that does not answer in time, whatever it is asked, without anything in the URL."""
    own_server.freeze()

    said = complaint(*command, url=own_server.url)

    assert said.startswith("Redis does not answer in time: ")
    assert f"127.0.0.1:{own_server.port}" in said


@EACH
def test_a_server_that_is_loading_is_told_from_one_that_is_down(command: tuple[str, ...]) -> None:
    """While the server loads its data, the line says that it was started and is not ready."""
    slow_loading = {"key-load-delay": "3000", "loading-process-events-interval-bytes": "1024"}
    with EmbeddedServer(config=slow_loading, start_timeout=60) as server:
        client = server.client()
        client.mset({f"key{number}": "value" * 10 for number in range(2500)})
        client.save()
        server.kill()
        starting = threading.Thread(target=server.restart)
        starting.start()

        def said() -> str:
            return complaint(*command, url=server.url)

        try:
            wait_until(
                lambda: said().startswith("Redis has been started and is not ready yet: "), what="it is seen loading"
            )
        finally:
            starting.join()


@EACH
def test_a_refused_password_is_told(command: tuple[str, ...]) -> None:
    """A wrong password, and one that is missing, are access refused, and no password is shown."""
    with EmbeddedServer(password="secret") as server:
        wrong, missing = (
            complaint(*command, url=server.url.replace(old, new)) for old, new in (("secret", "hush"), (":secret@", ""))
        )

    assert re.fullmatch(r"Redis refuses access: .+ \(redis://\*\*\*@127\.0\.0\.1:\d+/0\)", wrong)
    assert re.fullmatch(r"Redis refuses access: .+ \(redis://127\.0\.0\.1:\d+/0\)", missing)
    assert "secret" not in wrong + missing
    assert "hush" not in wrong + missing


@EACH
def test_a_right_that_is_lacking_is_named(command: tuple[str, ...], own_server: EmbeddedServer) -> None:
    """The line names the command that the user may not give, or the keys that it would have to be allowed."""
    client, stream = own_server.client(), f"dev-{TOPIC}"
    client.xgroup_create(stream, "group", 0, mkstream=True)
    for name, rights in {"mute": ["~*", "-xinfo"], "blind": ["~other*"]}.items():
        client.execute_command("ACL SETUSER", name, "on", ">hush", "+@all", *rights)

    mute, blind = (
        complaint(*command, url=own_server.url.replace("redis://", f"redis://{name}:hush@"))
        for name in ("mute", "blind")
    )

    assert re.search(r"no permissions to run the 'xinfo\b", mute)
    assert re.search(
        r"needed are (dev-\* and \{dev-\*\}:\*|dev-user-login and \{dev-user-login\}:\*) \(redis://\*\*\*@127", blind
    )


@EACH
def test_nothing_but_redis_is_needed(
    command: tuple[str, ...], client: redis.Redis, url: str, prefix: str, stream_name: str
) -> None:
    """A database and a cache that are down do not matter, nor do settings of producers and consumers that fail."""
    client.xgroup_create(stream_name, "group", 0, mkstream=True)
    postgres = {"ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": 1, "NAME": "x"}
    cache = {"BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache", "LOCATION": "127.0.0.1:1"}

    done = manage(
        *command,
        url=url,
        prefix=prefix,
        DATABASES={"default": postgres},
        CACHES={"default": cache},
        EVENT_BUS_PRODUCER="no.such.Producer",
        EVENT_BUS_CONSUMER="no.such.Consumer",
        EVENT_BUS_REDIS_CONSUMER_WORKERS="many",
        EVENT_BUS_REDIS_PRODUCER_WAIT_REPLICAS="perhaps",
        EVENT_BUS_REDIS_DEAD_LETTERS_MAX_LEN=-1,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert stream_name in done.stdout
