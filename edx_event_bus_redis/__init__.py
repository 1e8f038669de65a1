"""
Redis Streams implementation of the Open edX event bus, with a supervised pool of consumer processes.

``create_producer`` is for the setting ``EVENT_BUS_PRODUCER``, ``RedisEventConsumer`` for ``EVENT_BUS_CONSUMER``. A
producer's ``send_many`` is given ``OutgoingEvent`` and raises ``EventsNotDelivered``.
"""

from typing import TYPE_CHECKING, Any

from edx_event_bus_redis.internal.outgoing import EventsNotDelivered, OutgoingEvent
from edx_event_bus_redis.internal.producer import create_producer

if TYPE_CHECKING:
    from edx_event_bus_redis.internal.workers import RedisEventConsumer

__version__ = "2.0.0"

__all__ = ["EventsNotDelivered", "OutgoingEvent", "RedisEventConsumer", "__version__", "create_producer"]


def __getattr__(name: str) -> Any:
    """Import the consumer when it is asked for: a process that only produces has no use for a pool of processes."""
    if name == "RedisEventConsumer":
        from edx_event_bus_redis.internal.workers import RedisEventConsumer  # noqa: PLC0415 -- as said above

        return RedisEventConsumer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
