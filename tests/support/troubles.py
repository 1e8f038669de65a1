"""What consumers say about faults, found in their log."""

import re
from collections import Counter, defaultdict

import pytest
from redis import Redis

from tests.support.consuming import ConsumerProcess
from tests.support.waiting import wait_until

# For one consumer and for a pool of two, and what the consumers are called that handle events then.
BOTH = pytest.mark.parametrize("workers", [None, 2])
NAMES = {None: ["c1"], 2: ["c1.0", "c1.1"]}

_ERROR = re.compile(
    r"Error consuming event from Redis: (.*?) in context .*?consumer_name='([^']+)'.* -- no event available"
)
_OVER = re.compile(r"Consumer (\S+) goes on, after (\d+) failures?\b")


def said(log: str) -> dict[str, list[str]]:
    """Return what each consumer said about faults that are no event's, in order."""
    errors: dict[str, list[str]] = defaultdict(list)
    for error, name in _ERROR.findall(log):
        errors[name].append(error)
    return errors


def ends(log: str) -> Counter[str]:
    """Return how often each consumer said that a fault is over."""
    return Counter(name for name, _ in _OVER.findall(log))


def fault_is_said_once(consumer: ConsumerProcess, *names: str, kinds: int = 1) -> list[str]:
    """
    Wait until all that had a fault say that it is over; hold that each said so once, and once what it was.

    Arguments:
        consumer: whose log it is, or that of all its workers.
        names: of the consumers that must have had it.
        kinds: how many different lines the fault may have caused in each.

    Returns:
        All that was said of it.
    """
    wait_until(lambda: ends(consumer.log).keys() >= {*names, *said(consumer.log)}, what="all go on")
    log = consumer.log
    assert set(said(log)) >= set(names), log
    for name, errors in said(log).items():
        assert ends(log)[name] == 1, log
        assert len(errors) == len(set(errors)) <= kinds, log
    return [error for errors in said(log).values() for error in errors]


def refusals(client: Redis, *errors: str) -> int:
    """Return how often the server has answered with errors of these prefixes, such as ``OOM``."""
    counts = [client.info("errorstats").get(f"errorstat_{error}", {"count": 0}) for error in errors]
    # redis-py 5.0 leaves them as they are.
    return sum(int(each.partition("=")[2] if isinstance(each, str) else each["count"]) for each in counts)


def wait_refused(client: Redis, times: int, *errors: str) -> None:
    """Wait until the server has refused something so many times more with errors of these prefixes."""
    before = refusals(client, *errors)
    wait_until(lambda: refusals(client, *errors) >= before + times, what=f"{times} times {' or '.join(errors)}")


def wait_said(consumer: ConsumerProcess, *names: str) -> None:
    """Wait until each of these consumers has said that it has a fault."""
    wait_until(lambda: {*names} <= said(consumer.log).keys(), what="each says so")


def nothing_pending(client: Redis, stream: str, group: str = "group") -> None:
    """Wait until nothing is pending in the group."""
    wait_until(lambda: client.xpending(stream, group)["pending"] == 0, what="nothing pending")


def looks(client: Redis) -> int:
    """How often the monitor has renewed its lease, which it does before it looks."""
    return int(client.info("commandstats").get("cmdstat_pexpire", {}).get("calls", 0))
