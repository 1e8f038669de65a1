"""Which pools are gone, and which monitor says so when several notice it in the same moment."""

from collections.abc import Callable
from typing import Any

import pytest
import redis

from edx_event_bus_redis.internal import pools
from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.holder import this_process
from edx_event_bus_redis.internal.lease import Lease, described_holder
from edx_event_bus_redis.internal.names import group_key, pool_key
from edx_event_bus_redis.internal.pools import Known, Pools

pytestmark = [pytest.mark.server, pytest.mark.one_version]


class Interrupted(Pools):
    """Pools of a monitor that is held up between its look at a lease and what it does about it."""

    meanwhile: Callable[[], object]

    def lease(self, name: str) -> dict[bytes, bytes]:
        """Return the lease as it was before something happened."""
        lease = super().lease(name)
        self.meanwhile()
        return lease


class Group:
    """A group of which one pool is dead: of its lease its monitors see nothing, or a process that does not exist."""

    def __init__(self, url: str, client: redis.Redis, stream: str) -> None:
        self.of_monitor = make_client(url, timeout=5, connect_timeout=5), stream, "group"
        self.first, self.second = Pools(*self.of_monitor, "c1"), Interrupted(*self.of_monitor, "c2")
        self.registry = group_key(stream, "pools", "group")
        self._lease = pool_key(stream, "group", "dead")
        self._client = client

    def bury(self, *, with_lease: bool = False) -> None:
        """Let the pool have died."""
        if with_lease:
            facts = described_holder(this_process()._replace(started="another time"))
            self._client.hset(self._lease, mapping={"token": "t", **facts})
        self._client.hset(self.registry, "dead", "alive")

    def state(self) -> Any:
        """What the group keeps of the dead pool."""
        return self._client.hget(self.registry, "dead")


@pytest.fixture
def group(url: str, client: redis.Redis, stream_name: str, monkeypatch: pytest.MonkeyPatch) -> Group:
    """A group of two monitors, for which a lease that is missing has been missing for long enough."""
    monkeypatch.setattr(pools, "_MISSING_SECONDS", 0.0)
    return Group(url, client, stream_name)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return the pools that were said to be gone."""
    return lambda: [record.gone for record in caplog.records if getattr(record, "log_line", "") == "pool_is_gone"]


@pytest.mark.parametrize("with_lease", [True, False], ids=["its process is dead", "no sign of life"])
def test_one_monitor_says_that_a_pool_is_gone(group: Group, said: Callable[[], list[str]], with_lease: bool) -> None:
    """Two find it in the same moment: both act on it, and one of them says so."""
    group.bury(with_lease=with_lease)
    found = []
    group.second.meanwhile = lambda: found.append(group.first.judge())

    found.append(group.second.judge())

    assert found == [Known([], ["dead"], []), Known([], ["dead"], [])]
    assert said() == ["dead"]
    assert group.state() == b"gone"


def test_each_death_of_a_pool_is_said(group: Group, said: Callable[[], list[str]]) -> None:
    """A pool that was back under its name and dies again is said to be gone again."""
    for _ in range(2):
        group.bury()
        group.first.judge()

    assert said() == ["dead", "dead"]


def test_a_pool_that_was_forgotten_stays_forgotten(group: Group, said: Callable[[], list[str]]) -> None:
    """Another monitor has found it, said so and forgotten it: who comes late adds neither a line nor its name."""
    group.bury()
    group.second.meanwhile = lambda: group.first.forget(group.first.judge().gone)

    assert group.second.judge().gone == ["dead"]

    assert said() == ["dead"]
    assert group.state() is None


def test_a_pool_that_stops_late_is_not_said_to_be_gone(group: Group, said: Callable[[], list[str]]) -> None:
    """A pool whose lease has run out gives its name back before anybody has found it gone: it has stopped."""
    group.bury()
    group.second.meanwhile = Lease(*group.of_monitor, "dead", "t").release

    assert group.second.judge().gone == ["dead"]

    assert said() == []
    assert group.state() == b"stopped"
