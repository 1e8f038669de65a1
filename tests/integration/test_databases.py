"""Every Django database is usable again after its server dropped the connection."""

import os
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.events import add_logins
from tests.support.waiting import wait_until

ALIASES = pytest.mark.parametrize("alias", ["default", "other"])


@ALIASES
@pytest.mark.parametrize("workers", [None, 1])
def test_a_dropped_connection_costs_no_event(
    consume: Any, client: redis.Redis, stream_name: str, tmp_path: Path, alias: str, workers: int | None
) -> None:
    """Before each event the connections that do not work any more are replaced, whatever their alias."""
    database = {"ENGINE": "tests.support.droppable", "NAME": str(tmp_path / "database")}
    settings = {"DATABASES": {"default": database, "other": database}}
    consumer = consume(settings=settings, workers=workers).wait_running()
    for order in ("query", "drop", "query"):
        add_logins(client, stream_name, 1, f"{order}:{alias}")

    consumer.wait_handled(3)

    assert "Error" not in consumer.log


@pytest.fixture
def postgresql() -> Any:
    psycopg = pytest.importorskip("psycopg")
    dsn = os.environ.get("TEST_POSTGRESQL", "host=127.0.0.1 dbname=test user=postgres connect_timeout=2")
    try:
        connection = psycopg.connect(dsn, autocommit=True)
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL server: {error}")
    with connection:
        yield connection


@ALIASES
def test_a_session_that_postgresql_ended_costs_no_event(
    consume: Any, client: redis.Redis, stream_name: str, alias: str, prefix: str, postgresql: Any
) -> None:
    """The same on a PostgreSQL server that terminates the consumer's sessions; skipped where there is none."""
    info = postgresql.info
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": info.host,
        "PORT": info.port,
        "NAME": info.dbname,
        "USER": info.user,
        "OPTIONS": {"application_name": prefix},
    }
    consumer = consume(settings={"DATABASES": {"default": database, "other": database}}).wait_running()
    add_logins(client, stream_name, 1, f"query:{alias}")
    consumer.wait_handled(1)
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
    assert len(postgresql.execute(ended, [prefix]).fetchall()) == 1
    alive = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
    wait_until(lambda: postgresql.execute(alive, [prefix]).fetchone() == (0,), what="the session has ended")

    add_logins(client, stream_name, 1, f"query:{alias}")
    consumer.wait_handled(2)

    assert "Error" not in consumer.log


def test_an_event_waits_for_a_database_that_is_away(
    consume: Any, client: redis.Redis, stream_name: str, prefix: str, postgresql: Any
) -> None:
    """While the default database cannot be reached no event is begun, a stop is prompt, and nothing is lost."""
    info = postgresql.info
    user = f"u_{prefix}"
    postgresql.execute(f"CREATE ROLE {user} LOGIN")
    try:
        database = {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": info.host,
            "PORT": info.port,
            "NAME": info.dbname,
            "USER": user,
        }
        consumer = consume(settings={"DATABASES": {"default": database}}).wait_running()
        add_logins(client, stream_name, 1, "query:default")
        consumer.wait_handled(1)
        postgresql.execute(f"ALTER ROLE {user} NOLOGIN")
        postgresql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [user])
        add_logins(client, stream_name, 3, "query:default")
        wait_until(lambda: "is not permitted to log in" in consumer.log, what="the database refuses")
        assert len(consumer.begun()) == 1
        assert consumer.stop() == 0
        assert client.xpending(stream_name, "group")["pending"] > 0

        postgresql.execute(f"ALTER ROLE {user} LOGIN")

        again = consume(settings={"DATABASES": {"default": database}}, check_backlog=True)
        again.wait_handled(4)
        assert again.stop() == 0
        assert len(again.begun()) == 4
    finally:
        postgresql.execute(f"DROP ROLE {user}")
