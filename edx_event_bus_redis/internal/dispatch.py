"""
From a message to its Django signal.

What receivers fail with is raised, not judged: what becomes of the event ``delivery`` decides.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from openedx_events.tooling import OpenEdxPublicSignal, prepare_for_new_work_cycle

from edx_event_bus_redis.internal.codec import codec_for
from edx_event_bus_redis.internal.errors import ReceiverError, UnusableMessageError
from edx_event_bus_redis.internal.message import Message


def prepare() -> None:
    """
    Bring the application into the state of a new request.

    Raises whatever a database that cannot be reached brings about.
    """
    prepare_for_new_work_cycle()
    # openedx-events asks the server of the default connection whether it still works, and of no other.
    if list(connections) == [DEFAULT_DB_ALIAS]:
        return
    for connection in connections.all(initialized_only=True):
        if connection.alias != DEFAULT_DB_ALIAS and connection.connection is not None and not connection.is_usable():
            connection.close()


def get_ready_to_dispatch() -> None:
    """
    Load what the first event would load: backends of databases, the decoders of signals that have receivers.

    What cannot be loaded is left to the first event, with which the error is told and answered.
    """
    with contextlib.suppress(Exception):
        prepare()
    for signal in OpenEdxPublicSignal.all_events():
        if signal.receivers:
            with contextlib.suppress(Exception):
                codec_for(signal).get_ready_to_decode()


def is_known(event_type: str) -> bool:
    """Return whether this service has a signal of this event type."""
    try:
        OpenEdxPublicSignal.get_signal_by_type(event_type)
    except KeyError:
        return False
    return True


def emit(message: Message) -> None:
    """
    Send the message's signal, with its original metadata, to all receivers.

    Raises:
        UnusableMessageError: the event's type is unknown here, or its data does not fit the type.
        ReceiverError: receivers failed.
    """
    event_type = message.metadata.event_type
    try:
        signal = OpenEdxPublicSignal.get_signal_by_type(event_type)
    except KeyError:
        raise UnusableMessageError(f"event type {event_type!r} is not known to this service") from None
    event_data = _decode(message, signal)
    try:
        results = signal.send_event_with_custom_metadata(message.metadata, **event_data)
    # SystemExit: a receiver that calls sys.exit() means itself, not the consumer. Exception: with DEBUG, or where a
    # signal allows it to fail, openedx-events lets the first receiver's exception through.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        raise ReceiverError(f"{type(error).__name__} was raised when handling signal {signal}", [error]) from None
    _check_results(results, signal)


def _decode(message: Message, signal: OpenEdxPublicSignal) -> dict[str, Any]:
    try:
        return codec_for(signal).decode(message.event_data)
    except Exception as error:  # noqa: BLE001 -- damaged bytes can raise anything
        # The error of a damaged value quotes the value, which may be personal.
        raise UnusableMessageError(
            f"event data does not fit event type {signal.event_type!r} ({type(error).__name__})"
        ) from None


def _check_results(results: Iterable[tuple[Any, Any]], signal: OpenEdxPublicSignal) -> None:
    results = list(results)
    failed = [(receiver, result) for receiver, result in results if isinstance(result, BaseException)]
    if failed:
        # Only the type of an exception: its message may quote the event. Django logs message and traceback.
        described = ", ".join(f"{_name(receiver)}={type(error).__name__}" for receiver, error in failed)
        raise ReceiverError(
            f"{len(failed)} receiver(s) out of {len(results)} produced errors (stack trace elsewhere in logs) "
            f"when handling signal {signal}: {described}",
            [error for _, error in failed],
        )


def _name(receiver: Any) -> str:
    return f"{getattr(receiver, '__module__', '?')}.{getattr(receiver, '__qualname__', type(receiver).__qualname__)}"
