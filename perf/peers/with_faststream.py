"""
FastStream on Redis Streams, in a consumer group: one event at a time, or in batches if ``PERF_BATCH`` is set.

After its documentation on performance: uvloop, no logger, no validation of types by FastDepends. Messages are read a
hundred at a time, as this package reads them; a batch is acknowledged as a whole.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from faststream import FastStream
from faststream.redis import RedisBroker, StreamSub

from perf.peers.handling import URL, as_text, from_text, handle, new_message

STREAM = "perf-faststream"
GROUP = "group"
AT_ONCE = 100

IN_BATCHES = bool(os.environ.get("PERF_BATCH"))

broker = RedisBroker(URL, logger=None, apply_types=False)
app = FastStream(broker, logger=None)


async def _decode(message: Any) -> Any:
    # What arrives at the handler: header fields and data, of one event or of several.
    if IN_BATCHES:
        return list(zip(message.batch_headers, json.loads(message.body), strict=True))
    return message.headers, message.body


@broker.subscriber(
    stream=StreamSub(STREAM, group=GROUP, consumer=f"c{os.getpid()}", max_records=AT_ONCE, batch=IN_BATCHES),
    decoder=_decode,
)
async def handle_events(received: Any) -> None:
    """Handle an event, or a batch of them."""
    for header, event_data in received if IN_BATCHES else [received]:
        handle(_fields(header), from_text(event_data))


def _fields(header: dict[str, str]) -> dict[str, str]:
    return {name.removeprefix("ce-"): value for name, value in header.items() if name.startswith("ce-")}


def enqueue(count: int) -> None:
    """Enqueue events."""

    async def publish() -> None:
        async with broker:
            for number in range(count):
                header, event_data = new_message(number)
                # FastStream has headers of its own of the same names.
                prefixed = {f"ce-{name}": value for name, value in header.items()}
                await broker.publish(as_text(event_data), stream=STREAM, headers=prefixed)

    asyncio.run(publish())
