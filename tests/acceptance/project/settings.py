"""Django settings of a small service: the least that an event bus needs, and what a test adds."""

import json
import os

SECRET_KEY = "only-for-tests"
USE_TZ = True
INSTALLED_APPS = ["openedx_events", "edx_event_bus_redis", "recorder"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
OPENEDX_TELEMETRY = []

EVENT_BUS_PRODUCER = "edx_event_bus_redis.create_producer"
EVENT_BUS_CONSUMER = "edx_event_bus_redis.RedisEventConsumer"
# Whole seconds, as the published package needs them.
EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT = 1

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
}

globals().update(json.loads(os.environ.get("PROJECT_SETTINGS", "{}")))
