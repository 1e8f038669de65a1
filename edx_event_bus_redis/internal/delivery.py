"""What becomes of an event that was not handled: a pure decision. ``outcomes`` carries it out."""

from __future__ import annotations

import random

import attrs

from edx_event_bus_redis.internal.errors import EventBusRedisError, ReceiverError

# Seconds until the first retry; each further one waits twice as long, up to the longest.
FIRST_DELAY = 1.0
LONGEST_DELAY = 300.0

# Events that failed together, because something else did, are not all tried again at the same time.
_JITTER = 0.1


@attrs.frozen
class Retry:
    """Try again after so many seconds."""

    after: float


@attrs.frozen
class Bury:
    """Make it a dead letter, for this cause."""

    cause: str


def decide(error: EventBusRedisError, failures: int, max_retries: int) -> Retry | Bury:
    """
    Decide what becomes of an event.

    Arguments:
        error: why it was not handled.
        failures: how often receivers had failed to handle it before.
        max_retries: how often it is tried again.
    """
    if not isinstance(error, ReceiverError):
        return Bury(f"not usable: {error}")
    if failures < max_retries:
        delay = min(FIRST_DELAY * 2.0 ** min(failures, 64), LONGEST_DELAY)
        return Retry(delay * random.uniform(1 - _JITTER, 1 + _JITTER))
    return Bury("receivers failed" if failures == 0 else f"receivers failed {failures + 1} times")
