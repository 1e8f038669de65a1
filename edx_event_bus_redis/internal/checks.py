"""Django system checks of this package's settings: what ``manage.py check`` says."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 -- Django's name

from edx_event_bus_redis.internal.connection_url import SETTING as URL_SETTING
from edx_event_bus_redis.internal.settings import all_errors, load_connection_url


def check_settings(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:  # noqa: ARG001 -- Django's name
    """Report each setting that cannot work (E001), and a URL that is missing where this package is used (W001)."""
    if _consumer_is_starting():
        return []
    messages: list[CheckMessage] = [Error(str(error), id="edx_event_bus_redis.E001") for error in all_errors()]
    if _is_used() and not messages and load_connection_url() is None:
        messages.append(
            Warning(
                f"setting {URL_SETTING} is missing: events are neither produced nor consumed",
                hint="Set it to a URL like redis://:password@localhost:6379/",
                id="edx_event_bus_redis.W001",
            )
        )
    return messages


def _consumer_is_starting() -> bool:
    """
    Return whether this is ``consume_events``, which validates its settings itself.

    It answers a bad one with status 2 and one line; Django would end it before that, with status 1 and several.
    """
    return "consume_events" in sys.argv


def _is_used() -> bool:
    package = __name__.partition(".")[0]
    paths = (getattr(settings, name, None) for name in ("EVENT_BUS_PRODUCER", "EVENT_BUS_CONSUMER"))
    return any(isinstance(path, str) and path.partition(".")[0] == package for path in paths)
