"""What a pool reports."""

import signal

import pytest

from pool import EXIT_TOO_MANY_ERRORS, Cause, Memory


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (Cause(0), "exit status 0"),
        (Cause(3), "exit status 3"),
        (Cause(255), "exit status 255"),
        (Cause(-signal.SIGKILL), "SIGKILL"),
        (Cause(-signal.SIGSEGV), "SIGSEGV"),
        (Cause(-(signal.SIGRTMIN + 3)), f"signal {signal.SIGRTMIN + 3}"),
        (Cause(EXIT_TOO_MANY_ERRORS, too_many_errors=True), "too many consecutive errors"),
        (Cause(-signal.SIGKILL, timed_out_after=2.04), "timed out after 2.0 s"),
        (Cause(-signal.SIGKILL, silent_for=6.31), "no sign of life for 6.3 s"),
        (Cause(-signal.SIGKILL, overstayed=30.02), "not done within 30.0 s"),
        (
            Cause(-signal.SIGKILL, memory=Memory(1300 * 2**20, 512 * 2**20)),
            "1300 MiB of memory, more than twice the 512 MiB it may have",
        ),
    ],
)
def test_a_cause_of_death_reads_as_an_operator_would_say_it(cause: Cause, text: str) -> None:
    """Signals have their names, real-time signals, which have none, their numbers, and exits their statuses."""
    assert str(cause) == text
