"""Replicas of a server, and what keeps them from being in step with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from devtools.embedded import HOST, EmbeddedServer
from tests.support.waiting import wait_until


def login_of(password: str | None) -> Mapping[str, str]:
    """Return the configuration by which a server may become, and may have, a replica."""
    return {"repl-diskless-sync-delay": "0", **({"masterauth": f'"{password}"'} if password else {})}


@contextmanager
def replica_of(primary: EmbeddedServer, *, port: int | None = None) -> Iterator[EmbeddedServer]:
    """
    Start a replica that is in step.

    Arguments:
        primary: whose replica it is.
        port: where it finds the primary, if not on that one's own port.
    """
    config = {"replicaof": f"{HOST} {port or primary.port}", **login_of(primary.password)}
    with EmbeddedServer(password=primary.password, config=config) as replica:
        wait_until(lambda: is_in_step(replica) and replica.port in _ports(primary), what="the replica is in step")
        yield replica


def is_in_step(replica: EmbeddedServer) -> bool:
    """Return whether a replica gets what its primary is told."""
    return about_replication(replica).get("master_link_status") == "up"


def _ports(primary: EmbeddedServer) -> set[int]:
    """Return the ports of the replicas that have confirmed something: Redis 7.0 sends nothing to others."""
    about = about_replication(primary)
    found = [about[f"slave{number}"] for number in range(about["connected_slaves"])]
    return {int(each["port"]) for each in found if each["state"] == "online" and each["offset"]}


def about_replication(server: EmbeddedServer) -> dict[str, Any]:
    """Return what a server says about its replicas or its primary."""
    with server.client() as client:
        return dict(client.info("replication"))


def successor(replicas: Sequence[EmbeddedServer]) -> EmbeddedServer:
    """Wait until one of them is a primary, and return it."""

    def primaries() -> list[EmbeddedServer]:
        return [each for each in replicas if about_replication(each)["role"] == "master"]

    return wait_until(primaries, what="a replica is promoted")[0]


def connect_by(port: int, *replicas: EmbeddedServer) -> None:
    """Have replicas find their primary on another port. Sentinels undo that after about eight seconds."""
    for replica in replicas:
        with replica.client() as client:
            client.replicaof(HOST, port)
        wait_until(lambda replica=replica: is_in_step(replica), what="the replica is in step")


def cut_off(primary: EmbeddedServer, *replicas: EmbeddedServer) -> None:
    """
    Let replicas lose their primary for good. The other replicas find it again.

    What is on its way to a replica when its primary is killed would arrive all the same; so this comes before.
    """
    others = int(about_replication(primary)["connected_slaves"]) - len(replicas)
    for replica in replicas:
        with replica.client() as client:
            client.config_set("masterauth", "not-the-password")
    with primary.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "replica")
    for replica in replicas:
        wait_until(lambda replica=replica: not is_in_step(replica), what="the replica is cut off")
    wait_until(lambda: about_replication(primary)["connected_slaves"] == others, what="the others are back")
