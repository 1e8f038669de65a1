"""Workers that die one after the other do not flood the log."""

import logging

import pytest

from edx_event_bus_redis.internal import crash_loop
from edx_event_bus_redis.internal.crash_loop import INTERVAL, MOST, PERIOD, CrashLoop, Unsaid
from edx_event_bus_redis.internal.pool_log import PoolLog
from pool import Cause, Stopping, WorkerDied, WorkerStarted


def test_single_deaths_are_said() -> None:
    """So many in the period are said, each with its replacement, and as many again when the period is over."""
    loop = CrashLoop()

    for round_ in range(3):
        for number in range(MOST):
            assert loop.is_worth_saying(number % 4, "SIGKILL", 1.1 * round_ * PERIOD + number / MOST)
            assert loop.replacement_is_worth_saying(number % 4)
    assert loop.unsaid(3 * PERIOD, all_of_it=True) is None


def test_a_flood_is_summed_up() -> None:
    """Further ones are counted, and summed up after the interval; their replacements are not said."""
    loop = CrashLoop()
    for _ in range(MOST):
        loop.is_worth_saying(0, "SIGKILL", 0.0)

    assert not loop.is_worth_saying(1, "exit status 3", 1.0)
    assert not loop.is_worth_saying(1, "exit status 4", 2.0)

    assert not loop.replacement_is_worth_saying(1)
    assert loop.replacement_is_worth_saying(0)
    assert loop.unsaid(1.0 + INTERVAL / 2) is None
    assert loop.unsaid(1.0 + INTERVAL) == Unsaid(2, INTERVAL, "exit status 4")
    assert loop.unsaid(1.0 + 2 * INTERVAL) is None
    assert loop.is_worth_saying(1, "SIGKILL", PERIOD)
    assert loop.replacement_is_worth_saying(1)


def test_a_pool_in_a_crash_loop_says_little(caplog: pytest.LogCaptureFixture) -> None:
    """A hundred deaths are some twenty pairs of lines and one that sums up, at the latest when the pool stops."""
    caplog.set_level(logging.INFO)
    log = PoolLog("c1").log

    for pid in range(100):
        log(WorkerDied(0, pid, Cause(-9), None, 0.0, 0.0))
        log(WorkerStarted(0, pid + 1, pid))
    log(Stopping("SIGTERM", 30.0))

    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2 * MOST + 2
    assert lines[-2].startswith("Pool c1: 80 more workers died and were replaced in the last 0 s, the last of: SIGKILL")


def test_a_shard_that_comes_back_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """A worker that replaces nobody is said, though the last one in its shard died unsaid, and so is who gives way."""
    caplog.set_level(logging.INFO)
    log = PoolLog("c1")
    for pid in range(MOST + 1):
        log.log(WorkerDied(0, pid, Cause(-9), None, 0.0, 0.0))
    assert log.is_quiet_about(0)

    log.log(WorkerStarted(0, 77, None))
    log.log(WorkerStarted(0, 78, 77, "SIGHUP"))

    assert [record.__dict__["pid"] for record in caplog.records[-2:]] == [77, 78]


def test_a_crash_loop_that_calms_down_is_summed_up(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing else happens in the pool, the last deaths are said once the interval is over, and said once."""
    log = PoolLog("c1")
    for pid in range(MOST + 3):
        log.log(WorkerDied(0, pid, Cause(-9), None, 0.0, 0.0))
    said = len(caplog.records)

    log.keep_time()
    assert len(caplog.records) == said
    monkeypatch.setattr(crash_loop, "INTERVAL", 0.0)
    log.keep_time()
    log.keep_time()

    (line,) = caplog.records[said:]
    assert line.getMessage().startswith("Pool c1: 3 more workers died and were replaced in the last 0 s")
