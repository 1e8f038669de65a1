"""
How long it takes until another host goes on with what one had in hand: ``python -m tests.chaos.hosts``.

Two pools of one group on hosts that share nothing but the server, two workers each, handlers of 20 ms. In each round
one of them comes to harm under load. It fails if an event is not handled within a minute and a half. What is printed is
in docs/several-hosts.rst.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import django

from devtools.server import EmbeddedServer
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until

_EVENTS = 1500
_TIMEOUT = 90.0


class Round(NamedTuple):
    """
    What came of one round.

    Attributes:
        gone: seconds until the other host took the pool for gone.
        begun: seconds until it began what the pool had in hand; none if that was nothing.
        repeated: how many events were handled again.
    """

    gone: float
    begun: list[float]
    repeated: int


def main() -> int:
    """Run it as the command line says; return the exit status."""
    from tests.support.hosts import Host, why_not_apart  # noqa: PLC0415 -- needs Django

    parser = argparse.ArgumentParser(prog="python -m tests.chaos.hosts", description="How long a take-over takes.")
    parser.add_argument("--rounds", type=int, default=5, help="of each kind of harm")
    rounds = parser.parse_args().rounds
    if reason := why_not_apart():
        print(f"hosts cannot have process ids of their own here: {reason}", file=sys.stderr)
        return 1

    harms: dict[str, tuple[bool, Callable[[Host], object]]] = {
        "all its processes are killed, seen from the same host": (False, Host.lose_power),
        "its host loses power": (True, Host.lose_power),
        "it is cut off from the server": (True, lambda host: host.network.swallow()),
        "it hears nothing from the server": (True, lambda host: host.network.deafen()),
    }
    print(f"{'What happens to a pool':55} {'gone, longest':>15} {'begun, longest':>15} repeated")
    for name, (is_apart, harm) in harms.items():
        results = [_play(harm, is_apart=is_apart) for _ in range(rounds)]
        gone, begun = [each.gone for each in results], [seconds for each in results for seconds in each.begun]
        print(f"{name:55} {_told(gone)} {_told(begun)} {sum(each.repeated for each in results):8}", flush=True)
    return 0


def _told(seconds: list[float]) -> str:
    """Return the median and the longest."""
    return f"{statistics.median(seconds):6.1f} {max(seconds):6.1f} s" if seconds else f"{'none':>15}"


def _play(harm: Callable[..., object], *, is_apart: bool) -> Round:
    from tests.support.events import TOPIC, add_logins  # noqa: PLC0415 -- needs Django
    from tests.support.hosts import Host, handled_by  # noqa: PLC0415 -- as above

    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hosts-")))
        server = stack.enter_context(EmbeddedServer())
        client, stream = server.client(), f"hosts-{TOPIC}"
        near, far = hosts = [
            stack.enter_context(
                Host(name, stack.enter_context(Proxy(server.port)), directory, "hosts", is_apart=is_apart)
            )
            for name in ("near", "far")
        ]
        for host in hosts:
            host.start(consumer_name=host.name)
        ids = add_logins(client, stream, _EVENTS, "sleep:0.02")
        wait_until(lambda: all(host.handled() for host in hosts), what="both are at work")

        harmed_at = time.time()
        harm(far)
        had = far.in_hand()
        wait_until(lambda: "Pool far of group" in near.pools[0].log, timeout=_TIMEOUT, what="taken for gone")
        gone = time.time() - harmed_at
        wait_until(lambda: handled_by(hosts).keys() == {*ids}, timeout=_TIMEOUT, what="all are handled")
        far.network.normal()
        wait_until(lambda: client.xpending(stream, "group")["pending"] == 0, timeout=_TIMEOUT, what="nothing pending")
        begun = [each.at - harmed_at for each in near.begun() if each.event_id in had]
        return Round(gone, begun, handled_by(hosts).total() - len(ids))


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    os.environ.pop("EVENT_BUS_REDIS_CONNECTION_URL", None)
    django.setup()
    sys.exit(main())
