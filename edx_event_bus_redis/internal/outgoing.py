"""What ``send_many`` of a producer is given, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import attrs
from openedx_events.data import EventsMetadata
from openedx_events.tooling import OpenEdxPublicSignal

from edx_event_bus_redis.internal.errors import EventBusRedisError


@attrs.frozen(kw_only=True)
class OutgoingEvent:
    """
    An event that is to be sent; the attributes are the arguments of a producer's ``send``.

    Attributes:
        signal: the signal that the event would be sent to.
        topic: without the prefix.
        event_data: the data that the signal would be sent with.
        event_metadata: by default made anew, with this moment as its time. An event that is sent a second time has the
            same metadata, and so the same id, by which consumers can know it.
        event_key_field: not used by this event bus.
    """

    signal: OpenEdxPublicSignal
    topic: str
    event_data: Mapping[str, Any] = attrs.field(repr=False)
    event_metadata: EventsMetadata = attrs.field()
    event_key_field: str = ""

    @event_metadata.default
    def _new_metadata(self) -> EventsMetadata:
        return self.signal.generate_signal_metadata()


class Delivered(NamedTuple):
    """An event that is in its stream, and the id of its entry."""

    event: OutgoingEvent
    entry_id: bytes


class Undelivered(NamedTuple):
    """
    An event that was not delivered, as far as is known.

    Attributes:
        position: how many events were given before it.
        event: as it was given.
        error: why: ServerError or a subclass, EventTooLarge, or what openedx-events raises for data that does not fit
            the signal.
        uncertain: whether it may be in the stream all the same, because the connection was lost before the reply.
    """

    position: int
    event: OutgoingEvent
    error: Exception
    uncertain: bool = False


class EventsNotDelivered(EventBusRedisError):
    """
    Some of the events that ``send_many`` was given were not delivered.

    Attributes:
        failures: those, in the order in which they were given.
        taken: how many events were taken from what was given, those of ``failures`` and all that are delivered. What
            comes after them was not touched.
    """

    def __init__(self, failures: Sequence[Undelivered], taken: int) -> None:
        first = failures[0]
        uncertain = sum(failure.uncertain for failure in failures)
        # Not the error's text, which may quote the event's data.
        super().__init__(
            f"of {taken} events taken {len(failures)} were not delivered"
            + (f", {uncertain} of which may be in the stream all the same" if uncertain else "")
            + f"; the first is number {first.position} (counted from 0, id {first.event.event_metadata.id}): "
            + type(first.error).__name__
        )
        self.failures = tuple(failures)
        self.taken = taken

    @property
    def delivered(self) -> int:
        """How many events are surely in their streams."""
        return self.taken - len(self.failures)
