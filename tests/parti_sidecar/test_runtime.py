"""Supervision of tasks, the probe of the event loop, the clocks."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator

import pytest

from parti_sidecar import clocks
from parti_sidecar.runtime import (
    LAG_WINDOW_PROBES,
    LoopLagProbe,
    Supervisor,
    TaskFailedError,
    run,
    settle_memory,
)


async def fail(words: str) -> None:
    raise ValueError(words)


async def test_the_first_failure_is_the_reason() -> None:
    supervisor = Supervisor()
    supervisor.spawn(fail("first"), "one")
    supervisor.spawn(fail("second"), "two")
    with pytest.raises(TaskFailedError, match="task 'one' failed: ValueError: first") as caught:
        async with asyncio.timeout(5):
            await supervisor.failed
    assert isinstance(caught.value.__cause__, ValueError)


async def test_tasks_that_end_or_are_cancelled_are_no_failure() -> None:
    supervisor = Supervisor()
    ended = supervisor.spawn(asyncio.sleep(0), "ends")
    cancelled = supervisor.spawn(asyncio.sleep(1000), "cancelled")
    await ended
    await supervisor.cancel_all()
    assert cancelled.cancelled()
    assert not supervisor.failed.done()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_others_may_report_a_failure() -> None:
    supervisor = Supervisor()
    supervisor.fail(OSError("disk"))
    supervisor.fail(OSError("later"))
    with pytest.raises(OSError, match="disk"):
        await supervisor.failed


def test_the_probe_keeps_the_worst_of_its_window() -> None:
    probe = LoopLagProbe()
    probe.record(50.0)
    for _ in range(LAG_WINDOW_PROBES - 1):
        probe.record(1.0)
    assert (probe.worst_recent_ms, probe.last_ms) == (50.0, 1.0)
    probe.record(1.0)
    assert probe.worst_recent_ms == 1.0
    assert probe.lag_ms_total == 50.0 + LAG_WINDOW_PROBES


def test_the_probe_sees_a_blocked_loop() -> None:
    probe = LoopLagProbe()

    async def block() -> None:
        probing = asyncio.create_task(probe.run())
        await asyncio.sleep(0)
        time.sleep(0.2)  # noqa: ASYNC251 - blocking the loop is the point
        async with asyncio.timeout(5):
            while not probe.probes:  # noqa: ASYNC110 - until the probe has run
                await asyncio.sleep(0.01)
        probing.cancel()

    run(block())
    assert probe.worst_recent_ms > 50


@pytest.fixture
def _thawed() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("_thawed")
def test_what_lives_at_the_start_is_not_collected_again() -> None:
    settle_memory()
    assert gc.get_freeze_count() > 1000
    assert gc.get_threshold()[0] == 50_000


def test_the_lease_clock_counts_suspended_time_where_it_can() -> None:
    expected = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    assert expected == clocks.LEASE_CLOCK_ID
    before = time.clock_gettime(expected) * 1000
    assert before - 1 <= clocks.lease_clock_ms() <= time.clock_gettime(expected) * 1000


def test_the_wall_clock_is_unix_time() -> None:
    assert abs(clocks.wall_clock_unix_ms() - time.time() * 1000) < 1000
