"""A password that is changed while producers and consumers run."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
import redis
from django.core.management import call_command
from django.test import override_settings

from devtools.embedded import HOST, EmbeddedServer
from edx_event_bus_redis.internal.errors import AccessRefused
from edx_event_bus_redis.internal.producer import RedisEventProducer
from edx_event_bus_redis.internal.server import Server
from tests.support.consuming import ConsumerProcess
from tests.support.events import SIGNAL, TOPIC, add_logins, login_data
from tests.support.troubles import ends, nothing_pending, wait_refused
from tests.support.waiting import wait_until

OLD, NEW = "old-hunter2", "new-hunter3"


def change_password(client: redis.Redis, password: str) -> None:
    """Change the password of the bus's user, and close all of its connections."""
    client.execute_command("ACL SETUSER", "bus", "on", "resetpass", f">{password}", "~*", "+@all")
    client.execute_command("CLIENT KILL", "USER", "bus")


def test_a_new_password_needs_no_restart(
    consume: Callable[..., ConsumerProcess],
    own_server: EmbeddedServer,
    stream_name: str,
    prefix: str,
    tmp_path: Path,
) -> None:
    """When the password changes on the server and then in the file, workers, monitor and producer go on."""
    client = own_server.client()
    change_password(client, OLD)
    secret = tmp_path / "secret"
    secret.write_text(f"{OLD}\n")
    settings = {"EVENT_BUS_REDIS_CONNECTION_OPTIONS": {"username": "bus", "password_file": str(secret)}}
    url = f"redis://{HOST}:{own_server.port}/"
    consumer = consume(url=url, workers=2, settings=settings).wait_running(2)
    producer = RedisEventProducer(Server.of(url, settings["EVENT_BUS_REDIS_CONNECTION_OPTIONS"]))

    def deliver() -> None:
        producer.deliver(
            signal=SIGNAL,
            topic=TOPIC,
            event_key_field="",
            event_data=login_data(),
            event_metadata=SIGNAL.generate_signal_metadata(),
        )

    with override_settings(EVENT_BUS_TOPIC_PREFIX=prefix):
        deliver()
        consumer.wait_handled(1)

        change_password(client, NEW)

        wait_refused(client, 4, "WRONGPASS")
        with pytest.raises(AccessRefused, match="invalid username-password"):
            deliver()
        secret.write_text(f"{NEW}\n")
        deliver()
    consumer.wait_handled(2)
    wait_until(lambda: ends(consumer.log).keys() >= {"c1.0", "c1.1"}, what="both workers go on")
    out = StringIO()
    with override_settings(EVENT_BUS_REDIS_CONNECTION_URL=url, EVENT_BUS_TOPIC_PREFIX=prefix, **settings):
        call_command("event_bus_status", json=True, stdout=out)
    heartbeat = str(client.hgetall(f"{{{stream_name}}}:pool:group:c1"))
    assert json.loads(out.getvalue())["streams"]
    for text in (consumer.log, out.getvalue(), heartbeat):
        assert OLD not in text
        assert NEW not in text
    assert consumer.stop() == 0


def test_a_wrong_password_in_the_file_is_a_bad_setting(
    consume: Callable[..., ConsumerProcess], own_server: EmbeddedServer, tmp_path: Path
) -> None:
    """A consumer that starts with a password that the server refuses leaves with status 2 and one line without it."""
    change_password(own_server.client(), OLD)
    secret = tmp_path / "secret"
    secret.write_text(NEW)
    options = {"username": "bus", "password_file": str(secret)}
    consumer = consume(
        url=f"redis://{HOST}:{own_server.port}/", settings={"EVENT_BUS_REDIS_CONNECTION_OPTIONS": options}
    )

    assert consumer.wait() == 2
    assert "Redis refuses its user or password" in consumer.log
    assert NEW not in consumer.log


def test_options_that_cannot_work_are_told(consume: Callable[..., ConsumerProcess], url: str) -> None:
    """A consumer leaves with status 2 and one line when an option cannot work."""
    consumer = consume(url=url, settings={"EVENT_BUS_REDIS_CONNECTION_OPTIONS": {"decode_responses": True}})

    assert consumer.wait() == 2
    assert "EVENT_BUS_REDIS_CONNECTION_OPTIONS: 'decode_responses' is not to be chosen" in consumer.log.splitlines()[-1]


def test_a_client_name_is_seen_by_the_server(
    consume: Callable[..., ConsumerProcess], own_server: EmbeddedServer, stream_name: str
) -> None:
    """Connections have the client_name of the options, and do what they do without one."""
    client = own_server.client()
    consumer = consume(
        url=own_server.url, settings={"EVENT_BUS_REDIS_CONNECTION_OPTIONS": {"client_name": "bus-of-lms"}}
    ).wait_running()
    consumer.wait_handled(len(add_logins(client, stream_name, 3)))

    assert "bus-of-lms" in {each["name"] for each in client.client_list()}
    nothing_pending(client, stream_name)
