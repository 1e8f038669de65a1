"""
Django system checks of this package's settings: what ``manage.py check`` says.

What can work is known to ``settings`` and ``options``; this only reports.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 -- Django's name

from edx_event_bus_redis.internal.client import Clients, make_client
from edx_event_bus_redis.internal.connection_url import SETTING as URL_SETTING
from edx_event_bus_redis.internal.errors import ServerError
from edx_event_bus_redis.internal.options import all_errors
from edx_event_bus_redis.internal.server import Server
from edx_event_bus_redis.internal.server_errors import translated_errors
from edx_event_bus_redis.internal.settings import load_producer_settings, load_server
from edx_event_bus_redis.internal.trimming import server_without_acknowledged_trimming

# Seconds that connecting, and that one reply, may take: a check must not hold a deployment up.
_TIMEOUT = 1.0


def check_settings(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:  # noqa: ARG001 -- Django's name
    """
    Report each setting that cannot work (E001), and three that are right and of no use.

    A URL that is missing where this package is used (W001); ``EVENT_BUS_REDIS_STREAM_KEEP_UNACKED`` with a server that
    cannot do it (W002); ``EVENT_BUS_REDIS_PRODUCER_WAIT_REPLICAS`` with a server that has fewer (W003). Only for the
    latter two the server is asked, if they are set; when it does not answer within a second there is nothing to report.
    """
    if _consumer_is_starting():
        return []
    messages: list[CheckMessage] = [Error(str(error), id="edx_event_bus_redis.E001") for error in all_errors()]
    if messages:
        return messages
    server = load_server()
    if server is None:
        return [_missing_url()] if _is_used() else []
    producer = load_producer_settings()
    if producer.keep_unacked:
        messages += _check_keep_unacked(server)
    if producer.wait_replicas:
        messages += _check_wait_replicas(server, producer.wait_replicas)
    return messages


def _missing_url() -> CheckMessage:
    return Warning(
        f"setting {URL_SETTING} is missing: events are neither produced nor consumed",
        hint="Set it to a URL like redis://:password@localhost:6379/",
        id="edx_event_bus_redis.W001",
    )


def _check_keep_unacked(server: Server) -> list[CheckMessage]:
    client = make_client(server, timeout=_TIMEOUT, connect_timeout=_TIMEOUT)
    try:
        with contextlib.closing(client):
            version = server_without_acknowledged_trimming(client)
    except ServerError:
        return []
    if version is None:
        return []
    return [
        Warning(
            f"setting EVENT_BUS_REDIS_STREAM_KEEP_UNACKED has no effect: the server is {version}, which cannot trim by "
            "acknowledgement",
            hint="Redis 8.2 and newer can. Without it streams are trimmed whether entries were read or not.",
            id="edx_event_bus_redis.W002",
        )
    ]


def _check_wait_replicas(server: Server, wanted: int) -> list[CheckMessage]:
    clients = Clients(server, timeout=_TIMEOUT, connect_timeout=_TIMEOUT)
    try:
        with contextlib.closing(clients), translated_errors():
            # In a cluster those of the node that has the fewest.
            found = min(int(each.info("replication")["connected_slaves"]) for each in clients.everywhere())
    except ServerError:
        return []
    if found >= wanted:
        return []
    return [
        Warning(
            f"setting EVENT_BUS_REDIS_PRODUCER_WAIT_REPLICAS is {wanted}, and the server has {found} replicas now: "
            "each event is waited for in vain",
            hint="Events are sent all the same. Set it to a number of replicas that there always are, or to 0.",
            id="edx_event_bus_redis.W003",
        )
    ]


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
