"""Events for tests."""

from typing import Any

from openedx_events.data import EventsMetadata
from openedx_events.learning.data import UserData, UserPersonalData
from openedx_events.learning.signals import SESSION_LOGIN_COMPLETED
from redis import Redis

from edx_event_bus_redis.internal.codec import codec_for
from edx_event_bus_redis.internal.message import encode_fields
from tests.support.receivers import SECRET

TOPIC = "user-login"
SIGNAL = SESSION_LOGIN_COMPLETED


def login_data(number: int = 0, order: str = "ok") -> dict[str, Any]:
    """Return the event data of a login; ``order`` is what the receiver shall do."""
    pii = UserPersonalData(username=order, email=SECRET, name="Ada Example")
    return {"user": UserData(id=number, is_active=True, pii=pii)}


def login_fields(number: int = 0, order: str = "ok", metadata: EventsMetadata | None = None) -> list[bytes]:
    """Return the fields of the entry of a login."""
    metadata = metadata or EventsMetadata(event_type=SIGNAL.event_type)
    return encode_fields(metadata, codec_for(SIGNAL).encode(login_data(number, order)))


def in_stream(client: Redis, stream: str) -> set[str]:
    """Return the ids of the events that are in a stream."""
    return {fields[b"id"].decode() for _, fields in client.xrange(stream)}


def add_batch(client: Redis, stream: str, orders: list[str], first: int = 0) -> list[str]:
    """Append logins in one step, so that a consumer that waits gets all that it takes at once; return their ids."""
    ids = []
    with client.pipeline(transaction=True) as pipeline:
        for number, order in enumerate(orders, first):
            metadata = EventsMetadata(event_type=SIGNAL.event_type)
            pipeline.execute_command("XADD", stream, "*", *login_fields(number, order, metadata))
            ids.append(str(metadata.id))
        pipeline.execute()
    return ids


def add_logins(client: Redis, stream: str, count: int, order: str = "ok", first: int = 0) -> list[str]:
    """Append logins to a stream and return their event ids."""
    ids = []
    for start in range(0, count, 500):
        pipeline = client.pipeline(transaction=False)
        for number in range(start, min(start + 500, count)):
            metadata = EventsMetadata(event_type=SIGNAL.event_type)
            pipeline.execute_command("XADD", stream, "*", *login_fields(first + number, order, metadata))
            ids.append(str(metadata.id))
        pipeline.execute()
    return ids
