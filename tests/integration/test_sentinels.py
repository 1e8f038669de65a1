"""A server that sentinels know, and its replica, which takes over when it is gone."""

import contextlib
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings
from redis.exceptions import ResponseError

from devtools.embedded import HOST, EmbeddedServer
from edx_event_bus_redis.internal.client import Clients
from edx_event_bus_redis.internal.errors import AccessRefused, ServerError, ServerUnavailable
from edx_event_bus_redis.internal.producer import RedisEventProducer
from edx_event_bus_redis.internal.server import Server
from edx_event_bus_redis.internal.settings import StatusSettings
from edx_event_bus_redis.internal.survey import Survey
from tests.support.consuming import ConsumerProcess
from tests.support.events import TOPIC
from tests.support.load import deliver
from tests.support.sentinels import SERVICE, SentinelServer, Watched, watched
from tests.support.troubles import nothing_pending
from tests.support.waiting import wait_until

pytestmark = pytest.mark.server

PASSWORD = "hunter2"


@pytest.fixture(scope="module")
def servers() -> Iterator[Watched]:
    """Servers that the tests of this file share and leave as they are."""
    with watched(password=PASSWORD, sentinel_password="sentry3") as servers:
        yield servers


SENTINEL_LOGIN: dict[str, Any] = {"sentinel_kwargs": {"password": "sentry3"}}


def fails_over(servers: Watched) -> bool:
    """Ask the sentinel for a failover; return whether it agrees."""
    try:
        return bool(servers.sentinel.client().execute_command("SENTINEL FAILOVER", SERVICE))
    except ResponseError:
        return False


def test_consuming_and_producing_go_on_with_the_new_primary(
    consume: Callable[..., ConsumerProcess], prefix: str, stream_name: str
) -> None:
    """When the primary is killed, workers, monitor and producer find its successor; all that it has is handled once."""
    with watched() as servers, override_settings(EVENT_BUS_TOPIC_PREFIX=prefix):
        consumer = consume(url=servers.url, workers=2).wait_running(2)
        producer = RedisEventProducer(servers.url)
        for _ in range(50):
            deliver(producer)
        consumer.wait_handled(50)

        servers.primary.kill()

        def delivered_again() -> bool:
            try:
                return bool(deliver(producer))
            except ServerUnavailable:
                return False

        wait_until(delivered_again, what="the successor takes events")
        assert servers.knows(servers.replica)
        for _ in range(50):
            deliver(producer)
        client = servers.replica.client()
        entries = client.xrange(stream_name)
        # What the old primary had not told the replica yet is gone with it.
        assert len(entries) >= 51
        ids = {fields[b"id"].decode() for _, fields in entries}
        wait_until(lambda: ids <= {each.event_id for each in consumer.handled()}, what="all are handled")
        nothing_pending(client, stream_name)
        assert consumer.stop() == 0
        assert "Traceback" not in consumer.log


def test_a_primary_that_was_demoted_is_left(prefix: str) -> None:
    """A producer whose connection leads to what is a replica by now sends the event to the new primary all the same."""
    with watched() as own, override_settings(EVENT_BUS_TOPIC_PREFIX=prefix):
        producer = RedisEventProducer(own.url)
        deliver(producer)
        wait_until(lambda: fails_over(own), what="the sentinel finds the replica good enough")
        wait_until(lambda: own.knows(own.replica), what="the sentinel knows the successor")
        # The sentinel would take ten seconds for that.
        own.primary.client().execute_command("REPLICAOF", HOST, own.replica.port)

        deliver(producer)

        assert own.replica.client().xlen(f"{prefix}-{TOPIC}") >= 1


def test_whoever_looks_again_and_again_goes_on_with_the_new_primary(prefix: str) -> None:
    """A survey, as a watch does it, finds the successor of a primary that is gone, and the streams there."""
    with watched() as own, override_settings(EVENT_BUS_TOPIC_PREFIX=prefix):
        deliver(RedisEventProducer(own.url))
        settings = StatusSettings(Server.of(own.url), None, prefix, 10_000, keep_unacked=False)
        wait_until(lambda: own.replica.client().exists(f"{prefix}-{TOPIC}"), what="the replica has the stream")
        with contextlib.closing(Clients(settings.server, timeout=1, connect_timeout=1, any_names=True)) as clients:
            survey = Survey(clients, settings, losses_seconds=60)
            (before,) = survey.look().streams
            own.primary.kill()

            def seen() -> Any:
                try:
                    return survey.look().streams
                except ServerUnavailable:
                    return None

            assert wait_until(seen, what="the successor is asked") == [before]


def test_a_primary_that_hangs_is_told(servers: Watched, prefix: str) -> None:
    """The check says that all is well, and says so if the server does not answer, with the URL and no password."""
    settings = {"EVENT_BUS_REDIS_CONNECTION_URL": servers.url, "EVENT_BUS_TOPIC_PREFIX": prefix}
    options = {"EVENT_BUS_REDIS_CONNECTION_OPTIONS": {**SENTINEL_LOGIN, "socket_timeout": 1}}
    out = StringIO()
    with override_settings(**settings, **options):
        deliver(RedisEventProducer(Server.of(servers.url, SENTINEL_LOGIN)))
        call_command("event_bus_status", check=True, check_seconds="0.1", stdout=out)
        # Without a replica that answers there is nobody to take over.
        servers.replica.freeze()
        servers.primary.freeze()
        try:
            with pytest.raises(CommandError) as caught:
                call_command("event_bus_status", stdout=StringIO())
            with pytest.raises(SystemExit) as unknown:
                call_command("event_bus_status", check=True, check_seconds="0.1", stdout=out)
        finally:
            servers.primary.thaw()
            servers.replica.thaw()

    shown = servers.url.replace(f":{PASSWORD}@", "***@")
    assert str(caught.value).startswith("Redis does not answer in time: ")
    assert str(caught.value).endswith(f" ({shown})")
    assert unknown.value.code == 3
    well, hangs = out.getvalue().splitlines()
    assert well.startswith("OK ")
    assert hangs == f"UNKNOWN {caught.value}"


def test_a_sentinel_that_is_wrong_is_not_the_only_one_asked(servers: Watched, prefix: str) -> None:
    """One that is cut off from the others, and sends everybody to where nobody is, is not asked again and again."""
    nobody = EmbeddedServer(port=1)
    with SentinelServer(nobody, password="sentry3") as wrong, override_settings(EVENT_BUS_TOPIC_PREFIX=prefix):
        url = servers.url.replace(f"{HOST}:1,", f"{HOST}:{wrong.port},")
        producer = RedisEventProducer(Server.of(url, SENTINEL_LOGIN))

        assert deliver(producer)


def test_both_logins_are_used(servers: Watched, prefix: str) -> None:
    """The login of the URL is for the server, that of sentinel_kwargs for the sentinels."""
    with override_settings(EVENT_BUS_TOPIC_PREFIX=prefix):
        assert deliver(RedisEventProducer(Server.of(servers.url, SENTINEL_LOGIN)))


@pytest.mark.parametrize("whose", ["server", "sentinel"])
def test_a_refused_login_is_told_without_the_password(servers: Watched, prefix: str, whose: str) -> None:
    """A wrong password of either is refused access, in words that have no password."""
    url = servers.url.replace(PASSWORD, "wrong4") if whose == "server" else servers.url
    options = SENTINEL_LOGIN if whose == "server" else {"sentinel_kwargs": {"password": "wrong4"}}

    with override_settings(EVENT_BUS_TOPIC_PREFIX=prefix), pytest.raises(ServerError) as caught:
        deliver(RedisEventProducer(Server.of(url, options)))

    assert isinstance(caught.value, AccessRefused) or whose == "sentinel"
    assert "invalid username-password pair" in str(caught.value)
    assert not any(password in str(caught.value) for password in (PASSWORD, "sentry3", "wrong4"))


def test_a_service_that_is_not_known_is_named(servers: Watched) -> None:
    """The command says what each sentinel answered, in one line without a password."""
    url = servers.url.replace(f"/{SERVICE}/", "/nobody/")
    settings = {"EVENT_BUS_REDIS_CONNECTION_URL": url, "EVENT_BUS_REDIS_CONNECTION_OPTIONS": SENTINEL_LOGIN}
    with override_settings(**settings), pytest.raises(CommandError) as caught:
        call_command("event_bus_status")

    message = str(caught.value)
    assert "no sentinel tells where 'nobody' is" in message
    assert f"{servers.sentinel.port}: does not know it" in message
    assert "\n" not in message
    assert PASSWORD not in message
    assert "sentry3" not in message
