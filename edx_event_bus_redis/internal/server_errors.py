"""
What errors of redis-py and of the server mean to the bus: each is one of ServerError's kinds.

Nothing is decided here about what to do then; each kind says in ``errors`` what it stands for.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence

from redis import exceptions

from edx_event_bus_redis.internal.errors import (
    AccessRefused,
    GroupMissing,
    MemoryFull,
    NodeOfCluster,
    ServerError,
    ServerNotTrusted,
    ServerUnavailable,
    SlotSplit,
)

# What errors of redis-py mean, whatever else they are.
_CLASSES: dict[type[ServerError], tuple[type[Exception], ...]] = {
    AccessRefused: (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError),
    ServerUnavailable: (exceptions.ReadOnlyError, exceptions.ClusterDownError),
    SlotSplit: (exceptions.TryAgainError,),
    NodeOfCluster: (exceptions.MovedError,),
}

# What the server's words mean, where redis-py has no class for them.
_BEGINNINGS: dict[type[ServerError], tuple[str, ...]] = {
    # The third: before Redis 7, the stream was deleted while a read waited.
    GroupMissing: ("NOGROUP", "no such key", "UNBLOCKED the stream"),
    # The server became a replica, or an operator wants the read to end.
    ServerUnavailable: ("UNBLOCKED",),
    AccessRefused: ("WRONGPASS", "NOAUTH"),
    # redis-py takes the code off.
    MemoryFull: ("OOM ", "command not allowed when used memory"),
    # Before redis-py 6, from a node that was not known to be one.
    NodeOfCluster: ("MOVED ",),
}

# Where in a script it happened.
_IN_SCRIPT = re.compile(r" script: \S*,? ?on @user_script:\d+\.?$")

# What a command of a script is refused with, before and since Redis 7.2.
_REFUSED_IN_SCRIPT = ("The user executing the script", "ACL failure in script")

# What OpenSSL says when one side does not trust the other, or when the other does not speak TLS at all.
_NOT_TRUSTED = re.compile(r"\[SSL: (?:CERTIFICATE_VERIFY_FAILED|WRONG_VERSION_NUMBER|\w*ALERT\w*)\]")


@contextlib.contextmanager
def translated_errors(*keys: str) -> Iterator[None]:
    """
    Raise this package's errors for those of redis-py.

    The subclass of ServerError that fits, itself for the rest. Redis does not say which key is of the wrong type:
    ``keys`` are those that it may be.
    """
    try:
        yield
    except (exceptions.RedisError, OSError) as error:
        raise _translated(error, keys) from error


def _translated(error: Exception, keys: Sequence[str]) -> ServerError:
    text = _text(error)
    for kind, classes in _CLASSES.items():
        if isinstance(error, classes):
            # Redis does not say either which key it refuses.
            is_about_keys = kind is AccessRefused and re.search(r"\bkeys?\b", text) and keys
            return kind(f"{text} (key {' or '.join(keys)})" if is_about_keys else text)
    if isinstance(error, exceptions.ResponseError):
        for kind, beginnings in _BEGINNINGS.items():
            if text.startswith(beginnings):
                return kind(text)
        # A script that raises what it has caught puts the code of errors before it once more.
        words = _IN_SCRIPT.sub("", text).removeprefix("ERR ")
        if words.startswith(_REFUSED_IN_SCRIPT):
            return AccessRefused(words)
        if "WRONGTYPE" in words and keys:
            return ServerError(f"{words} (key {' or '.join(keys)})")
        return ServerError(text)
    if isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError | OSError):
        return ServerNotTrusted(text) if _NOT_TRUSTED.search(text) else ServerUnavailable(text)
    return ServerError(f"{type(error).__name__}: {error}")


def has_timed_out(error: ServerError) -> bool:
    """Return whether it was that the server did not answer in time."""
    return isinstance(error.__cause__, exceptions.TimeoutError | TimeoutError)


def _text(error: Exception) -> str:
    """The server's words. redis-py puts the arguments of a command that a transaction refuses before them."""
    return str(error).rpartition(" of pipeline caused error: ")[2]
