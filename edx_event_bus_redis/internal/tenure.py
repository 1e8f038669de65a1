"""
Whether a worker may still act under its name.

What it reads is pending under its name, and under its name it settles what it has in hand. Once another pool has the
name of its own all this is the other's. A lease ends without a word, so a worker that was cut off, or stood still, has
to ask before it does anything: as it cannot know that it was, it asks every few seconds.
"""

from __future__ import annotations

import time

import redis

from edx_event_bus_redis.internal.lease import Lease
from edx_event_bus_redis.internal.takeover import Membership

# Seconds for which one answer is good. With the 5 that a reply may take it is no more than what is left of a lease when
# it was renewed, which is four fifths at the least.
_SURE_SECONDS = 3.0


class Tenure:
    """
    The right of one worker to its name.

    Arguments:
        client: of ``make_client``.
        stream: key of the topic's stream.
        group: name of the group.
        membership: of the worker's pool; None if it has none, and so nobody to lose its name to.

    Attributes:
        is_lost: whether another pool has the name. Then it stays so, and the monitor has the pool begun anew.
    """

    def __init__(self, client: redis.Redis, stream: str, group: str, membership: Membership | None) -> None:
        self._lease: Lease | None = None
        if membership is not None:
            self._lease = Lease(client, stream, group, membership.name, membership.token)
        self._sure_until = float("-inf")
        self.is_lost = False

    @property
    def is_due(self) -> bool:
        """Whether ``holds`` is going to ask the server."""
        return self._lease is not None and not self.is_lost and time.monotonic() >= self._sure_until

    def holds(self) -> bool:
        """Return whether the name is the worker's own; if that is not sure, renew the lease. Raises ServerError."""
        if self.is_due:
            assert self._lease is not None
            asked = time.monotonic()
            self.is_lost = not self._lease.renew({})
            self._sure_until = asked + _SURE_SECONDS
        return not self.is_lost
