"""One failover after the other: a producer and a pool at work, and the primary is killed."""

from __future__ import annotations

import itertools
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from django.test import override_settings

from devtools.embedded import EmbeddedServer
from edx_event_bus_redis import OutgoingEvent
from edx_event_bus_redis.internal.producer import RedisEventProducer
from tests.support.clusters import cluster
from tests.support.consuming import ConsumerProcess
from tests.support.events import SIGNAL, TOPIC, in_stream, login_data
from tests.support.load import Load, deliver
from tests.support.proxy import Proxy
from tests.support.replicas import connect_by, replica_of, successor
from tests.support.sentinels import watched
from tests.support.troubles import nothing_pending
from tests.support.waiting import wait_until

# Events after the producer is back.
_AFTER = 100

# Events for a time of one, and for a rate of many.
_SENT, _SENT_MANY = 500, 5000


class _Servers(NamedTuple):
    """Where they are, the one that is to be killed, and its replicas."""

    url: str
    primary: EmbeddedServer
    replicas: list[EmbeddedServer]


@dataclass(frozen=True)
class Failover:
    """
    A way to fail over.

    Attributes:
        is_cluster: whether it is a cluster of three nodes with a replica each; else three sentinels and two replicas.
        latency: seconds that replication is late in each direction.
        wait: ``EVENT_BUS_REDIS_PRODUCER_WAIT_REPLICAS``.
        events: before the primary is killed. They have to be sent within some seconds where there is a latency.
    """

    is_cluster: bool = False
    latency: float = 0.0
    wait: int = 0
    events: int = 500

    def measure(self) -> Mapping[str, float]:
        """Fail over once; return each quantity, named with its unit, and its value."""
        prefix = f"failover{uuid.uuid4().hex[:8]}"
        settings = {"EVENT_BUS_TOPIC_PREFIX": prefix, "EVENT_BUS_REDIS_PRODUCER_WAIT_REPLICAS": self.wait}
        stream = f"{prefix}-{TOPIC}"
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="failover-")))
            stack.enter_context(override_settings(**settings, EVENT_BUS_REDIS_STREAM_MAX_LEN=1_000_000))
            servers = stack.enter_context(self._servers(stream))
            consumer = stack.enter_context(
                ConsumerProcess(
                    starts=True, directory=directory, url=servers.url, prefix=prefix, consumer_name="c1", workers=2
                )
            )
            consumer.wait_running(2)
            line = stack.enter_context(Proxy(servers.primary.port))
            if self.latency:
                connect_by(line.port, *servers.replicas)
                line.slow(latency=self.latency)
            began = time.monotonic()
            with Load(servers.url, pause=0) as load:
                load.wait_for_more(self.events)
                rate = len(load.taken) / (time.monotonic() - began)
                # With the primary goes what is on the line.
                line.swallow()
                servers.primary.kill()
                new = successor(servers.replicas)
                load.wait_for_more(_AFTER)
            left = in_stream(new.client(), stream)
            wait_until(lambda: left <= {each.event_id for each in consumer.handled()}, what="all are handled")
            nothing_pending(new.client(), stream)
            handled = [each.event_id for each in consumer.handled()]
            times = sorted(each.at for each in consumer.handled())
        return {
            "events/s before": rate,
            "sent, and not in the stream": len(load.taken.keys() - left),
            "of these never handled": len(load.taken.keys() - left - set(handled)),
            "handled twice": len(handled) - len(set(handled)),
            "s without an event sent": load.longest_gap,
            "s without an event handled": max(behind - before for before, behind in itertools.pairwise(times)),
        }

    @contextmanager
    def _servers(self, stream: str) -> Iterator[_Servers]:
        if self.is_cluster:
            with cluster(replicas=True) as nodes:
                primary = nodes.first_owner(stream)
                yield _Servers(nodes.url, primary, [nodes.replica_of(primary)])
            return
        with watched(replicas=2, sentinels=3) as servers:
            yield _Servers(servers.url, servers.primary, servers.replicas)


@dataclass(frozen=True)
class Sending:
    """
    What it costs to wait.

    Attributes:
        wait: ``EVENT_BUS_REDIS_PRODUCER_WAIT_REPLICAS``.
        latency: seconds that replication is late in each direction.
    """

    wait: int = 0
    latency: float = 0.0

    def measure(self) -> Mapping[str, float]:
        """Send some events one by one, and some in chunks."""
        settings = {
            "EVENT_BUS_TOPIC_PREFIX": "failover",
            "EVENT_BUS_REDIS_PRODUCER_WAIT_REPLICAS": self.wait,
            "EVENT_BUS_REDIS_AUDIT_LOGGING_ENABLED": False,
        }
        with ExitStack() as stack:
            stack.enter_context(override_settings(**settings))
            primary = stack.enter_context(EmbeddedServer())
            proxy = stack.enter_context(Proxy(primary.port))
            stack.enter_context(replica_of(primary, port=proxy.port if self.latency else None))
            proxy.slow(latency=self.latency)
            producer = RedisEventProducer(primary.url)
            deliver(producer)
            began = time.monotonic()
            for _ in range(_SENT):
                deliver(producer)
            one = (time.monotonic() - began) / _SENT
            events = [OutgoingEvent(signal=SIGNAL, topic=TOPIC, event_data=login_data()) for _ in range(_SENT_MANY)]
            began = time.monotonic()
            producer.send_many(events)
            many = _SENT_MANY / (time.monotonic() - began)
        return {"ms an event, send": one * 1000, "events/s, send_many": many}


CASES: Mapping[str, Failover | Sending] = {
    "send": Sending(),
    "send, wait": Sending(wait=1),
    "send, 10 ms": Sending(latency=0.01),
    "send, 10 ms, wait": Sending(latency=0.01, wait=1),
    "sentinel": Failover(),
    "sentinel, wait": Failover(wait=1),
    "sentinel, 50 ms": Failover(latency=0.05),
    "sentinel, 50 ms, wait": Failover(latency=0.05, wait=1, events=50),
    "cluster": Failover(is_cluster=True),
    "cluster, wait": Failover(is_cluster=True, wait=1),
}
