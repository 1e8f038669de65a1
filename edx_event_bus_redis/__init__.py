"""
Redis Streams implementation of the Open edX event bus, with a supervised pool of consumer processes.

``create_producer`` is for the setting ``EVENT_BUS_PRODUCER``, ``RedisEventConsumer`` for ``EVENT_BUS_CONSUMER``.
"""

from edx_event_bus_redis.internal.producer import create_producer
from edx_event_bus_redis.internal.workers import RedisEventConsumer

__version__ = "2.0.0"

__all__ = ["RedisEventConsumer", "__version__", "create_producer"]
