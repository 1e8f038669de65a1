"""A stream, its group and its readers, without a producer and a consumer around them."""

import redis

from edx_event_bus_redis.internal.board import Board
from edx_event_bus_redis.internal.ledger import Ledger
from edx_event_bus_redis.internal.reader import Reader
from edx_event_bus_redis.internal.stream import Stream
from edx_event_bus_redis.internal.takeover import TakeOver


def make_group(client: redis.Redis, stream: str) -> None:
    """Make the group at the beginning of a stream, and the stream if there is none."""
    client.execute_command("XGROUP CREATE", stream, "group", "0", "MKSTREAM", "ENTRIESREAD", "0")


def add_entries(client: redis.Redis, stream: str, count: int) -> list[bytes]:
    """Append entries and return their ids."""
    pipeline = client.pipeline(transaction=False)
    for _ in range(count):
        pipeline.execute_command("XADD", stream, "*", "name", "value")
    return [bytes(entry_id) for entry_id in pipeline.execute()]


def take_over_of(stream: Stream, claimant: str, older_than: int | None) -> TakeOver:
    """What a consumer of the group without a pool takes over with, after so many milliseconds; None for never."""
    return TakeOver(
        stream._client,
        stream,
        topic_stream=stream.key,
        group="group",
        claimant=claimant,
        older_than=older_than,
        membership=None,
        board=Board(),
    )


def reader_of(stream: Stream, name: str) -> Reader:
    """A reader of the group that takes nothing over and enters losses."""
    return Reader(stream, "group", name, take_over_of(stream, name, None), Ledger(stream, "group", name))
