"""
Joins pool and bus: ``RedisEventConsumer``, its processes and its exit statuses.

Exit statuses: 0 stopped by SIGTERM or SIGINT, or consumers are disabled; 1 gave up; 2 a bad option or setting. They
leave as SystemExit, because ``consume_events`` logs every other exception and ends with 0.
"""

from __future__ import annotations

import logging
import signal
import sys
from typing import Any

import attrs
from openedx_events.event_bus import EventBusConsumer

from edx_event_bus_redis.internal.board import Board
from edx_event_bus_redis.internal.crew import ServiceProgress
from edx_event_bus_redis.internal.errors import ConfigurationError, TooManyErrors
from edx_event_bus_redis.internal.holdings import Holdings
from edx_event_bus_redis.internal.last_deaths import LastDeaths
from edx_event_bus_redis.internal.log_lines import (
    CONSUMERS_DISABLED,
    FAILED,
    GAVE_UP,
    NO_MONITOR,
    identify,
)
from edx_event_bus_redis.internal.options import ConsumerSettings, load_consumer_settings
from edx_event_bus_redis.internal.pool_log import PoolLog
from edx_event_bus_redis.internal.processes import (
    EXIT_GAVE_UP,
    PoolProcesses,
    close_what_is_not_shared,
    consume,
    load_what_workers_share,
)
from edx_event_bus_redis.internal.settings import consumers_enabled
from edx_event_bus_redis.internal.start import connect, give_back, set_up
from edx_event_bus_redis.internal.takeover import Membership
from edx_event_bus_redis.internal.telemetry import consumer_logger
from pool import (
    Event,
    Outcome,
    PoolConfig,
    ServiceManager,
    Slots,
    Supervisor,
    blocked,
    stacks_on_signal,
    stop_on_signals,
)

logger = logging.getLogger(__name__)

_STOPPING = (signal.SIGTERM, signal.SIGINT)
_STEERING = (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1)

_MEBIBYTE = 1024 * 1024

EXIT_BAD_CONFIGURATION = 2


class RedisEventConsumer(EventBusConsumer):
    """
    Consumes the events of a topic; ``EVENT_BUS_CONSUMER`` names this class.

    Arguments:
        topic: without the prefix.
        group_id: consumer group.
        consumer_name: unique in the group; of a pool, the stem of its workers' names.
        last_read_msg_id, check_backlog, claim_msgs_older_than, extra: the other keys of ``--extra``; see
            ``ConsumerSettings``.

    Nothing is validated here: openedx-events swallows every exception of a constructor.
    """

    def __init__(  # noqa: PLR0917 -- as many by position as the published package takes
        self,
        /,
        topic: str,
        group_id: str,
        consumer_name: str | None = None,
        last_read_msg_id: str | None = None,
        check_backlog: bool = False,
        claim_msgs_older_than: int | None = None,
        **extra: Any,
    ) -> None:
        self._topic = topic
        self._group = group_id
        self._extra = {
            "consumer_name": consumer_name,
            "last_read_msg_id": last_read_msg_id,
            "check_backlog": check_backlog,
            "claim_msgs_older_than": claim_msgs_older_than,
            **extra,
        }

    def consume_indefinitely(self) -> None:
        """
        Consume until SIGTERM or SIGINT: in this process, or with ``workers`` in a pool that it supervises.

        Raises:
            SystemExit: with status 1 if it gave up, 2 if an option or a setting cannot work.
        """
        if not consumers_enabled():
            CONSUMERS_DISABLED.log(consumer_logger)
            return
        try:
            settings = load_consumer_settings(self._topic, self._group, self._extra)
            if settings.workers is None:
                _consume_here(settings)
            else:
                _consume_in_pool(settings, settings.workers)
        except ConfigurationError as error:
            sys.stderr.write(f"edx-event-bus-redis: {error}\n")
            raise SystemExit(EXIT_BAD_CONFIGURATION) from None
        except TooManyErrors as error:
            GAVE_UP.log(logger, consumer_name=self._extra["consumer_name"], error=error)
            raise SystemExit(EXIT_GAVE_UP) from None
        except Exception:  # noqa: BLE001 -- consume_events would log it too, and end with status 0
            FAILED.log(logger, consumer_name=self._extra["consumer_name"], exc_info=True)
            raise SystemExit(EXIT_GAVE_UP) from None


def _consume_here(settings: ConsumerSettings) -> None:
    identify(consumer_name=settings.consumer_name)
    if settings.monitor_port is not None:
        NO_MONITOR.log(logger, port=settings.monitor_port)
    with stop_on_signals(settings.shutdown_timeout) as stop, stacks_on_signal():
        start = set_up(settings, stop)
        if start is not None:
            slots, holdings = Slots(1), Holdings(1)
            # There is no supervisor to end a handler that hangs.
            service = ServiceManager()
            progress = ServiceProgress(
                slots[0],
                slots,
                holdings,
                holdings[0],
                start.cursor,
                watchdog=settings.handler_timeout,
                service=service,
            )
            client = connect(settings)
            service.ready("1 consumer")
            consume(settings, settings.consumer_name, client, stop=stop, progress=progress, board=Board())
            service.stopping(0.0, "Stopping")


def _consume_in_pool(settings: ConsumerSettings, workers: int) -> None:
    # Held back but where somebody answers them, so that none falls in between.
    with blocked((*_STOPPING, *_STEERING)):
        while _run_pool(settings, workers) is Outcome.START_ANEW:
            # The position of the group was this start's business, and is settled.
            settings = attrs.evolve(settings, check_backlog=True, last_read_msg_id=None)


def _run_pool(settings: ConsumerSettings, workers: int) -> Outcome:
    identify(consumer_name=settings.consumer_name, pool=settings.consumer_name)
    with stop_on_signals(settings.shutdown_timeout) as stop, blocked(()):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
        # Those that steer a pool wait until there is one.
        start = set_up(settings, stop)
    if start is None or start.membership is None:
        return Outcome.STOPPED
    if stop.requested:
        give_back(settings, start.membership)
        return Outcome.STOPPED
    return _supervise(settings, workers, start.cursor, start.membership)


def _supervise(settings: ConsumerSettings, workers: int, cursor: bytes, membership: Membership) -> Outcome:
    memory = settings.max_memory_per_worker
    config = PoolConfig(
        name=membership.name,
        workers=workers,
        items_called="events",
        fewest_workers=1 if settings.most_workers is None else workers,
        most_workers=settings.most_workers,
        shutdown_timeout=settings.shutdown_timeout,
        item_timeout=settings.handler_timeout,
        max_items_per_worker=settings.max_events_per_worker,
        max_memory_per_worker=None if memory is None else memory * _MEBIBYTE,
        deaths_per_item=settings.max_deliveries,
    )
    pool_log = PoolLog(membership.name)
    last_deaths = LastDeaths(settings, membership.name)

    def tell(event: Event) -> None:
        for hear in (pool_log.log, last_deaths.note):
            hear(event)

    processes = PoolProcesses(settings, membership, cursor, config.most, pool_log)
    supervisor = Supervisor(
        config,
        processes.work,
        processes.watch,
        prepare=processes.prepare,
        on_event=tell,
        before_fork=close_what_is_not_shared,
        on_wake=pool_log.keep_time,
        service_manager=ServiceManager(),
    )
    load_what_workers_share(settings, membership.name)
    outcome = supervisor.run()
    last_deaths.leave_word(supervisor.slots, has_name=outcome is not Outcome.START_ANEW)
    if outcome is Outcome.GAVE_UP:
        raise SystemExit(EXIT_GAVE_UP)
    return outcome
