"""
The monitor: the one child of a pool that looks after the group instead of handling events. Once a second it

1. renews the lease of the pool's name, and publishes with it what each worker does;
2. renews the entries that workers have in hand, so that nobody claims them, however long it takes;
3. looks at the accounts of the group: what was lost, whether it falls behind or the stream grows without bound, what
   there is to lose; and wishes for more workers or fewer, if the pool has a range of them;
4. finds pools that are gone, calls the workers to take over what departed consumers have left, and removes the names of
   those that have left nothing;
5. looks at what else ``/metrics`` tells of the group. It is last, because nothing else depends on it.

With ``monitor_port`` a thread beside all this answers to HTTP (``probes.py``).

It ends when a stop is requested: for another monitor, or after the workers, and then it gives the lease back. It raises
LeaseLost when another pool has taken the name, after this one could not renew it for too long. A server that cannot be
reached is waited for.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import redis

from edx_event_bus_redis.internal.accounts import Accounts
from edx_event_bus_redis.internal.backlog import Backlog, Outgrowth
from edx_event_bus_redis.internal.board import Board
from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.errors import EventBusRedisError, GroupMissing, ServerError
from edx_event_bus_redis.internal.group import known_of_group, make_group_anew
from edx_event_bus_redis.internal.holder import Holder
from edx_event_bus_redis.internal.lease import Lease, described_holder
from edx_event_bus_redis.internal.ledger import Ledger, Look
from edx_event_bus_redis.internal.log_lines import NAME_IS_KEPT, RESIZE_WISHED
from edx_event_bus_redis.internal.looking_back import LookingBack
from edx_event_bus_redis.internal.message import split_id
from edx_event_bus_redis.internal.names import group_key, stream_key
from edx_event_bus_redis.internal.options import ConsumerSettings, options_in_force
from edx_event_bus_redis.internal.pools import Pools
from edx_event_bus_redis.internal.private import GroupStore
from edx_event_bus_redis.internal.probes import Probes
from edx_event_bus_redis.internal.protocols import Crew, Stop, WorkerLook
from edx_event_bus_redis.internal.sizing import Load, Sizing
from edx_event_bus_redis.internal.stream import Pending, Stream
from edx_event_bus_redis.internal.takeover import Departures, HoldOn, Membership
from edx_event_bus_redis.internal.telemetry import RunContext
from edx_event_bus_redis.internal.trimming import knows_acknowledged_trimming
from edx_event_bus_redis.internal.troubles import Troubles
from edx_event_bus_redis.internal.vitals import Vitals, VitalSigns

logger = logging.getLogger(__name__)

_INTERVAL = 1.0

# Seconds that connecting, and one reply, may take. So short that the monitor shows that it lives often enough.
_CONNECT_TIMEOUT = 1.0
_TIMEOUT = 2.0

# Seconds that an entry is in hand until it is renewed. Most never are.
_SOON_DONE = 1.0

# Seconds to wait after a first failure, and up to five after several.
_FAILURE_SLEEP = 0.5


class LeaseLost(EventBusRedisError):
    """Another pool has the name of this one now."""


class Monitor:
    """
    The monitor of one pool.

    Arguments:
        settings: of the pool.
        membership: name and lease of the pool.
        facts: of ``about_pool``, told by the process that holds the lease.
        crew: the workers.
        board: where to leave word for them.
        probes: who answers to HTTP; None if nobody does.
        stop: when to leave.
    """

    def __init__(
        self,
        settings: ConsumerSettings,
        membership: Membership,
        *,
        facts: Mapping[str, str],
        crew: Crew,
        board: Board,
        probes: Probes | None,
        stop: Stop,
    ) -> None:
        stream, group = stream_key(settings.topic, settings.topic_prefix), settings.group
        self._name = membership.name
        self._crew = crew
        self._vital_signs = VitalSigns()
        self._board = board
        self._stop = stop
        self._client = connect(settings)
        self._lease = Lease(self._client, stream, group, membership.name, membership.token)
        self._facts = facts
        self._troubles = Troubles(RunContext(stream, group, f"{membership.name}.monitor"), _FAILURE_SLEEP)
        self._pools = Pools(self._client, stream, group, membership.name)
        again = group_key(stream, "again", group)
        self._store = GroupStore(self._client, stream, group)
        self._ledger = Ledger(Stream(self._client, stream), group, membership.name)
        self._keep_unacked = settings.keep_unacked
        self._backlog = Backlog(stream, group, settings.stream_max_len, self._is_kept)
        self._outgrowth = Outgrowth(stream, settings.stream_max_len, self._is_kept)
        self._looking_back = LookingBack(self._ledger)
        # The server's time in milliseconds at the last look.
        self._looked_at = 0
        self._found: tuple[Look, Pending] | None = None
        self._hold_on = {False: HoldOn(self._client, stream, group), True: HoldOn(self._client, again, group)}
        self._sizing: Sizing | None = None
        if settings.workers is not None and settings.most_workers is not None:
            self._sizing = Sizing(settings.workers, settings.most_workers)
        self._departures = [Departures(self._client, key, stream, group, membership) for key in (stream, again)]
        self._probes = probes

    def run(self) -> None:
        """Look after the group until a stop is requested. Raises LeaseLost."""
        while not self._stop.requested:
            self._crew.beat()
            try:
                self._look()
            except ServerError as error:
                self._stop.wait(min(self._troubles.happened(error), _INTERVAL))
            else:
                self._troubles.over()
                self._stop.wait(_INTERVAL)
        self._leave()

    def _look(self) -> None:
        duties = (self._renew_lease, self._renew_entries, self._look_at_accounts, self._look_for_departures)
        for duty in duties if self._probes is None else (*duties, partial(self._look_for, self._probes)):
            duty()
            self._crew.beat()

    def _renew_lease(self) -> None:
        workers = self._crew.workers()
        state = [_published(*each) for each in zip(workers, self._vital_signs.measure(workers), strict=True)]
        facts = {
            **self._facts,
            "monitor": str(os.getpid()),
            "workers": str(len(workers)),
            "furthest": self._crew.furthest_seen().decode(),
            "state": json.dumps(state),
        }
        if not self._lease.renew(facts):
            raise LeaseLost(f"consumer name {self._name} belongs to another pool now")

    def _renew_entries(self) -> None:
        held = [each for each in self._crew.in_hand() if each.seconds >= _SOON_DONE]
        for again, hold_on in self._hold_on.items():
            pairs = [(each.consumer, each.entry_id) for each in held if each.again is again]
            if pairs:
                hold_on.renew(pairs)

    def _look_at_accounts(self) -> None:
        if time.monotonic() < self._ledger.rest_until:
            return
        held = self._crew.held_in_all()
        known = known_of_group(self._board, held)
        now = self._ledger.stream.milliseconds()
        try:
            look = self._ledger.look()
            pending = self._ledger.pending()
        except GroupMissing:
            # A worker would find out when it reads; but what it has in hand then is easier to tell from what is lost.
            make_group_anew(self._ledger, self._crew.furthest_seen(), known)
            return
        _, _, handled = self._crew.load()
        self._looking_back.looked(look, known, taken=handled + held, milliseconds=now)
        self._looked_at = now
        self._found = look, pending
        # Last, so that what goes from one place to the next meanwhile is seen.
        waiting = self._store.waiting()
        milliseconds, sequence = split_id(look.cursor)
        oldest = [(milliseconds, sequence + 1), *map(split_id, waiting.origins)]
        if pending.number:
            oldest.append(split_id(pending.oldest))
        self._board.state_of_group(
            pending=pending.number,
            unread=look.unread or 0,
            later=waiting.number,
            oldest=(0, 1) if waiting.are_too_many else min(oldest),
        )
        if look.unread is not None:
            self._backlog.looked(look.unread, look.length)
        self._outgrowth.looked(look.length)
        if self._sizing is not None:
            self._size_pool(self._sizing, look.unread)

    def _is_kept(self) -> bool:
        # A producer on a server that cannot do it trims what is unread.
        return self._keep_unacked and knows_acknowledged_trimming(self._client)

    def _size_pool(self, sizing: Sizing, unread: int | None) -> None:
        load = Load(time.monotonic(), *self._crew.load(), unread)
        wanted = sizing.looked(load)
        if wanted is not None:
            RESIZE_WISHED.log(
                logger, pool=self._name, workers=wanted.workers, former=load.workers, reason=wanted.reason
            )
            self._crew.wish_for_workers(wanted.workers)

    def _look_for_departures(self) -> None:
        known = self._pools.judge()
        departed = [each.tidy(known) for each in self._departures]
        if any(each.pending for each in departed):
            self._board.call_for_take_over()
        self._pools.forget({*known.gone}.difference(*(each.pools for each in departed)))

    def _look_for(self, probes: Probes) -> None:
        """Look at what the other duties have not looked at."""
        found, self._found = self._found, None
        if found is None:
            return
        (look, pending), stream = found, self._ledger.stream
        lost = self._ledger.totals()
        del lost["total"]
        oldest = None if look.unread == 0 else stream.next_id(look.cursor)
        dead_letters = Stream(self._client, self._store.dead).length()
        pending_for = self._age(pending.oldest) if pending.number else 0.0
        probes.accounts = Accounts(
            look.unread,
            pending.number,
            0.0 if oldest is None else self._age(oldest),
            pending_for,
            dead_letters=dead_letters,
            lost=lost,
        )

    def _age(self, entry_id: bytes) -> float:
        return max(0, self._looked_at - split_id(entry_id)[0]) / 1000

    def _leave(self) -> None:
        self._ledger.say_all()
        if self._stop.hands_over:
            return
        try:
            self._lease.release()
        except ServerError as error:
            NAME_IS_KEPT.log(logger, pool=self._name, error=error)


def connect(settings: ConsumerSettings) -> redis.Redis:
    """Return a client for a monitor, or for whoever acquires its lease."""
    key = stream_key(settings.topic, settings.topic_prefix)
    return make_client(settings.server, timeout=_TIMEOUT, connect_timeout=_CONNECT_TIMEOUT, key=key)


def about_pool(settings: ConsumerSettings, supervisor: Holder) -> dict[str, str]:
    """Return what a lease tells of its pool, from the start of the supervisor to its end."""
    try:
        package = version("edx-event-bus-redis")
    except PackageNotFoundError:
        # Run from a checkout that is not installed.
        package = ""
    return {
        **described_holder(supervisor),
        "version": package,
        "since": f"{time.time():.3f}",
        "options": json.dumps(options_in_force(settings)),
    }


def _published(worker: WorkerLook, vitals: Vitals) -> dict[str, Any]:
    """Return what a lease tells of a worker."""
    told = (
        "shard",
        "pid",
        "state",
        "entry",
        "again",
        "seconds",
        "handled",
        "failed",
        "errors",
        "restarts",
        "last_death",
    )
    return {**{name: getattr(worker, name) for name in told}, **vitals._asdict()}
