"""
Django settings of a bare service: what an event bus needs, and what a scenario adds.

``PERF_SETTINGS`` in the environment is a JSON object of further settings. With ``PERF_LOG`` the log goes to that file,
from level INFO and in a format like that of Open edX services; without it only warnings are logged, to standard error.
"""

import json
import os

SECRET_KEY = "only-for-measuring"  # noqa: S105 -- protects nothing
USE_TZ = True
INSTALLED_APPS = ["openedx_events", "edx_event_bus_redis", "handlers"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}

EVENT_BUS_PRODUCER = "edx_event_bus_redis.create_producer"
EVENT_BUS_CONSUMER = "edx_event_bus_redis.RedisEventConsumer"

_LINE = "%(asctime)s %(levelname)s %(process)d [%(name)s] %(filename)s:%(lineno)d - %(message)s"
_LOG = os.environ.get("PERF_LOG")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": _LINE}},
    "handlers": {
        "log": {"class": "logging.FileHandler", "filename": _LOG, "formatter": "line"}
        if _LOG
        else {"class": "logging.StreamHandler", "formatter": "line"}
    },
    "root": {"handlers": ["log"], "level": "INFO" if _LOG else "WARNING"},
}

globals().update(json.loads(os.environ.get("PERF_SETTINGS", "{}")))
