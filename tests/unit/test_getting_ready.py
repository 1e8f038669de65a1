"""What is loaded before the fork, for the workers to share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, connections
from opaque_keys.edx.keys import CourseKey
from openedx_events.learning.signals import COURSE_ENROLLMENT_CREATED, COURSE_UNENROLLMENT_COMPLETED
from openedx_events.tooling import OpenEdxPublicSignal

from edx_event_bus_redis.internal.codec import codec_for
from edx_event_bus_redis.internal.connection_url import connection_options
from edx_event_bus_redis.internal.dispatch import get_ready_to_dispatch
from edx_event_bus_redis.internal.opaque_keys import parsers


@contextmanager
def received(*signals: OpenEdxPublicSignal) -> Iterator[Callable[..., None]]:
    def receive(**_: Any) -> None:
        pass

    for signal in signals:
        signal.connect(receive)
    yield receive
    for signal in signals:
        signal.disconnect(receive)


@pytest.fixture(autouse=True)
def as_in_a_new_process() -> None:
    codec_for.cache_clear()
    parsers.cache_clear()
    with suppress(AttributeError):
        del connections[DEFAULT_DB_ALIAS]


def test_signals_with_receivers_are_compiled() -> None:
    """The decoder of a signal is there before its first event, if anybody receives it, and the kinds of keys are."""
    CourseKey.LOADED_DRIVERS.pop(CourseKey, None)

    with received(COURSE_ENROLLMENT_CREATED):
        get_ready_to_dispatch()

    assert "_decode" in vars(codec_for(COURSE_ENROLLMENT_CREATED))
    assert "_encode" not in vars(codec_for(COURSE_ENROLLMENT_CREATED)), "who consumes seldom produces"
    assert CourseKey in CourseKey.LOADED_DRIVERS
    assert "_decode" not in vars(codec_for(COURSE_UNENROLLMENT_COMPLETED))


def test_the_database_backend_is_loaded_and_not_connected() -> None:
    """The default database's backend is there before the first event; its connection is each worker's own."""
    get_ready_to_dispatch()

    (loaded,) = connections.all(initialized_only=True)
    assert loaded.alias == DEFAULT_DB_ALIAS
    assert loaded.connection is None


class NoSchemaForThis:
    pass


def test_what_cannot_be_loaded_is_left_to_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a broken database nor a signal without a schema keeps a pool from starting, or the rest from loading."""
    broken = OpenEdxPublicSignal("org.example.broken.v1", {"thing": NoSchemaForThis})
    monkeypatch.setitem(connections.settings[DEFAULT_DB_ALIAS], "ENGINE", "no.such.engine")
    try:
        with received(broken, COURSE_ENROLLMENT_CREATED):
            get_ready_to_dispatch()
    finally:
        OpenEdxPublicSignal.instances.remove(broken)
        del OpenEdxPublicSignal._mapping[broken.event_type]

    assert "_decode" in vars(codec_for(COURSE_ENROLLMENT_CREATED))


def test_a_url_is_checked_once() -> None:
    """Whoever asks for the options of a URL again gets the same ones, to do with as he likes."""
    first = connection_options("redis://:password@localhost:6379/3")
    first["db"] = 4

    assert connection_options("redis://:password@localhost:6379/3")["db"] == 3
