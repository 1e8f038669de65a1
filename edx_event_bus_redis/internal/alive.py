"""
Whether the consumers of a group are alive, before its cursor is moved over what they have not read.

Nothing is moved here; ``group`` does that.
"""

from __future__ import annotations

from collections.abc import Mapping

from edx_event_bus_redis.internal.names import is_own_name, pool_of
from edx_event_bus_redis.internal.pools import Pools
from edx_event_bus_redis.internal.stream import Consumer, Group

# Milliseconds after which a consumer that holds nothing is taken for gone. The published package's consumers, and
# those of other software, show themselves once per poll; its poll timeout is 60 s.
_SILENCE = 75_000

# The same for a consumer that holds entries, which may be busy with one of them: the claim time of a pool.
_SILENCE_WHILE_BUSY = 1_800_000

# The same for a consumer of the name that is being started, which is one of ours: those show themselves every second.
_OWN_SILENCE = 3_000


def leases(pools: Pools, own: str | None) -> dict[str, bool]:
    """
    Return which pools are known to be alive or gone; one whose lease has just run out is neither.

    Arguments:
        pools: of the group.
        own: name of the pool that is being started, None if it is none. What has its name is gone: it has the lease.

    Raises:
        ServerError: and its subclasses.
    """
    known = pools.known()
    found = {name: True for name in known.alive if pools.holds(name)} | dict.fromkeys(known.gone, False)
    return found if own is None else found | {own: False}


def live_consumers(group: Group, own_name: str, leases: Mapping[str, bool]) -> list[str]:
    """
    Return the names of consumers that are, or seem to be, alive.

    Arguments:
        group: as it is now.
        own_name: consumer name that is being started. A shard of it may be alive: that of a pod that is being replaced.
        leases: of pools, which decide for their consumers.
    """
    return [each.name for each in group.consumers if _is_alive(each, own_name, leases)]


def _is_alive(consumer: Consumer, own_name: str, leases: Mapping[str, bool]) -> bool:
    lease = leases.get(pool_of(consumer.name))
    if lease is not None:
        return lease
    if consumer.left:
        return False
    if consumer.pending:
        return consumer.idle < _SILENCE_WHILE_BUSY
    return consumer.idle < (_OWN_SILENCE if is_own_name(consumer.name, own_name) else _SILENCE)
