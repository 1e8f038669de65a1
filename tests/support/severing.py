"""A way to a server that breaks when a test says so, between two replies."""

from __future__ import annotations

import socket
import threading


class SeverableWay:
    """
    A port on the loopback interface that leads to a server.

    Arguments:
        server_port: where the server listens, on the same interface.

    Attributes:
        port: where to connect.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._left: int | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def sever_after(self, lines: int) -> None:
        """Let the next so many lines of replies pass, and then break the connection. New ones work."""
        self._left = lines

    def close(self) -> None:
        """Accept no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._server_port))
            threading.Thread(target=self._pass_commands, args=(near, far), daemon=True).start()
            threading.Thread(target=self._pass_replies, args=(near, far), daemon=True).start()

    def _pass_commands(self, near: socket.socket, far: socket.socket) -> None:
        try:
            while data := near.recv(65536):
                far.sendall(data)
        except OSError:
            return

    def _pass_replies(self, near: socket.socket, far: socket.socket) -> None:
        with far, far.makefile("rb") as replies:
            while self._left != 0 and (line := replies.readline()):
                if self._left is not None:
                    self._left -= 1
                near.sendall(line)
            self._left = None
        # Closing alone does nothing while another thread waits on the socket.
        near.shutdown(socket.SHUT_RDWR)
        near.close()
