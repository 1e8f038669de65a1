"""
The name of a pool, which only one pool may have at a time: two that read one pending entries list would handle every
event of it twice.

A lease is a key that ends by itself unless its pool renews it, which is also how others see that the pool lives: its
monitor does so, and each worker that has to know whether the name is still its own (``tenure.py``). Beside it a group
keeps the names of all its pools, so that those which are gone can be told from consumers of other software.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import redis

from edx_event_bus_redis.internal import takeover_scripts as scripts
from edx_event_bus_redis.internal.holder import Holder, is_surely_dead
from edx_event_bus_redis.internal.log_lines import NAME_IS_TAKEN
from edx_event_bus_redis.internal.names import group_key, pool_key
from edx_event_bus_redis.internal.server_errors import translated_errors

logger = logging.getLogger(__name__)

# Seconds for which a lease holds without being renewed. A monitor renews it every second, and is replaced within about
# seven when it hangs.
LEASE_SECONDS = 10.0

# Of a process id, which 32 bits hold.
_MOST_DIGITS = 10

# Pools of one name on one host, after which somebody starts them in a loop.
_MOST_OF_A_HOST = 1000


class Lease:
    """
    The right to a pool's name, and so to the consumer names made of it.

    Arguments:
        client: of ``make_client``; it may be another one than that which acquired the lease.
        stream: key of the topic's stream.
        group: name of the group.
        name: of the pool.
        token: what tells this holder from all others.

    Every method raises ServerError or one of its subclasses.
    """

    def __init__(self, client: redis.Redis, stream: str, group: str, name: str, token: str) -> None:
        self.name = name
        self.token = token
        self._keys = [pool_key(stream, group, name), group_key(stream, "pools", group)]
        self._renew = client.register_script(scripts.RENEW)
        self._end = client.register_script(scripts.END)
        # By the server's clock, in milliseconds.
        self._heard = 0

    def renew(self, facts: Mapping[str, str]) -> bool:
        """
        Renew the lease and publish facts about the pool with it; return False if another pool has the name now.

        It is renewed from when this process has heard the server last. If that is too long ago it is asked twice.
        """
        is_own, is_renewed = self._ask(facts)
        if is_own and not is_renewed:
            is_own, _ = self._ask(facts)
        return is_own

    def _ask(self, facts: Mapping[str, str]) -> tuple[bool, bool]:
        arguments: list[Any] = [self.name, self.token, round(LEASE_SECONDS * 1000), self._heard, *_flat(facts)]
        with translated_errors():
            is_own, is_renewed, self._heard = self._renew(keys=self._keys, args=arguments)
        return bool(is_own), bool(is_renewed)

    def release(self) -> None:
        """Give the name back: what is pending under it is for others to take over, at once."""
        with translated_errors():
            self._end(keys=self._keys, args=[self.name, self.token, "stopped"])


def acquire(client: redis.Redis, stream: str, group: str, consumer_name: str, *, holder: Holder, token: str) -> Lease:
    """
    Return a lease of the name, or if another pool has it, of that name with this host's behind it.

    Arguments:
        client: of ``make_client``.
        stream: key of the topic's stream.
        group: name of the group.
        consumer_name: the name that is wanted.
        holder: the process that is going to hold it.
        token: what tells this holder from all others; a lease that has it already is held by it.

    Raises:
        ServerError: and its subclasses. It may be called again.
    """
    script = client.register_script(scripts.ACQUIRE)
    described = _flat(described_holder(holder))

    def taken_by(name: str, dead: str) -> dict[bytes, bytes]:
        keys = [pool_key(stream, group, name), group_key(stream, "pools", group)]
        arguments: list[Any] = [name, token, round(LEASE_SECONDS * 1000), dead, *described]
        with translated_errors():
            reply = script(keys=keys, args=arguments)
        return dict(zip(reply[::2], reply[1::2], strict=True))

    for name in _names(consumer_name, holder.host):
        taken = taken_by(name, dead=token)
        if taken and is_surely_dead(holder_of(taken)):
            taken = taken_by(name, dead=taken[b"token"].decode())
        if not taken:
            return Lease(client, stream, group, name, token)
        other = holder_of(taken)
        NAME_IS_TAKEN.log(logger, consumer_name=name, group=group, stream=stream, host=other.host, pid=other.pid)
    raise AssertionError("never reached: there is always another name")


def described_holder(holder: Holder) -> dict[str, str]:
    """Return the fields of a lease that say who holds it."""
    return {"host": holder.host, "pid": str(holder.pid), "pid_space": holder.pid_space, "started": holder.started}


def holder_of(lease: Mapping[bytes, bytes]) -> Holder:
    """Return who holds a lease, by its fields; those that are missing are empty, and nobody is dead by them."""
    host, pid, pid_space, started = (lease.get(name, b"") for name in (b"host", b"pid", b"pid_space", b"started"))
    number = int(pid) if pid.isdigit() and len(pid) <= _MOST_DIGITS else 0
    return Holder(
        host.decode(errors="replace"), number, *(raw.decode(errors="replace") for raw in (pid_space, started))
    )


def _names(consumer_name: str, host: str) -> Iterator[str]:
    yield consumer_name
    yield f"{consumer_name}@{host}"
    # Not with a dot, which stands before a shard's number.
    yield from (f"{consumer_name}@{host}-{number}" for number in range(2, _MOST_OF_A_HOST))
    # Whoever comes so far has a name of its own anyway.
    yield f"{consumer_name}@{host}-{uuid.uuid4().hex}"


def _flat(facts: Mapping[str, str]) -> list[str]:
    return [part for pair in facts.items() for part in pair]
