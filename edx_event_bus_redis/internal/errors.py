"""The error tree of the event bus. Messages never hold payload, personal data or passwords."""

from __future__ import annotations

from collections.abc import Sequence


class EventBusRedisError(Exception):
    """Base of every error that this package raises."""


class ConfigurationError(EventBusRedisError):
    """A setting or an option cannot work. The message is one line: its name, its value and what would be right."""


class ServerError(EventBusRedisError):
    """Redis did not do what it was asked."""


class ServerUnavailable(ServerError):
    """Redis cannot be reached, does not answer in time, is loading or is a read-only replica: try again later."""


class AccessRefused(ServerUnavailable):
    """Redis does not accept the credentials of ``EVENT_BUS_REDIS_CONNECTION_URL``, or they do not allow a command."""


class ServerNotTrusted(ServerUnavailable):
    """TLS fails: one side does not trust the other's certificate, or the server does not speak TLS."""


class NodeOfCluster(ServerError):
    """The server is a node of a cluster, and the stream is on another one."""


class SlotSplit(ServerError):
    """The hash slot of the stream is being moved, and the keys of one command are on two nodes: try again soon."""


class GroupMissing(ServerError):
    """The stream or its consumer group does not exist (any more)."""


class MemoryFull(ServerError):
    """Redis has no memory left (``maxmemory``), and refuses everything that may need some."""


class OptionUnknown(ServerError):
    """Redis does not know an option of a command, because it is older than the option."""


class UnusableMessageError(EventBusRedisError):
    """An entry cannot be made into an event: a header is missing or wrong, its type is unknown, its data is damaged."""


class EventTooLarge(UnusableMessageError):
    """
    An event has more bytes than ``EVENT_BUS_REDIS_MAX_EVENT_BYTES`` allows, to be sent or to be handled.

    Arguments:
        size: that it has.
        largest: that the setting allows.
    """

    def __init__(self, size: int, largest: int) -> None:
        super().__init__(
            f"the event has {size} bytes, more than the {largest} that EVENT_BUS_REDIS_MAX_EVENT_BYTES allows"
        )


class EventGone(EventBusRedisError):
    """The event of a dead letter, too large to be kept there, is not in its stream any more."""


class ReceiverError(EventBusRedisError):
    """
    Receivers of a signal raised exceptions.

    Attributes:
        causes: the exceptions.
    """

    def __init__(self, message: str, causes: Sequence[BaseException]) -> None:
        super().__init__(message)
        self.causes = tuple(causes)


class TooManyErrors(EventBusRedisError):
    """The limit of consecutive errors is reached."""


class EventConsumptionException(EventBusRedisError):
    """A failure of consuming, as it goes to the monitoring system."""


class EventProductionException(EventBusRedisError):
    """A failure of producing, as it goes to the monitoring system."""


# Where the published package has them: filters of monitoring systems name module and class.
EventConsumptionException.__module__ = "edx_event_bus_redis.internal.consumer"
EventProductionException.__module__ = "edx_event_bus_redis.internal.producer"
