"""Django settings of the tests: those of the development tools, and what the environment of a test's process adds."""

import json
import os

from devtools.settings import *  # noqa: F403 -- these are those settings, with a few more

INSTALLED_APPS = [*INSTALLED_APPS, "tests.support"]  # noqa: F405 -- as above

# A server that is not there: each test names its own.
EVENT_BUS_REDIS_CONNECTION_URL = "redis://127.0.0.1:1/"
EVENT_BUS_REDIS_CONSUMER_POLL_FAILURE_SLEEP = 0.05

globals().update(json.loads(os.environ.get("TEST_SETTINGS", "{}")))
