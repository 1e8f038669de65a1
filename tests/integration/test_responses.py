"""A consumer has what receivers return formatted only for a log that takes it."""

from pathlib import Path
from typing import Any

import pytest
import redis

from devtools.settings import LOGGING
from tests.support.events import add_logins

QUIET = {**LOGGING, "loggers": {"openedx_events": {"level": "WARNING"}}}


@pytest.mark.parametrize("workers", [None, 1])
@pytest.mark.parametrize(("logging", "formatted"), [(LOGGING, 3), (QUIET, 0)])
def test_responses_are_formatted_for_the_log(
    consume: Any, client: redis.Redis, stream_name: str, workers: int | None, logging: dict[str, Any], formatted: int
) -> None:
    """At INFO openedx-events' line of each event is in the log; above it nothing is formatted, and all are handled."""
    consumer = consume(workers=workers, settings={"LOGGING": logging}).wait_running()
    add_logins(client, stream_name, 3)
    consumer.wait_handled(3)

    assert consumer.stop() == 0
    assert consumer.log.count("Responses of the Open edX Event") == formatted
    path = Path(f"{consumer.record}.formatted")
    assert (path.read_text().count("formatted") if path.exists() else 0) == formatted
    assert client.xpending(stream_name, "group")["pending"] == 0
