"""
Django settings of the demo: of the process that sends and of the consumer that it starts.

What differs from run to run, and between the two, comes from the demo through the environment.
"""

from devtools.demo.events import KINDS
from devtools.demo.surroundings import TOPIC, Surroundings

_given = Surroundings.from_environment()

SECRET_KEY = "only-for-the-demo"
USE_TZ = True
TIME_ZONE = "UTC"

INSTALLED_APPS = [
    "openedx_events",
    "edx_event_bus_redis",
    "devtools.demo.receivers.DemoReceivers",
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": ":memory:",
    },
}

EVENT_BUS_REDIS_CONNECTION_URL = _given.url
EVENT_BUS_TOPIC_PREFIX = _given.prefix
EVENT_BUS_PRODUCER = "edx_event_bus_redis.create_producer"
EVENT_BUS_CONSUMER = "edx_event_bus_redis.RedisEventConsumer"

# No monitoring system: a default of edx-django-utils is one that is not installed, and it says so.
OPENEDX_TELEMETRY: list[str] = []

# Far more than the demo sends: nothing is trimmed before it is handled.
EVENT_BUS_REDIS_STREAM_MAX_LEN = 100_000

EVENT_BUS_PRODUCER_CONFIG = {
    signal.event_type: {TOPIC: {"event_key_field": next(iter(signal.init_data)), "enabled": True}}
    for signal, _ in KINDS
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"},
    },
    "handlers": {
        "file": {"class": "logging.FileHandler", "filename": str(_given.log), "formatter": "line"},
    },
    "loggers": {
        # It says for every event which receivers there are.
        "openedx_events": {"level": "WARNING"},
    },
    # The sender's part is of interest when something fails, the consumer's also tells of the pool.
    "root": {"handlers": ["file"], "level": "INFO" if _given.consumes else "WARNING"},
}
