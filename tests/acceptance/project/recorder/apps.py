"""Connects a receiver to every signal, in the processes that are told where to write."""

import os
import time
from pathlib import Path

from django.apps import AppConfig
from examples import described, event_types, signal_of

import edx_event_bus_redis
from recorder import write


class RecorderConfig(AppConfig):
    """The application."""

    name = "recorder"

    def ready(self) -> None:
        """Connect the receiver."""
        if "PROJECT_RECORD" in os.environ:
            for event_type in event_types():
                signal_of(event_type).connect(receive, weak=False)


def receive(signal, metadata, **data) -> None:
    """Do what the event's username says, then write the event down."""
    order, _, argument = getattr(getattr(data.get("user"), "pii", None), "username", "").partition(":")
    if order == "raise":
        raise ValueError(argument)
    if order == "wait":
        write("PROJECT_WAITING", {"id": str(metadata.id)})
        while Path(argument).exists():
            time.sleep(0.01)
    if order == "sleep":
        time.sleep(float(argument))
    write(
        "PROJECT_RECORD",
        {
            "package": [edx_event_bus_redis.__version__, edx_event_bus_redis.__file__],
            "pid": os.getpid(),
            "metadata": described(metadata),
            "data": described({name: data[name] for name in signal.init_data}),
        },
    )
