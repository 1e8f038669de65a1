"""Connections by TLS and by a socket of the file system."""

import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from devtools.embedded import BINARY_VARIABLE, FREE_PORTS, HOST, EmbeddedServer, is_port_taken
from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.errors import ConfigurationError, ServerNotTrusted
from edx_event_bus_redis.internal.server import Server
from edx_event_bus_redis.internal.stream import Stream
from tests.support.consuming import ConsumerProcess
from tests.support.events import add_logins
from tests.support.sentinels import SERVICE, SentinelServer
from tests.support.tls import TlsServer, make_certificates, tls_config, tls_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    with tls_server(tmp_path_factory.mktemp("tls"), free_port()) as server:
        yield server


def free_port() -> int:
    generator = random.Random()
    return next(port for port in iter(lambda: generator.choice(FREE_PORTS), None) if not is_port_taken(port))


def length(url: str, options: dict[str, object] | None = None) -> int:
    """Ask the server for the length of a stream that is not there."""
    client = make_client(Server.of(url, options), timeout=5, connect_timeout=5)
    try:
        return Stream(client, "nothing").length()
    finally:
        client.close()


def test_a_pool_consumes_by_tls(consume: Callable[..., ConsumerProcess], server: TlsServer, stream_name: str) -> None:
    """Authority, certificate and key by parameters of the URL are all that a pool needs."""
    consumer = consume(url=server.url(), workers=2).wait_running(2)

    consumer.wait_handled(len(add_logins(server.server.client(), stream_name, 20)))

    assert consumer.stop() == 0


def test_sentinels_are_asked_by_tls(
    consume: Callable[..., ConsumerProcess], server: TlsServer, stream_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``rediss+sentinel://`` speaks TLS to the sentinels, and to the server that they know."""
    monkeypatch.setenv(BINARY_VARIABLE, server.binary)
    port = free_port()
    config = {**tls_config(server.certificates, port), "tls-replication": "yes"}
    with SentinelServer(server.server, port=server.port, more=config):
        url = server.url().replace("rediss:", "rediss+sentinel:").replace(f":{server.port}/", f":{port}/{SERVICE}/")
        consumer = consume(url=url, workers=1).wait_running()
        consumer.wait_handled(len(add_logins(server.server.client(), stream_name, 5)))
        assert consumer.stop() == 0


def test_a_cluster_is_used_by_tls(consume: Callable[..., ConsumerProcess], tmp_path: Path, stream_name: str) -> None:
    """``rediss+cluster://`` speaks TLS to the nodes, also to those that the cluster tells of."""
    more = {"cluster-enabled": "yes", "tls-cluster": "yes", "cluster-port": str(free_port())}
    with tls_server(tmp_path / "tls", free_port(), **more) as node:
        client = node.server.client()
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        consumer = consume(url=node.url().replace("rediss:", "rediss+cluster:"), workers=1).wait_running()
        consumer.wait_handled(len(add_logins(client, stream_name, 5)))
        assert consumer.stop() == 0


def test_the_same_by_options(server: TlsServer) -> None:
    """What the URL says about TLS can be in the options instead."""
    options = {
        "ssl_ca_certs": str(server.certificates.authority),
        "ssl_certfile": str(server.certificates.client),
        "ssl_keyfile": str(server.certificates.client_key),
    }

    assert length(f"rediss://{HOST}:{server.port}/", options) == 0


def test_the_servers_certificate_is_checked(server: TlsServer, tmp_path: Path) -> None:
    """A certificate of another authority is not accepted, unless the URL says so."""
    other = str(make_certificates(tmp_path / "other").authority)
    for authority in ("", other):
        with pytest.raises(ServerNotTrusted, match="CERTIFICATE_VERIFY_FAILED"):
            length(server.url(ssl_ca_certs=authority))

    assert length(server.url(ssl_ca_certs="", ssl_cert_reqs="none")) == 0


def test_the_servers_name_is_checked(server: TlsServer) -> None:
    """A certificate of the right authority and of another name is not accepted, unless the URL says so."""
    with pytest.raises(ServerNotTrusted, match="CERTIFICATE_VERIFY_FAILED"):
        length(server.url("localhost"))

    assert length(server.url("localhost", ssl_check_hostname="false")) == 0


@pytest.mark.parametrize("way", ["untrusted", "no certificate"])
def test_tls_that_cannot_work_is_a_bad_url(
    consume: Callable[..., ConsumerProcess], server: TlsServer, way: str
) -> None:
    """A consumer that starts leaves with status 2 and one line when one side does not trust the other."""
    urls = {
        "untrusted": server.url(ssl_ca_certs=""),
        "no certificate": server.url(ssl_certfile="", ssl_keyfile=""),
    }
    # At the first try, though the server may reset a connection whose client it does not trust.
    settings = {
        "EVENT_BUS_REDIS_CONSUMER_POLL_FAILURE_SLEEP": 60,
        "EVENT_BUS_REDIS_CONNECTION_OPTIONS": {"max_connections": 1},
    }
    consumer = consume(url=urls[way], settings=settings)

    assert consumer.wait() == 2
    line = consumer.log.splitlines()[-1]
    assert line.startswith("edx-event-bus-redis: setting EVENT_BUS_REDIS_CONNECTION_URL: TLS fails: ")
    assert "Traceback" not in consumer.log


def test_files_that_are_not_usable_are_named(server: TlsServer, tmp_path: Path) -> None:
    """A file for TLS that is missing or something else is a bad setting, which names it."""
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nonsense")
    for name in ("ssl_ca_certs", "ssl_certfile"):
        for path, reason in ((tmp_path / "missing.pem", "No such file"), (wrong, "")):
            with pytest.raises(ConfigurationError, match=rf"{name} '.*{path.name}' is not usable: {reason}"):
                Server.of(server.url(**{name: str(path)}))


def test_a_pool_consumes_by_a_socket(
    consume: Callable[..., ConsumerProcess], stream_name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """unix:// leads to a server that listens on a socket of the file system."""
    path = tmp_path_factory.mktemp("s") / "s"
    with EmbeddedServer(config={"unixsocket": str(path)}) as server:
        consumer = consume(url=f"unix://{path}", workers=1).wait_running()
        consumer.wait_handled(len(add_logins(server.client(), stream_name, 5)))
        assert consumer.stop() == 0

        assert length(f"unix://{path}", {"client_name": "somebody"}) == 0


def test_a_port_that_speaks_no_redis_is_told(bus_settings: None) -> None:
    """A command ends with one line when who listens does not answer as a server does."""
    with socket.create_server((HOST, 0)) as nobody:
        url = f"redis://:hunter2@{HOST}:{nobody.getsockname()[1]}/?socket_timeout=0.2"
        with override_settings(EVENT_BUS_REDIS_CONNECTION_URL=url), pytest.raises(CommandError) as caught:
            call_command("event_bus_status")

    assert "hunter2" not in str(caught.value)
    assert "Redis does not answer in time: " in str(caught.value)
