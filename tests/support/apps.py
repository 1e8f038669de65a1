"""The Django application of the tests: connects the receivers in the processes that a test starts."""

import os
import time

from django.apps import AppConfig


class SupportConfig(AppConfig):
    name = "tests.support"

    def ready(self) -> None:
        prepare_process()


def prepare_process() -> None:
    """Do what the environment of a test's process asks for."""
    _put_clock_ahead(float(os.environ.get("TEST_CLOCK_AHEAD", "0")))
    if "TEST_RECORD" in os.environ:
        from tests.support import receivers  # noqa: PLC0415 -- needs a loaded app registry

        receivers.connect(os.environ["TEST_RECORD"])


def _put_clock_ahead(seconds: float) -> None:
    """Make the clock of this process as wrong as that of a host that nobody has set."""
    if seconds:
        right_time = time.time
        time.time = lambda: right_time() + seconds
