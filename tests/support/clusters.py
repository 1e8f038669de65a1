"""A cluster: three nodes that share the slots, and a replica of each of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import redis
from redis.crc import key_slot

from devtools.embedded import FREE_PORTS, HOST, EmbeddedServer, is_port_taken
from tests.support.replicas import is_in_step
from tests.support.waiting import wait_until

SLOTS = 16384


class Cluster:
    """
    The nodes of a cluster.

    Arguments:
        nodes: that have slots, in the order in which they have them.
        replicas: of the nodes, in the same order; or none.
    """

    def __init__(self, nodes: list[EmbeddedServer], replicas: list[EmbeddedServer]) -> None:
        self.nodes = nodes
        self.replicas = replicas

    @property
    def url(self) -> str:
        """What ``EVENT_BUS_REDIS_CONNECTION_URL`` takes: a node that is not there, and two of those that are."""
        password = self.nodes[0].password
        hosts = ",".join(f"{HOST}:{port}" for port in (1, self.nodes[1].port, self.nodes[2].port))
        return f"redis+cluster://{f':{password}@' if password else ''}{hosts}"

    def first_owner(self, key: str) -> EmbeddedServer:
        """Return the node that had the slot of a key in the beginning."""
        return self.nodes[key_slot(key.encode()) * len(self.nodes) // SLOTS]

    def replica_of(self, node: EmbeddedServer) -> EmbeddedServer:
        """Return the replica of a node."""
        return self.replicas[self.nodes.index(node)]

    def another_than(self, node: EmbeddedServer) -> EmbeddedServer:
        """Return a node that had other slots in the beginning."""
        return next(each for each in self.nodes if each is not node)

    def begin_migration(self, key: str, source: EmbeddedServer, target: EmbeddedServer) -> None:
        """Declare that the slot of a key goes from one node to another: keys that are not here any more are there."""
        slot = key_slot(key.encode())
        target.client().execute_command("CLUSTER SETSLOT", slot, "IMPORTING", node_id(source))
        source.client().execute_command("CLUSTER SETSLOT", slot, "MIGRATING", node_id(target))

    def migrate(self, key: str, source: EmbeddedServer, target: EmbeddedServer) -> None:
        """Move all keys of a slot, one after the other."""
        slot, client = key_slot(key.encode()), source.client()
        while keys := client.execute_command("CLUSTER GETKEYSINSLOT", slot, 1):
            client.execute_command("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *keys)

    def end_migration(self, key: str, source: EmbeddedServer, target: EmbeddedServer) -> None:
        """Give the slot to the other node for good."""
        for node in (target, source, *self.nodes):
            node.client().execute_command("CLUSTER SETSLOT", key_slot(key.encode()), "NODE", node_id(target))

    def can_move_at_once(self) -> bool:
        """Return whether the nodes know ``move_at_once``, as Valkey 9 and newer do."""
        info: dict[str, str] = self.nodes[0].client().info("server")
        return int(str(info.get("valkey_version", "0")).partition(".")[0]) >= 9

    def move_at_once(self, key: str, source: EmbeddedServer, target: EmbeddedServer) -> None:
        """Move the slot of a key as a whole: the source has it until the target has all of it."""
        slot, client = key_slot(key.encode()), source.client()
        client.execute_command("CLUSTER MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", node_id(target))
        wait_until(lambda: slots(source, key)[0] == target.port, what="the slot is moved")


def node_id(node: EmbeddedServer) -> str:
    """Return the id of a node."""
    return str(node.client().execute_command("CLUSTER MYID").decode())


@contextmanager
def cluster(*, replicas: bool = False) -> Iterator[Cluster]:
    """Start a cluster of three nodes; with ``replicas`` each of them has one."""
    with ExitStack() as stack:
        nodes = [_start(stack) for _ in range(3)]
        made = Cluster(nodes, [_start(stack) for _ in nodes] if replicas else [])
        for number, node in enumerate(nodes):
            client = node.client()
            first, behind = (-(-SLOTS * each // len(nodes)) for each in (number, number + 1))
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, behind - 1)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        everyone = [*nodes, *made.replicas]
        for node in everyone[1:]:
            everyone[0].client().execute_command("CLUSTER MEET", HOST, node.port, _bus_port(node))
        for node in everyone:
            wait_until(lambda node=node: _knows(node, len(everyone)), what="all know each other")
        for node, replica in zip(nodes, made.replicas, strict=False):
            replica.client().execute_command("CLUSTER REPLICATE", node_id(node))
        for replica in made.replicas:
            wait_until(lambda replica=replica: is_in_step(replica), what="it is in step")
        owners = 2 if replicas else 1
        for node in everyone:
            wait_until(
                lambda node=node: all(len(each) == owners for _, _, *each in _all_slots(node)), what="all know all"
            )
        yield made


def slots(node: EmbeddedServer, key: str) -> list[Any]:
    """Return the ports of those who have the slot of a key, the primary first, as a node has it."""
    slot = key_slot(key.encode())
    for first, last, *owners in _all_slots(node):
        if first <= slot <= last:
            return [owner[1] for owner in owners]
    return []


def _all_slots(node: EmbeddedServer) -> Any:
    client = node.client()
    client.response_callbacks.clear()
    return client.execute_command("CLUSTER SLOTS")


def _start(stack: ExitStack) -> EmbeddedServer:
    config = {
        "cluster-enabled": "yes",
        "cluster-node-timeout": "1000",
        "cluster-port": str(_free_port()),
        "cluster-require-full-coverage": "no",
        "cluster-replica-validity-factor": "0",
        "repl-diskless-sync-delay": "0",
        "appendonly": "yes",
    }
    return stack.enter_context(EmbeddedServer(config=config))


def _free_port() -> int:
    generator = random.Random()
    return next(port for port in iter(lambda: generator.choice(FREE_PORTS), None) if not is_port_taken(port))


def _bus_port(node: EmbeddedServer) -> int:
    client: redis.Redis = node.client()
    return int(client.config_get("cluster-port")["cluster-port"])


def _knows(node: EmbeddedServer, number: int) -> bool:
    client: redis.Redis = node.client()
    client.response_callbacks.clear()
    about = dict(line.split(":") for line in client.execute_command("CLUSTER INFO").decode().split("\r\n") if line)
    return about["cluster_state"] == "ok" and int(about["cluster_known_nodes"]) == number
