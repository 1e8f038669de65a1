"""
What commands about Redis have in common: they end with one line that says why, without a traceback and without a
password, and write what they did not choose themselves so that it cannot control the terminal.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

from django.core.management.base import CommandError
from redis import exceptions

from edx_event_bus_redis.internal.client import Clients
from edx_event_bus_redis.internal.errors import AccessRefused, ConfigurationError, ServerError, ServerUnavailable
from edx_event_bus_redis.internal.server import Server
from edx_event_bus_redis.internal.server_errors import has_timed_out

Settings = TypeVar("Settings")

# Seconds that connecting to one address, and the next part of a reply, may take. A server that is that late hangs.
_CONNECT_TIMEOUT = 5.0
_REPLY_TIMEOUT = 10.0

# As argparse has it for options that cannot work.
EXIT_BAD_SETTING = 2

_EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def loaded(load: Callable[[], Settings]) -> Settings:
    """Return settings; one that cannot work ends the command with status 2 and a line that names it."""
    try:
        return load()
    except ConfigurationError as error:
        raise CommandError(str(error), returncode=EXIT_BAD_SETTING) from None


@contextlib.contextmanager
def connected(
    server: Server, so_far: Callable[[], str] = str, *, keys: str = "", reply_timeout: float | None = None
) -> Iterator[Clients]:
    """
    Give clients of the server or cluster, and end the command with status 1 and one line if what is done with it fails.

    Arguments:
        server: where Redis is.
        so_far: returns what was done before it failed, to be put behind the reason.
        keys: that the command touches, as patterns, to be named when the server refuses access to them.
        reply_timeout: seconds that the next part of a reply may take, None for 10.
    """
    timeout = _REPLY_TIMEOUT if reply_timeout is None else reply_timeout
    try:
        clients = Clients(server, timeout=timeout, connect_timeout=_CONNECT_TIMEOUT, any_names=True)
        with contextlib.closing(clients):
            yield clients
    except ServerError as error:
        raise CommandError(f"{told(error, server, keys=keys)}{so_far()}") from None
    except BrokenPipeError:
        # Whoever reads, like head, has had enough. Python would complain of what it cannot flush at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise CommandError(f"interrupted{so_far()}", returncode=_EXIT_INTERRUPTED) from None


def told(error: ServerError, server: Server, *, keys: str = "") -> str:
    """Return one line that says what is wrong with which server, without its password."""
    text = _reason(" ".join(str(error).split()) or type(error).__name__)
    where = f"({server})"
    if isinstance(error, AccessRefused):
        needed = f"; needed are {keys}" if keys and re.search(r"\bkeys?\b", text) else ""
        return f"Redis refuses access: {text}{needed} {where}"
    cause = error.__cause__
    if isinstance(cause, exceptions.BusyLoadingError):
        return f"Redis has been started and is not ready yet: {text} {where}"
    if has_timed_out(error):
        return f"Redis does not answer in time: {text} {where}"
    if isinstance(error, ServerUnavailable):
        return f"Redis cannot be reached: {text} {where}"
    return f"Redis cannot do it: {text} {where}"


def _reason(text: str) -> str:
    """Leave out the server, which redis-py names as it is named behind the text, and the number of the error."""
    return re.sub(r"^Error (?:-?\d+ )?connecting to \S+?\.\s(?=\S)", "", text).removesuffix(".")


def shown(text: str) -> str:
    """Return the text, as a literal if it has what would control a terminal."""
    return text if text.isprintable() else repr(text)
