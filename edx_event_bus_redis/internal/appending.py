"""XADD and what belongs to it: entries are appended one by one, or many in one round trip."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

from redis import exceptions

from edx_event_bus_redis.internal.client import Clients, reply_timeout
from edx_event_bus_redis.internal.connections import Connections, NotSent, Reply, opening, packed
from edx_event_bus_redis.internal.errors import OptionUnknown, ServerError
from edx_event_bus_redis.internal.server_errors import translated_errors
from edx_event_bus_redis.internal.trimming import Trim

_TRIM: dict[Trim, tuple[bytes, ...]] = {
    Trim.NOTHING: (),
    Trim.OLDEST: (b"MAXLEN", b"~"),
    # Exactly: about that length would be nothing at all on Redis 8.2 to 8.4 (redis/redis#14623).
    Trim.ACKNOWLEDGED: (b"ACKED", b"MAXLEN", b"="),
}


class Wait(NamedTuple):
    """How many replicas are to confirm what was appended, and for how many seconds that is waited for."""

    replicas: int
    seconds: float


class Appended(NamedTuple):
    """
    What became of commands that were sent in one go.

    Attributes:
        replies: to each command that has got one: an entry's id, or the error that the server answered with.
        lost: why the others have got none, None if there are no others.
        uncertain: whether the others may have been done all the same.
        confirmed: replicas that have everything, or why that is not known; None if nobody waited for them.
    """

    replies: list[bytes | ServerError]
    lost: ServerError | None = None
    uncertain: bool = False
    confirmed: int | ServerError | None = None


class Appender:
    """
    Appends entries to streams. Threads may share it, and it goes on to work after a fork.

    Arguments:
        clients: of the server or cluster.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._of_all = self._connections("") if clients.are_one else None
        self._of_stream: dict[str, Connections] = {}

    @property
    def takes_all_at_once(self) -> bool:
        """Whether the commands of one ``append_all`` may be for different streams."""
        return self._of_all is not None

    def append(self, key: str, fields: Sequence[bytes], max_len: int, trim: Trim = Trim.OLDEST) -> bytes:
        """
        Append an entry and return its id. Blocks for the client's time-outs at the most.

        Arguments:
            key: of the stream.
            fields: names and values, alternating.
            max_len: entries to which the stream is trimmed, approximately but for ``Trim.ACKNOWLEDGED``.
            trim: what is trimmed.

        Raises:
            OptionUnknown: the server cannot trim so (Redis before 8.2, Valkey). Nothing was appended.
            ServerError: it, or a subclass, for everything else that the server or the network does.
        """
        reply: bytes = self._ask(key, append_command(key, fields, max_len, trim), asks_option=trim is Trim.ACKNOWLEDGED)
        return reply

    def trim(self, key: str, max_len: int) -> int:
        """
        Trim of a stream what every group has acknowledged, to ``max_len`` entries; return how many have gone.

        A server whose memory is full does it, too. Raises what ``append`` does.
        """
        return int(self._ask(key, trim_command(key, max_len), asks_option=True))

    def _ask(self, key: str, command: bytes, *, asks_option: bool) -> Reply:
        try:
            return self._to(key).ask(command)
        except (exceptions.RedisError, OSError) as error:
            if asks_option and _option_unknown(error):
                raise OptionUnknown(str(error)) from error
            with translated_errors(key):
                raise

    def append_and_wait(
        self, key: str, fields: Sequence[bytes], max_len: int, trim: Trim, wait: Wait
    ) -> tuple[bytes, int | ServerError]:
        """
        Do the same, and wait until replicas have the entry, for ``wait`` and the client's time-outs at the most.

        Returns:
            The entry's id; and the replicas that have it, or why that is not known.
        """
        command = append_command(key, fields, max_len, trim)
        appended = self.append_all(key, [command], reply_timeout(self._clients.of(key)), wait)
        reply = appended.replies[0] if appended.replies else appended.lost
        if not isinstance(reply, bytes):
            assert reply is not None
            raise reply
        assert appended.confirmed is not None
        return reply, appended.confirmed

    def append_all(self, key: str, commands: Sequence[bytes], seconds: float, wait: Wait | None = None) -> Appended:
        """
        Send commands of ``append_command`` and ``trim_command`` in one go, once, not as a transaction.

        All are for the stream ``key``, unless it takes those of all streams at once. The server does them in their
        order, and replicas are waited for once. Blocks for ``seconds`` and a few of the client's time-outs at the most.
        """
        replies: list[Reply] = []
        behind = [] if wait is None else [self._wait_command(key, wait)]
        try:
            self._to(key).ask_all(commands, seconds, replies, behind=behind)
        except NotSent as error:
            return Appended([], _translated(error.reason))
        except (exceptions.RedisError, OSError) as error:
            if len(replies) < len(commands):
                return Appended(list(map(_reply, replies)), _translated(error), uncertain=True)
            # It was lost while replicas were waited for.
            return Appended(list(map(_reply, replies)), confirmed=_translated(error))
        confirmed = None if wait is None else replies.pop()
        if isinstance(confirmed, Exception):
            confirmed = _translated(confirmed)
        return Appended(list(map(_reply, replies)), confirmed=confirmed)

    def _wait_command(self, key: str, wait: Wait) -> bytes:
        # The reply has to come before the client stops to wait for it. 0 would be without end.
        seconds = min(wait.seconds, reply_timeout(self._clients.of(key)) / 2)
        parts = (b"WAIT", b"%d" % wait.replicas, b"%d" % max(1, int(seconds * 1000)))
        return opening(len(parts)) + packed(parts)

    def _to(self, key: str) -> Connections:
        if self._of_all is not None:
            return self._of_all
        # In a cluster each stream may be on a node of its own.
        return self._of_stream.get(key) or self._of_stream.setdefault(key, self._connections(key))

    def _connections(self, key: str) -> Connections:
        return Connections(functools.partial(self._clients.of, key))


def append_command(key: str, fields: Sequence[bytes], max_len: int, trim: Trim) -> bytes:
    """Return the command that ``Appender.append`` with the same arguments sends."""
    return _beginning(key, len(fields), max_len, trim) + packed(fields)


def trim_command(key: str, max_len: int) -> bytes:
    """
    Return the command that trims of a stream what every group has acknowledged, to ``max_len`` entries.

    A server that cannot do so replies with OptionUnknown.
    """
    parts = (b"XTRIM", key.encode(), *_TRIM[Trim.ACKNOWLEDGED], b"%d" % max_len)
    return opening(len(parts)) + packed(parts)


# The same for all events of a stream; there are few streams.
@functools.lru_cache(maxsize=1000)
def _beginning(key: str, fields: int, max_len: int, trim: Trim) -> bytes:
    options = _TRIM[trim]
    parts = (b"XADD", key.encode(), *options, *((b"%d" % max_len,) if options else ()), b"*")
    return opening(len(parts) + fields) + packed(parts)


def _option_unknown(error: Exception) -> bool:
    # A server that does not know the word takes it for the entry's id.
    return isinstance(error, exceptions.ResponseError) and str(error).startswith(("Invalid stream ID", "syntax error"))


def _reply(reply: Reply) -> bytes | ServerError:
    if not isinstance(reply, Exception):
        return bytes(reply) if isinstance(reply, bytes) else b"%d" % reply
    return OptionUnknown(str(reply)) if _option_unknown(reply) else _translated(reply)


def _translated(error: Exception) -> ServerError:
    try:
        with translated_errors():
            raise error
    except ServerError as translated:
        return translated
