"""The Django application of the tests: connects the receivers in the processes that a test starts."""

import os

from django.apps import AppConfig


class SupportConfig(AppConfig):
    name = "tests.support"

    def ready(self) -> None:
        if "TEST_RECORD" in os.environ:
            from tests.support import receivers  # noqa: PLC0415 -- needs a loaded app registry

            receivers.connect(os.environ["TEST_RECORD"])
