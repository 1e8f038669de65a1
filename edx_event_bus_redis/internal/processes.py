"""
What runs in the processes of a consumer: the consuming itself, and as which worker, successor or monitor of a pool.

Which processes there are, and when they begin and end, is the pool's business.
"""

from __future__ import annotations

import logging

import attrs
import redis
from django.core.cache import close_caches
from django.db import connections

from edx_event_bus_redis.internal.board import Board
from edx_event_bus_redis.internal.consumer import Consumer
from edx_event_bus_redis.internal.counts import PoolCounts
from edx_event_bus_redis.internal.crew import SlotCrew, SlotProgress, death_by_entry
from edx_event_bus_redis.internal.dispatch import get_ready_to_dispatch
from edx_event_bus_redis.internal.errors import ServerError, TooManyErrors
from edx_event_bus_redis.internal.holder import this_process
from edx_event_bus_redis.internal.holdings import Holdings
from edx_event_bus_redis.internal.log_lines import (
    FAILED,
    GAVE_UP,
    MONITOR_FAILED,
    NAME_IS_LOST,
    SUCCESSOR_CANNOT_CONNECT,
    identify,
)
from edx_event_bus_redis.internal.monitor import LeaseLost, Monitor, about_pool
from edx_event_bus_redis.internal.names import shard_consumer_name, stream_key
from edx_event_bus_redis.internal.options import ConsumerSettings
from edx_event_bus_redis.internal.pool_log import PoolLog
from edx_event_bus_redis.internal.probes import Probes, answer_to_http
from edx_event_bus_redis.internal.protocols import Progress
from edx_event_bus_redis.internal.responses import responses_logged_cheaply
from edx_event_bus_redis.internal.start import connect, connect_now, longest_block
from edx_event_bus_redis.internal.takeover import Membership
from edx_event_bus_redis.internal.telemetry import RunContext
from pool import (
    EXIT_START_ANEW,
    EXIT_TOO_MANY_ERRORS,
    Child,
    Death,
    MonitorChild,
    Slots,
    Stop,
)

logger = logging.getLogger(__name__)

EXIT_GAVE_UP = 1


def consume(
    settings: ConsumerSettings,
    consumer_name: str,
    client: redis.Redis,
    *,
    stop: Stop,
    progress: Progress,
    board: Board,
    membership: Membership | None = None,
    former: Death | None = None,
    quiet: bool = False,
) -> None:
    """
    Consume in this process until a stop is requested.

    Arguments:
        settings: of the consumer or of the pool that it belongs to.
        consumer_name: its own name in the group.
        client: used by nobody else; disconnected in the end.
        stop: when to leave.
        progress: where to leave word.
        board: where the monitor of its pool leaves word.
        membership: of its pool; None if it has none.
        former: how its predecessor in the pool died; None if it had none, or that left on purpose.
        quiet: whether to say nothing of its start: the death before it was only summed up.

    Raises:
        TooManyErrors: it gives up.
    """
    consumer = Consumer(
        settings,
        consumer_name,
        client,
        block=longest_block(client),
        stop=stop,
        progress=progress,
        board=board,
        membership=membership,
        death=death_by_entry(former),
        replaces=former is not None,
        quiet=quiet,
    )
    try:
        with responses_logged_cheaply():
            consumer.run()
    finally:
        client.connection_pool.disconnect()


class PoolProcesses:
    """
    What runs in the processes of one pool.

    Arguments:
        settings: of the pool.
        membership: of the pool.
        cursor: of the group at the pool's start.
        most_workers: that there may be.
        pool_log: of the supervisor.
    """

    def __init__(
        self, settings: ConsumerSettings, membership: Membership, cursor: bytes, most_workers: int, pool_log: PoolLog
    ) -> None:
        self._settings = settings
        self._membership = membership
        self._cursor = cursor
        self._board = Board()
        # Never connected in the supervisor. Each worker connects for itself; what makes a client they share.
        self._client = connect(settings)
        self._counts = None if settings.monitor_port is None else PoolCounts(most_workers)
        self._facts = about_pool(settings, this_process())
        self._holdings = Holdings(most_workers)
        # Of the supervisor; what a child sees is how it was when that was forked.
        self._pool_log = pool_log

    def work(self, child: Child) -> None:
        """Consume, as one of the workers."""
        name = self._membership.name
        consumer_name, holding = shard_consumer_name(name, child.shard), self._holdings[child.shard]
        identify(consumer_name=consumer_name, pool=name, shard=child.shard)
        counts = None if self._counts is None else self._counts.of_worker(child.shard)
        try:
            consume(
                self._settings,
                consumer_name,
                child.prepared or self._client,
                stop=child.stop,
                progress=SlotProgress(child.slot, child.slots, self._holdings, holding, self._cursor, counts=counts),
                board=self._board,
                membership=self._member(child.slots),
                former=child.former,
                # One that was forked while its predecessor lived has not come for a death.
                quiet=child.prepared is None and self._pool_log.is_quiet_about(child.shard),
            )
        except TooManyErrors as error:
            GAVE_UP.log(logger, consumer_name=consumer_name, error=error)
            raise SystemExit(EXIT_TOO_MANY_ERRORS) from None
        except Exception:  # noqa: BLE001 -- the line has the traceback
            FAILED.log(logger, consumer_name=consumer_name, exc_info=True)
            raise SystemExit(EXIT_GAVE_UP) from None

    def prepare(self, _: Stop) -> redis.Redis:
        """Connect, as a worker that is to replace another one."""
        try:
            return connect_now(self._settings)
        except ServerError as error:
            SUCCESSOR_CANNOT_CONNECT.log(logger, pool=self._membership.name, error=error)
            raise SystemExit(EXIT_GAVE_UP) from None

    def watch(self, child: MonitorChild) -> None:
        """Be the monitor."""
        name = self._membership.name
        identify(consumer_name=f"{name}.monitor", pool=name)
        crew = SlotCrew(name, child.slot, child.slots, self._holdings, self._cursor, child.wish_for_workers)
        try:
            Monitor(
                self._settings,
                self._member(child.slots),
                facts=self._facts,
                crew=crew,
                board=self._board,
                probes=self._answer_to_http(crew),
                stop=child.stop,
            ).run()
        except LeaseLost as error:
            NAME_IS_LOST.log(logger, pool=name, error=error)
            raise SystemExit(EXIT_START_ANEW) from None
        except Exception:  # noqa: BLE001 -- as above
            MONITOR_FAILED.log(logger, pool=name, exc_info=True)
            raise SystemExit(EXIT_GAVE_UP) from None

    def _answer_to_http(self, crew: SlotCrew) -> Probes | None:
        if self._counts is None:
            return None
        about = {
            "topic": self._settings.topic,
            "group": self._settings.group,
            "pool": self._membership.name,
            "version": self._facts["version"],
        }
        return answer_to_http(self._settings, about, crew=crew, counts=self._counts, board=self._board)

    def _member(self, slots: Slots) -> Membership:
        return attrs.evolve(self._membership, workers=lambda: len(slots))


def load_what_workers_share(settings: ConsumerSettings, name: str) -> None:
    """Load what the first event would load in each worker: loaded before the fork it is in memory once."""
    get_ready_to_dispatch()
    RunContext(stream_key(settings.topic, settings.topic_prefix), settings.group, name).set_attributes(None)


def close_what_is_not_shared() -> None:
    """Close what a fork must not have in two processes: connections to databases and caches."""
    connections.close_all()
    close_caches()
