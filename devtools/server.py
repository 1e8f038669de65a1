"""
The server for local trials: ``python -m devtools.server up|down|status|shell``.

``up`` uses Docker Compose where Docker runs, and else a server of our own in the background, on the same port and with
the same password. ``REDIS_PORT`` chooses the port. With ``EVENT_BUS_REDIS_CONNECTION_URL`` in the environment a server
is there already: ``up`` and ``down`` leave it alone and ``shell`` connects to it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import redis

from devtools import CHECKOUT, RUN_DIRECTORY
from devtools.embedded import EmbeddedServer, PortTakenError, ServerError, is_port_taken
from devtools.prompt import talk
from devtools.recorded import RecordedProcess
from edx_event_bus_redis.internal.connection_url import redacted

__all__ = ["EmbeddedServer", "PortTakenError", "ServerError", "connection_url", "main"]

URL_VARIABLE = "EVENT_BUS_REDIS_CONNECTION_URL"
PORT_VARIABLE = "REDIS_PORT"
DEFAULT_PORT = 6379
PASSWORD = "password"

SERVER_DIRECTORY = RUN_DIRECTORY / "server"
SERVER_RECORD = RUN_DIRECTORY / "server.json"
COMPOSE_RECORD = RUN_DIRECTORY / "compose-port"

DOCKER_SECONDS = 10
COMPOSE_SECONDS = 300
STOP_SECONDS = 10.0


def connection_url() -> str:
    """
    Return the URL of the server that local trials use.

    The first of: ``EVENT_BUS_REDIS_CONNECTION_URL``; the port in ``REDIS_PORT``; the port of the server that ``up``
    started; the default port.
    """
    external = os.environ.get(URL_VARIABLE)
    return external or f"redis://:{PASSWORD}@localhost:{_asked_port() or _recorded_port() or DEFAULT_PORT}/"


def _asked_port() -> int | None:
    text = os.environ.get(PORT_VARIABLE, "")
    if not text:
        return None
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise ServerError(f"{PORT_VARIABLE}={text} is no port number")
    return int(text)


def _recorded_port() -> int | None:
    record = RecordedProcess.read(SERVER_RECORD)
    if record is not None and record.process() is not None:
        return int(record.about["port"])
    if COMPOSE_RECORD.exists():
        return int(COMPOSE_RECORD.read_text(encoding="utf-8"))
    return None


def _is_docker_answering() -> bool:
    try:
        answer = subprocess.run(
            ["docker", "compose", "version"], capture_output=True, check=False, timeout=DOCKER_SECONDS
        )
        if answer.returncode != 0:
            return False
        # The client's own version is known without a daemon; the server's is not.
        daemon = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            check=False,
            timeout=DOCKER_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return daemon.returncode == 0


def _compose(*arguments: str, port: int) -> None:
    command = ["docker", "compose", "--file", str(CHECKOUT / "docker-compose.yml"), *arguments]
    environment = {**os.environ, PORT_VARIABLE: str(port)}
    if subprocess.run(command, env=environment, check=False, timeout=COMPOSE_SECONDS).returncode != 0:
        raise ServerError(f"{' '.join(command)} failed")


def up() -> None:
    """Start the server unless it is up."""
    if os.environ.get(URL_VARIABLE):
        print(f"{URL_VARIABLE} is set: using the server at {redacted(connection_url())}")
        return
    asked, recorded = _asked_port(), _recorded_port()
    if recorded is not None:
        if asked not in (None, recorded):
            raise ServerError(f"a server is up on port {recorded} already; stop it first: make redis-down")
        print(f"already up on port {recorded}")
        return
    port = asked or DEFAULT_PORT
    if is_port_taken(port):
        raise PortTakenError(port)
    RUN_DIRECTORY.mkdir(exist_ok=True)
    if _is_docker_answering():
        _compose("up", "--detach", "--wait", port=port)
        COMPOSE_RECORD.write_text(str(port), encoding="utf-8")
        print(f"up in Docker on port {port}, password: {PASSWORD}")
        return
    server = EmbeddedServer(port, password=PASSWORD, directory=SERVER_DIRECTORY, dies_with_parent=False)
    server.start()
    RecordedProcess.of(server.pid, port=str(port)).write(SERVER_RECORD)
    print(f"up on port {port}, password: {PASSWORD} (process {server.pid}, log {_from_here(server.log_path)})")


def down() -> None:
    """Stop the server that :func:`up` started, and no other."""
    if os.environ.get(URL_VARIABLE):
        print(f"{URL_VARIABLE} is set: that server is not ours to stop")
        return
    if COMPOSE_RECORD.exists():
        _compose("down", port=int(COMPOSE_RECORD.read_text(encoding="utf-8")))
        COMPOSE_RECORD.unlink()
        print("stopped")
        return
    record = RecordedProcess.read(SERVER_RECORD)
    if record is None or record.process() is None:
        SERVER_RECORD.unlink(missing_ok=True)
        print("no server of ours is up")
        return
    record.terminate()
    if not record.is_gone_within(STOP_SECONDS):
        raise ServerError(f"process {record.pid} did not stop within {STOP_SECONDS:.0f} seconds")
    SERVER_RECORD.unlink(missing_ok=True)
    print("stopped")


def status() -> bool:
    """Say whether a server is up and where; return whether it answers."""
    url = connection_url()
    client = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
    began = time.monotonic()
    try:
        client.ping()
    except redis.RedisError as error:
        print(f"{redacted(url)} does not answer: {error}")
        return False
    finally:
        client.close()
    print(f"{redacted(url)} answers after {(time.monotonic() - began) * 1000:.0f} ms")
    return True


def shell() -> int:
    """Talk to the server, with ``valkey-cli`` or ``redis-cli`` where there is one; return the exit status."""
    url = urlsplit(connection_url())
    program = shutil.which("valkey-cli") or shutil.which("redis-cli")
    if program is not None and url.scheme == "redis" and not url.query:
        if url.password:
            # In the environment, not among the arguments, where every user of the machine could read it.
            os.environ["REDISCLI_AUTH"] = url.password
        arguments = ["-h", url.hostname or "localhost", "-p", str(url.port or DEFAULT_PORT)]
        arguments += ["-n", url.path.strip("/") or "0", *(["--user", url.username] if url.username else [])]
        os.execv(program, [program, *arguments])
    return talk(connection_url(), sys.stdin)


def _from_here(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def main() -> int:
    """Run the command that the command line names; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m devtools.server", description="The server for local trials.")
    parser.add_argument("command", choices=["up", "down", "status", "shell"])
    command = parser.parse_args().command
    try:
        if command == "up":
            up()
        elif command == "down":
            down()
        elif command == "status":
            return 0 if status() else 1
        else:
            return shell()
    except PortTakenError as error:
        print(f"{error}; choose another one: {PORT_VARIABLE}={error.port + 1} make redis-up", file=sys.stderr)
        return 1
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
