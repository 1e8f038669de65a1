"""
Connections to that node of a Redis Cluster which has a certain hash slot.

All keys of a stream and of its groups are in one slot, so whoever works with one stream needs one node, and can do
there what can be done with a server: transactions, scripts, blocking reads. Which node that is changes when one fails
or slots are moved:

1. a new connection asks the cluster who has the slot, and goes there;
2. a node that does not have it any more says so (MOVED, CLUSTERDOWN, READONLY): the connection asks anew;
3. a node that is about to hand it over says who has the key already (ASK): the connection goes there, and says with
   each command that it was sent (ASKING).

In the latter two cases nothing was done, and the same may be sent again: ``FollowMoves`` does so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection
from redis.retry import Retry

from edx_event_bus_redis.internal.connection_url import Address

T = TypeVar("T")

# Moves that one command follows. The first redirection is right unless the slot moves again right then.
MOST_MOVES = 5

# Before redis-py 6 only this parser knows what nodes of a cluster answer with.
_PARSER: dict[str, Any] = (
    {"parser_class": redis.cluster.ClusterParser} if hasattr(redis.cluster, "ClusterParser") else {}
)

_ASKING = b"*1\r\n$6\r\nASKING\r\n"

# Replies that say that something else is to be asked.
_ELSEWHERE = (exceptions.AskError, exceptions.ClusterDownError, exceptions.ReadOnlyError)


class SlotMoved(exceptions.ConnectionError):
    """The node did not do a command, because it does not have the slot. A new connection finds the one that does."""


class FollowMoves(Retry):
    """Does at once again what a node has refused because it does not have the slot any more, and nothing else."""

    def __init__(self) -> None:
        super().__init__(NoBackoff(), 0)

    def call_with_retry(self, do: Callable[[], T], fail: Callable[..., Any], *arguments: Any, **options: Any) -> T:
        """Do it; ``fail`` closes the connection after a failure."""
        for _ in range(MOST_MOVES):
            try:
                return super().call_with_retry(do, fail, *arguments, **options)
            except SlotMoved:
                continue
        return super().call_with_retry(do, fail, *arguments, **options)


class Nodes:
    """
    What the nodes of a cluster say about it. Threads may share it.

    Arguments:
        known: some of the nodes.
        arguments: of a connection, with ``connection_class``, without host and port.
        remap: returns where to connect instead of where the cluster says that a node is; None to believe it.
    """

    def __init__(
        self,
        known: Sequence[Address],
        arguments: Mapping[str, Any],
        remap: Callable[[tuple[str, int]], tuple[str, int]] | None = None,
    ) -> None:
        self._first = tuple(known)
        self._arguments = {name: value for name, value in arguments.items() if name != "max_connections"}
        self._remap = remap
        # Those that have answered come before those that have not.
        self._known = tuple(known)

    def owner(self, slot: int) -> Address:
        """
        Return the node that has a slot, as one of the others says right now.

        Raises what redis-py raises: ConnectionError if nobody can be reached, or if nobody has the slot.
        """
        for first, last, node in self._ranges():
            if first <= slot <= last:
                return node
        raise exceptions.ConnectionError(f"no node of the cluster has hash slot {slot}")

    def primaries(self) -> list[Address]:
        """Return all nodes that have slots. Raises what ``owner`` raises."""
        return list(dict.fromkeys(node for _, _, node in self._ranges()))

    def remapped(self, address: Address) -> Address:
        """Return where to connect to reach a node."""
        return address if self._remap is None else Address(*self._remap(address))

    def _ranges(self) -> list[tuple[int, int, Address]]:
        failure: Exception = exceptions.ConnectionError("no node of the cluster is known")
        for asked in self._known:
            try:
                ranges = self._ask(asked)
            except (exceptions.AuthenticationError, exceptions.AuthorizationError):
                raise
            except (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ClusterDownError) as error:
                failure = error
                continue
            nodes = [node for _, _, node in ranges]
            self._known = tuple(dict.fromkeys([asked, *nodes, *self._first]))
            return ranges
        # Whoever comes next does not wait for the same one first.
        self.ask_another()
        raise failure

    def ask_another(self) -> None:
        """Say that what was told did not help: who has told it may be cut off from the others."""
        self._known = (*self._known[1:], *self._known[:1])

    def _ask(self, address: Address) -> list[tuple[int, int, Address]]:
        arguments = dict(self._arguments)
        connection = arguments.pop("connection_class")(host=address.host, port=address.port, **arguments)
        try:
            connection.connect()
            connection.send_command("CLUSTER", "SLOTS")
            reply = connection.read_response()
        finally:
            connection.disconnect()
        # The node that was asked may not know by which name others reach it.
        return [
            (first, last, self.remapped(Address(primary[0].decode() if primary[0] else address.host, primary[1])))
            for first, last, primary, *_ in reply
        ]


class Route:
    """
    The way to the node that has a slot. Connections share it.

    Arguments:
        nodes: of the cluster.
        slot: number of the hash slot.
    """

    def __init__(self, nodes: Nodes, slot: int) -> None:
        self._nodes = nodes
        self._slot = slot
        self._redirected: tuple[Address, bool] | None = None

    def next(self) -> tuple[Address, bool]:
        """Return where a new connection is to go, and whether it has to say that it was sent."""
        redirected, self._redirected = self._redirected, None
        return redirected or (self._nodes.owner(self._slot), False)

    def failed(self) -> None:
        """Say that where it leads there is nobody."""
        self._nodes.ask_another()

    def redirect(self, error: exceptions.AskError, here: Address) -> None:
        """Take note of a redirection from a node."""
        to = self._nodes.remapped(Address(error.host or here.host, error.port))
        self._redirected = (to, not isinstance(error, exceptions.MovedError))


class OfSlot(Connection):
    """What a connection does to stay with the slot of a route."""

    def __init__(self, *, route: Route, **arguments: Any) -> None:
        # Which node it is will be known when it connects.
        super().__init__(host="", port=0, **_PARSER, **arguments)
        self._route = route
        self._is_sent = False
        self._expected: deque[bool] = deque()

    @property
    def _is_connected(self) -> bool:
        # As redis-py's own connections by Sentinel find it out.
        return bool(self._sock)

    def connect(self) -> None:
        """Connect, if it is not, to the node that has the slot."""
        if self._is_connected:
            return
        self._is_sent = False
        self._expected.clear()
        (self.host, self.port), is_sent = self._route.next()
        try:
            super().connect()
        except (exceptions.ConnectionError, exceptions.TimeoutError):
            self._route.failed()
            raise
        self._is_sent = is_sent

    def send_command(self, *parts: Any, **options: Any) -> None:
        """Send a command."""
        self.connect()
        if not self._is_sent:
            super().send_command(*parts, **options)
            return
        if options.get("check_health", True):
            self.check_health()
        self.send_packed_command(self.pack_commands([parts]), check_health=False)

    def pack_commands(self, commands: Iterable[Sequence[Any]]) -> list[bytes]:
        """Return commands, all or none of which are a transaction, in the pieces in which they are to be sent."""
        self.connect()
        if self._is_sent:
            commands = self._with_asking(list(commands))
        packed: list[bytes] = super().pack_commands(commands)
        return packed

    def _with_asking(self, commands: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
        # Asking holds for one command, and for all of a transaction.
        is_transaction = commands[0][0] == "MULTI"
        result: list[Sequence[Any]] = []
        for index, command in enumerate(commands):
            asks = index == 0 or not is_transaction
            result += [("ASKING",), command] if asks else [command]
            self._expected.append(asks)
        return result

    def packed(self, commands: Sequence[bytes]) -> Sequence[bytes]:
        """Return packed commands, none of which is of a transaction, as they are to be sent."""
        self.connect()
        if not self._is_sent:
            return commands
        self._expected.extend([True] * len(commands))
        return [part for command in commands for part in (_ASKING, command)]

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """Return the next reply, or raise it. After SlotMoved the connection is to be closed."""
        if self._expected and self._expected.popleft():
            super().read_response(*arguments, **options)
        try:
            return super().read_response(*arguments, **options)
        except _ELSEWHERE as error:
            if isinstance(error, exceptions.AskError):
                self._route.redirect(error, Address(self.host, self.port))
            raise SlotMoved(f"the stream is on another node of the cluster: {_words(error)}") from error


def _words(error: Exception) -> str:
    # redis-py takes the first word off.
    return f"{type(error).__name__.removesuffix('Error').upper()} {error}"


class SlotConnection(OfSlot):
    """A connection to the node that has the slot of a route."""


class SlotSSLConnection(OfSlot, SSLConnection):
    """The same by TLS."""
