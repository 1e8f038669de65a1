"""A prompt for Redis commands, for machines that have neither ``valkey-cli`` nor ``redis-cli``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from typing import TextIO

import redis


def talk(url: str, lines: TextIO) -> int:
    """
    Send the commands that ``lines`` holds, one per line, to the server at ``url`` and print its replies.

    Shows a prompt when ``lines`` is a terminal. Ends at the end of input, at ``quit`` or at ``exit``.

    Returns:
        The exit status: 0, or 1 when the server could not be reached.
    """
    interactive = lines.isatty()
    # One connection, so that SELECT and MULTI hold for the commands after them.
    client = redis.Redis.from_url(url, single_connection_client=True, decode_responses=True, encoding_errors="replace")
    # A prompt shows what the server said, not what the client library makes of it.
    client.response_callbacks.clear()
    prompt = f"{client.connection_pool.connection_kwargs.get('host', 'redis')}> "
    while True:
        if interactive:
            print(prompt, end="", flush=True)
        line = lines.readline()
        if not line:
            return 0
        try:
            words = shlex.split(line)
        except ValueError as error:
            print(f"(error) {error}")
            continue
        if not words:
            continue
        if words[0].lower() in {"quit", "exit"}:
            return 0
        try:
            reply = client.execute_command(*words)
        except redis.ConnectionError as error:
            print(error, file=sys.stderr)
            return 1
        except redis.RedisError as error:
            print(f"(error) {error}")
            continue
        print("\n".join(shown(reply)))


def shown(reply: object) -> Iterator[str]:
    """Yield the lines in which ``reply`` is printed, members of lists numbered and indented."""
    if isinstance(reply, dict):
        reply = [member for pair in reply.items() for member in pair]
    if isinstance(reply, (list, tuple, set, frozenset)):
        if not reply:
            yield "(empty)"
        for number, member in enumerate(reply, 1):
            label = f"{number}) "
            for index, line in enumerate(shown(member)):
                yield (label if index == 0 else " " * len(label)) + line
    elif reply is None:
        yield "(nil)"
    elif isinstance(reply, (bool, int, float)):
        yield f"({type(reply).__name__}) {reply}"
    else:
        yield str(reply)
