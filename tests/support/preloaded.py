"""Loads what the commands of ``manage.py`` load, in the process from which those of ``forked.py`` are forked."""

import importlib
import pkgutil

import django
from openedx_events.management.commands import consume_events  # noqa: F401 -- loaded for the processes to come

import edx_event_bus_redis

django.setup()
for module in pkgutil.walk_packages(edx_event_bus_redis.__path__, "edx_event_bus_redis."):
    importlib.import_module(module.name)
