"""A Django application that writes down what the event bus does in a process."""

import json
import os


def write(variable: str, line: dict) -> None:
    """Append a line to the file that an environment variable names; several processes may share it."""
    # One write to a file opened for appending is atomic.
    descriptor = os.open(os.environ[variable], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{json.dumps(line)}\n".encode())
    finally:
        os.close(descriptor)
