"""
Leaves word of deaths that no replacement has counted.

A replacement counts the start that its predecessor has died of before it does anything else. When a pool stops, some
workers may have died that got no replacement, or one that could not reach Redis. The process that was their supervisor
does it then, when all its children are gone and it forks nobody any more: nobody else knows.
"""

from __future__ import annotations

import logging

from edx_event_bus_redis.internal.crew import death_by_entry
from edx_event_bus_redis.internal.death import Death as EntryDeath
from edx_event_bus_redis.internal.errors import ServerError
from edx_event_bus_redis.internal.log_lines import DEATHS_NOT_COUNTED
from edx_event_bus_redis.internal.names import shard_consumer_name, stream_key
from edx_event_bus_redis.internal.options import ConsumerSettings
from edx_event_bus_redis.internal.private import GroupStore
from edx_event_bus_redis.internal.start import connect
from pool import Death, Event, Slots, WorkerDied

logger = logging.getLogger(__name__)


class LastDeaths:
    """
    The last death of each shard's workers that had an entry in hand.

    Arguments:
        settings: of the pool.
        name: of the pool.
    """

    def __init__(self, settings: ConsumerSettings, name: str) -> None:
        self._settings = settings
        self._name = name
        # By shard, in the order in which they died.
        self._died: dict[int, WorkerDied] = {}

    def note(self, event: Event) -> None:
        """Take note of a worker's death; other events are of no interest."""
        if isinstance(event, WorkerDied) and event.item is not None:
            self._died.pop(event.shard, None)
            self._died[event.shard] = event

    def leave_word(self, slots: Slots, *, has_name: bool) -> None:
        """
        Count, when the pool has ended, the deaths that may not have been counted; log it if Redis does not let this.

        Arguments:
            slots: of the pool.
            has_name: False if somebody else may have the pool's name now.
        """
        deaths = [
            (shard, death)
            for shard, died in self._died.items()
            if not _was_followed(died, slots) and (death := _by_entry(died)) is not None
        ]
        if not deaths:
            return
        key, group = stream_key(self._settings.topic, self._settings.topic_prefix), self._settings.group
        client, counted = connect(self._settings), 0
        try:
            for shard, death in deaths:
                consumer = shard_consumer_name(self._name, shard) if has_name else ""
                GroupStore(client, key, group, consumer).count_death(death)
                counted += 1
        except ServerError as error:
            DEATHS_NOT_COUNTED.log(
                logger, pool=self._name, count=len(deaths) - counted, group=group, stream=key, error=error
            )
        finally:
            client.connection_pool.disconnect()


def _was_followed(died: WorkerDied, slots: Slots) -> bool:
    """Whether a replacement has settled something since; so it has counted the death before."""
    settled = slots[died.shard].settled_count
    return died.replaced_in is not None and settled > slots.deaths.of(died.shard).settled


def _by_entry(died: WorkerDied) -> EntryDeath | None:
    return death_by_entry(Death(died.cause, died.item, died.seconds_in_hand, died.stack))
