"""Django settings for ``manage.py``: a service that has nothing but the event bus, for trials on one machine."""

from devtools.server import connection_url

SECRET_KEY = "only-for-trials-on-one-machine"
DEBUG = False
# Log lines show the time of the clock on the wall of most servers, not that of Chicago, which is the default.
TIME_ZONE = "UTC"
USE_TZ = True

INSTALLED_APPS = [
    "openedx_events",
    "edx_event_bus_redis",
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": ":memory:",
    },
}

EVENT_BUS_REDIS_CONNECTION_URL = connection_url()
# No monitoring system: the default asks for New Relic's agent, and each worker would log that it is not there.
OPENEDX_TELEMETRY: list[str] = []
EVENT_BUS_TOPIC_PREFIX = "dev"
EVENT_BUS_PRODUCER = "edx_event_bus_redis.create_producer"
EVENT_BUS_CONSUMER = "edx_event_bus_redis.RedisEventConsumer"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"},
    },
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line"},
    },
    "root": {"handlers": ["stderr"], "level": "INFO"},
}
