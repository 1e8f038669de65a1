"""The Django application: makes the management commands known and registers the system checks."""

from django.apps import AppConfig
from django.core import checks


class EdxEventBusRedisConfig(AppConfig):
    """Configuration of the ``edx_event_bus_redis`` application."""

    name = "edx_event_bus_redis"

    def ready(self) -> None:
        """Register the checks of this package's settings."""
        from edx_event_bus_redis.internal.checks import check_settings  # noqa: PLC0415 -- needs a loaded app registry

        checks.register(check_settings)
