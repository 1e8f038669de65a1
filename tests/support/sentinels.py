"""Sentinels that watch a server and make one of its replicas the primary when it is gone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from devtools.embedded import HOST, EmbeddedServer
from tests.support.replicas import login_of, replica_of
from tests.support.waiting import wait_until

SERVICE = "bus"


class SentinelServer(EmbeddedServer):
    """One sentinel, which calls a server down after half a second if so many of them think so."""

    def __init__(
        self,
        primary: EmbeddedServer,
        *,
        password: str | None = None,
        quorum: int = 1,
        port: int | None = None,
        more: Mapping[str, str] | None = None,
    ) -> None:
        config = {
            **(more or {}),
            f"sentinel monitor {SERVICE}": f"{HOST} {port or primary.port} {quorum}",
            f"sentinel down-after-milliseconds {SERVICE}": "500",
            f"sentinel failover-timeout {SERVICE}": "3000",
            **({f"sentinel auth-pass {SERVICE}": primary.password} if primary.password else {}),
        }
        super().__init__(password=password, config=config)

    def _open_process(self, command: list[str]) -> subprocess.Popen[bytes]:
        return super()._open_process([*command, "--sentinel"])

    def _config_text(self, port: int) -> str:
        # A sentinel keeps nothing, and does not know what a server is told about that.
        lines = super()._config_text(port).splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith(("save ", "appendonly ")))

    def knows(self, server: EmbeddedServer) -> bool:
        """Return whether it tells that this server is the primary."""
        with self.client() as client:
            return int(client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)[1]) == server.port

    def sees(self, replicas: int, sentinels: int) -> bool:
        """Return whether it has found so many replicas and so many sentinels beside itself."""
        with self.client() as client:
            found = [client.execute_command(f"SENTINEL {what}", SERVICE) for what in ("REPLICAS", "SENTINELS")]
        return [len(each) for each in found] == [replicas, sentinels]

    def candidates(self) -> list[int]:
        """Return the ports of the replicas that it may promote."""
        with self.client() as client:
            found = client.sentinel_slaves(SERVICE)
        return [int(each["port"]) for each in found if int(each["slave-priority"]) > 0]


class Watched(NamedTuple):
    """A server, its replicas, and who watches them. Of the sentinels in ``url`` the first one is not there."""

    primary: EmbeddedServer
    replicas: list[EmbeddedServer]
    sentinels: list[SentinelServer]
    url: str

    @property
    def replica(self) -> EmbeddedServer:
        """The first of the replicas."""
        return self.replicas[0]

    @property
    def sentinel(self) -> SentinelServer:
        """The first of the sentinels."""
        return self.sentinels[0]

    def knows(self, server: EmbeddedServer) -> bool:
        """Return whether the sentinels tell that this server is the primary."""
        return all(sentinel.knows(server) for sentinel in self.sentinels)

    def prefer(self, replica: EmbeddedServer) -> None:
        """Have the sentinels promote this replica and no other, however much each of them has. Takes some seconds."""
        for each in self.replicas:
            with each.client() as client:
                client.config_set("replica-priority", 100 if each is replica else 0)
        for sentinel in self.sentinels:
            wait_until(lambda sentinel=sentinel: sentinel.candidates() == [replica.port], what="the sentinel knows it")


@contextmanager
def watched(
    *, password: str | None = None, sentinel_password: str | None = None, replicas: int = 1, sentinels: int = 1
) -> Iterator[Watched]:
    """Start a server with replicas, and sentinels that know all of them; more than half of them have to agree."""
    with ExitStack() as stack:
        primary = stack.enter_context(EmbeddedServer(password=password, config=login_of(password)))
        others = [stack.enter_context(replica_of(primary)) for _ in range(replicas)]
        # A sentinel asks the primary for its replicas every ten seconds, the first time at once.
        watchers = [
            stack.enter_context(SentinelServer(primary, password=sentinel_password, quorum=sentinels // 2 + 1))
            for _ in range(sentinels)
        ]
        for each in watchers:
            wait_until(lambda each=each: each.sees(replicas, sentinels - 1), what="the sentinel knows all")
        login_in_url = f":{password}@" if password else ""
        hosts = ",".join(f"{HOST}:{port}" for port in (1, *(each.port for each in watchers)))
        yield Watched(primary, others, watchers, f"redis+sentinel://{login_in_url}{hosts}/{SERVICE}/0")
