"""Asking for something by HTTP."""

import http.client
import json
import socket
from typing import Any, NamedTuple

import psutil
from prometheus_client.parser import text_string_to_metric_families


class Reply(NamedTuple):
    """What was answered."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(port: int, path: str, *, method: str = "GET", body: bytes | None = None, timeout: float = 10.0) -> Reply:
    """Ask for a path on this machine. Raises OSError if nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return Reply(response.status, {**response.headers}, response.read().decode())
    except http.client.HTTPException as error:
        raise OSError(f"no answer: {error!r}") from error
    finally:
        connection.close()


def answered(port: int, path: str) -> Reply | None:
    """Ask for a path; None if nobody answers."""
    try:
        return ask(port, path)
    except OSError:
        return None


def metrics(port: int) -> dict[str, dict[str, float]]:
    """Return the samples of /metrics by name, and then by the values of their labels; "" without labels."""
    reply = ask(port, "/metrics")
    assert reply.status == 200, reply.body
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(reply.body):
        for sample in family.samples:
            samples = found.setdefault(sample.name.removeprefix("event_bus_redis_"), {})
            labels = ",".join(sample.labels.values())
            assert labels not in samples, f"twice: {sample}"
            samples[labels] = sample.value
    return found


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as finder:
        finder.bind(("127.0.0.1", 0))
        return int(finder.getsockname()[1])


def connections_of(process: psutil.Process) -> list[Any]:
    """Return the TCP sockets of a process."""
    # Renamed in psutil 6.
    ask_for = process.net_connections if hasattr(process, "net_connections") else process.connections
    return list(ask_for(kind="tcp"))
