"""What the monitor of a real pool answers to probes and to Prometheus, whatever dies, hangs or is away."""

import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
import redis

from devtools.server import EmbeddedServer
from tests.integration.test_monitor import monitor_pid
from tests.support.consuming import ConsumerProcess
from tests.support.events import SIGNAL, add_logins, login_fields
from tests.support.http import answered, ask, connections_of, free_port, metrics
from tests.support.waiting import wait_until

LOGIN = SIGNAL.event_type


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def serve(consume: Any, port: int) -> Callable[..., ConsumerProcess]:
    """Start a pool that answers on the port, and wait until it does."""

    def start(**arguments: Any) -> ConsumerProcess:
        pool: ConsumerProcess = consume(**{"workers": 2, "monitor_port": port, **arguments})
        pool.wait_running(arguments.get("workers", 2))
        wait_until(lambda: (reply := answered(port, "/readyz")) and reply.status == 200, what="it is ready")
        return pool

    return start


def is_ill(port: int) -> str:
    """What /healthz says is wrong; empty if nothing is."""
    reply = ask(port, "/healthz")
    assert (reply.status == 200) == reply.json["healthy"] == (not reply.json["problems"])
    return "; ".join(reply.json["problems"])


def value(port: int, name: str, label: str = "") -> float | None:
    return metrics(port).get(name, {}).get(label)


def test_a_pool_that_works_is_well_and_ready(serve: Any, client: redis.Redis, stream_name: str, port: int) -> None:
    """Both probes answer 200 and name the pool; any other path is 404, any other method 405."""
    pool = serve()
    pool.wait_handled(len(add_logins(client, stream_name, 20)))

    health, readiness = ask(port, "/healthz"), ask(port, "/readyz")

    assert (health.status, readiness.status) == (200, 200)
    named = {"topic": "user-login", "group": "group", "pool": "c1"}
    assert named.items() <= health.json.items()
    assert named.items() <= readiness.json.items()
    assert (health.json["healthy"], health.json["problems"], sum(health.json["workers"].values())) == (True, [], 2)
    assert (readiness.json["ready"], readiness.json["problems"]) == (True, [])
    assert ask(port, "/").status == 404
    assert ask(port, "/healthz", method="POST").status == 405
    assert pool.log.count("answers to HTTP on port") == 1
    assert pool.stop() == 0
    assert answered(port, "/healthz") is None


def test_numbers_are_what_happened(serve: Any, client: redis.Redis, stream_name: str, port: int) -> None:
    """Prometheus's parser reads /metrics, and each number is the one that the test has brought about."""
    lost = add_logins(client, stream_name, 5)
    client.xgroup_create(stream_name, "group", id="0")
    # The backlog is skipped.
    pool = serve(max_retries=1, max_deliveries=1)
    pool.wait_handled(len(add_logins(client, stream_name, 30, "sleep:0.003")))
    add_logins(client, stream_name, 2, "raise")
    add_logins(client, stream_name, 1, "kill")

    def found() -> dict[str, dict[str, float]] | None:
        numbers = metrics(port)
        return numbers if numbers.get("dead_letters") == {"": 3} and numbers["group_pending"] == {"": 0} else None

    numbers = wait_until(found, what="all is over")

    (info,) = numbers["pool_info"]
    assert sorted(info.split(",")) == sorted(["user-login", "group", "c1", pool_version(client, stream_name)])
    assert numbers["events_handled_total"] == {LOGIN: 30}
    # Two failed twice, and one has killed its worker.
    assert numbers["events_failed_total"] == {LOGIN: 5}
    assert numbers["events_retried_total"] == {"": 2}
    restarts = numbers["worker_restarts_total"]
    assert {cause: count for cause, count in restarts.items() if count} == {"SIGKILL": 1}
    assert restarts["timed out"] == restarts["exit status 1"] == 0
    lost_by_reason = {
        "trimmed": 0,
        "deleted": 0,
        "skipped": len(lost),
        "group_gone": 0,
        "forgotten": 0,
        "dropped_dead_letters": 0,
    }
    assert numbers["events_lost_total"] == lost_by_reason
    assert (numbers["group_lag"], numbers["oldest_unread_seconds"]) == ({"": 0}, {"": 0})
    assert sum(numbers["workers"].values()) == 2
    assert numbers["handle_seconds_bucket"]["0.0025"] <= 4
    assert numbers["handle_seconds_bucket"]["+Inf"] == numbers["handle_seconds_count"][""] == 34
    assert numbers["handle_seconds_sum"][""] >= 30 * 0.003


def pool_version(client: redis.Redis, stream_name: str) -> str:
    version: bytes = client.hget(f"{{{stream_name}}}:pool:group:c1", "version")
    return version.decode()


def test_a_backlog_has_a_length_and_an_age(serve: Any, client: redis.Redis, stream_name: str, port: int) -> None:
    """While a slow handler holds the others up, lag, pending entries and the age of the oldest are told, and grow."""
    serve(workers=1)
    add_logins(client, stream_name, 1, "sleep:600")
    add_logins(client, stream_name, 9, first=1)

    wait_until(lambda: value(port, "group_lag") == 9, what="the lag")
    assert value(port, "group_pending") == 1
    assert value(port, "workers", "busy") == 1
    age = value(port, "oldest_unread_seconds")
    assert age is not None
    wait_until(lambda: (value(port, "oldest_unread_seconds") or 0) > age + 1, what="it grows")


def test_event_types_that_nobody_knows_are_counted_together(
    serve: Any, client: redis.Redis, stream_name: str, port: int
) -> None:
    """Whatever types somebody makes up, there is one name for all of them, and the real ones keep their own."""
    serve(workers=1)
    for number in range(50):
        fields = login_fields()
        fields[fields.index(LOGIN.encode())] = f"made.up.{number}.v1".encode()
        client.execute_command("XADD", stream_name, "*", *fields)
    client.xadd(stream_name, {"no": "event"})
    add_logins(client, stream_name, 1, "raise")

    wait_until(lambda: metrics(port).get("events_failed_total") == {"other": 51, LOGIN: 1}, what="they are counted")


@pytest.mark.parametrize("way", ["kill", "suspend"])
def test_a_replaced_monitor_answers_on_the_same_port(
    serve: Any, client: redis.Redis, stream_name: str, port: int, way: str
) -> None:
    """When the monitor is killed, or hangs, the next one answers there, and no counter is lower than before."""
    pool = serve(max_retries=1)
    client.xadd(stream_name, {"no": "event"})
    add_logins(client, stream_name, 1, "raise")
    pool.wait_handled(len(add_logins(client, stream_name, 20)))
    before = wait_until(lambda: (found := metrics(port)).get("dead_letters") == {"": 2} and found, what="all is over")
    assert before["events_retried_total"] == {"": 1}
    former = monitor_pid(pool)

    getattr(psutil.Process(former), way)()

    wait_until(lambda: monitor_pid(pool) != former, what="a new monitor")
    wait_until(lambda: (reply := answered(port, "/readyz")) and reply.status == 200, what="it answers")
    after = wait_until(lambda: "dead_letters" in (found := metrics(port)) and found, what="it has looked")
    counters = [name for name in before if name.endswith(("_total", "_bucket", "_sum", "_count"))]
    assert {name: after[name] for name in counters} == {name: before[name] for name in counters}
    assert "cannot answer" not in pool.log
    assert pool.stop() == 0


def test_a_pool_that_is_renewed_and_resized_counts_on(
    serve: Any, client: redis.Redis, stream_name: str, port: int
) -> None:
    """After HUP, and with a worker more or less, the same port answers, no counter is lower, and nobody has died."""
    pool = serve(workers=1)
    pool.wait_handled(len(add_logins(client, stream_name, 10)))

    pool.terminate(signal.SIGTTIN)
    wait_until(lambda: sum(metrics(port)["workers"].values()) == 2, what="a worker more")
    pool.wait_handled(10 + len(add_logins(client, stream_name, 10)))
    pool.terminate(signal.SIGTTOU)
    wait_until(lambda: sum(metrics(port)["workers"].values()) == 1, what="a worker less")
    former = monitor_pid(pool)
    pool.terminate(signal.SIGHUP)
    wait_until(lambda: monitor_pid(pool) != former, what="another monitor")
    pool.wait_handled(20 + len(add_logins(client, stream_name, 10)))

    wait_until(lambda: (reply := answered(port, "/readyz")) and reply.status == 200, what="it answers")
    wait_until(lambda: value(port, "events_handled_total", LOGIN) == 30, what="all are counted")
    assert is_ill(port) == ""
    assert not any(metrics(port)["worker_restarts_total"].values())
    assert pool.stop() == 0


def test_counters_go_on_when_a_worker_dies(serve: Any, client: redis.Redis, stream_name: str, port: int) -> None:
    """What a worker that was killed has counted is still there, and its replacement adds to it."""
    pool = serve(workers=1)
    pool.wait_handled(len(add_logins(client, stream_name, 10)))
    wait_until(lambda: value(port, "events_handled_total", LOGIN) == 10, what="they are counted")

    psutil.Process(pool.worker_pids()[0]).kill()
    pool.wait_handled(10 + len(add_logins(client, stream_name, 10)))

    wait_until(lambda: value(port, "events_handled_total", LOGIN) == 20, what="all are counted")
    assert value(port, "worker_restarts_total", "SIGKILL") == 1


def test_a_pool_is_well_and_not_ready_while_its_server_is_down(
    serve: Any, own_server: EmbeddedServer, stream_name: str, port: int
) -> None:
    """Then /readyz says so, what is not known of the group is absent, and all is back when the server is."""
    pool = serve(url=own_server.url)
    wait_until(lambda: value(port, "group_lag") == 0, what="the monitor has looked")
    own_server.kill()

    wait_until(lambda: ask(port, "/readyz").status == 503, what="it is not ready")

    assert "the group was found on the server" in ask(port, "/readyz").json["problems"][0]
    assert is_ill(port) == ""
    wait_until(lambda: "group_lag" not in metrics(port), what="the lag is not known")
    assert "events_lost_total" in metrics(port)
    own_server.restart()
    wait_until(lambda: ask(port, "/readyz").status == 200, what="it is ready again")
    wait_until(lambda: value(port, "group_lag") == 0, what="the lag is known")
    pool.wait_handled(len(add_logins(own_server.client(), stream_name, 5)))


def test_probes_are_answered_while_the_monitor_waits_for_its_server(
    serve: Any, own_server: EmbeddedServer, port: int
) -> None:
    """While the server hangs, and the monitor with it, many more probes are answered than rounds of the monitor."""
    serve(url=own_server.url)
    own_server.freeze()
    try:
        deadline = time.monotonic() + 20
        for _ in range(300):
            assert ask(port, "/healthz").status == 200
            assert ask(port, "/metrics").status == 200
        # A monitor that answers between its rounds, of two seconds each, would need many minutes.
        assert time.monotonic() < deadline
        wait_until(lambda: ask(port, "/readyz").status == 503, what="it is not ready")
    finally:
        own_server.thaw()
    wait_until(lambda: ask(port, "/readyz").status == 200, what="it is ready again")


def test_a_worker_that_is_stuck_and_not_replaced_makes_the_pool_ill(
    serve: Any, client: redis.Redis, stream_name: str, port: int
) -> None:
    """An entry in hand for longer than handler_timeout is named, if the supervisor does not see to it."""
    pool = serve(workers=1, handler_timeout=1, max_deliveries=1)
    pool.terminate(signal.SIGSTOP)
    try:
        add_logins(client, stream_name, 1, "hang")
        wait_until(lambda: is_ill(port), what="it is ill")
        ((entry_id, _),) = client.xrange(stream_name)
        assert f"worker 0 has had entry {entry_id.decode()} in hand for" in is_ill(port)
    finally:
        pool.terminate(signal.SIGCONT)

    wait_until(lambda: not is_ill(port), what="it is well again")


def test_workers_that_die_again_and_again_make_the_pool_ill(
    serve: Any, client: redis.Redis, stream_name: str, port: int
) -> None:
    """A crash loop is named with its cause, and is over when something is handled."""
    pool = serve(workers=1, max_deliveries=4)
    add_logins(client, stream_name, 1, "exit:3")
    add_logins(client, stream_name, 1)

    wait_until(lambda: is_ill(port), what="it is ill")

    assert "handled nothing in between, last cause: exit status 3" in is_ill(port) or pool.handled()
    pool.wait_handled(1)
    wait_until(lambda: not is_ill(port), what="it is well again")
    assert value(port, "worker_restarts_total", "exit status 3") == 4


def test_a_port_that_is_taken_holds_nobody_up(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A pool whose port somebody else has works as ever and says so once; when it is free the pool answers there."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        pool = consume(workers=1, monitor_port=port).wait_running(1)
        wait_until(lambda: "cannot answer to HTTP" in pool.log, what="it is said")
        pool.wait_handled(len(add_logins(client, stream_name, 5)))
    wait_until(lambda: answered(port, "/healthz"), what="it answers")

    assert pool.log.count("cannot answer to HTTP") == 1
    assert value(port, "events_handled_total", LOGIN) == 5


def test_a_consumer_without_workers_does_not_answer_and_says_so(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """The setting of a port does not keep a consumer without workers from its work; the log says that it has no use."""
    port = free_port()
    consumer = consume(settings={"EVENT_BUS_REDIS_CONSUMER_MONITOR_PORT": port}).wait_running(1)

    consumer.wait_handled(len(add_logins(client, stream_name, 3)))

    assert f"Nobody answers to HTTP on port {port}: only a pool has a monitor" in consumer.log
    assert answered(port, "/healthz") is None


def test_nobody_listens_without_a_port(consume: Any) -> None:
    """Without monitor_port no process of a pool listens anywhere."""
    pool = consume(workers=1).wait_running(1)

    for process in (psutil.Process(pool.process.pid), *pool.children()):
        assert not [each for each in connections_of(process) if each.status == psutil.CONN_LISTEN]
    assert "its monitor failed" not in pool.log
