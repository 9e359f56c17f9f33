"""The process around the event loop: its set-up, its supervision, the health of the loop.

A sidecar that goes on after one of its tasks died would hold leases without serving. So every
task is started by the `Supervisor`: the first exception that leaves a task becomes the reason of
the process's end. Nothing is restarted inside; the process is the unit of restart.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

Result = TypeVar("Result")

LOOP_PROBE_EVERY_MS = 100
LAG_WINDOW_PROBES = 100  # the worst lag reported is that of about the last ten seconds
_GC_THRESHOLDS = (50_000, 20, 100)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run the process on the fast event loop to its end."""
    uvloop.run(main)


def settle_memory() -> None:
    """Call once after start: what lives now lives for ever, so no collection looks at it again.

    A full collection would stop the loop for longer than a heartbeat on a large table.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


class TaskFailedError(Exception):
    """A supervised task ended by an exception (its `__cause__`)."""

    def __init__(self, task_name: str, reason: BaseException) -> None:
        super().__init__(f"task {task_name!r} failed: {type(reason).__name__}: {reason}")
        self.task_name = task_name


class Supervisor:
    """Starts the tasks of the process; the first failure completes `failed` with its reason.

    Belongs to one running loop. `failed` never gives a value: it is waited for beside whatever
    else may end the process.
    """

    def __init__(self) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, coro: Coroutine[Any, Any, Result], name: str) -> asyncio.Task[Result]:
        task = asyncio.create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def fail(self, reason: BaseException) -> None:
        """End the process for this reason; the first one counts."""
        if not self.failed.done():
            self.failed.set_exception(reason)
            # Whoever waits for it reports it; at exit it may be that nobody waits any more.
            self.failed.exception()

    async def cancel_all(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        reason = task.exception()
        if reason is not None:
            failure = TaskFailedError(task.get_name(), reason)
            failure.__cause__ = reason
            self.fail(failure)


class LoopLagProbe:
    """How late the event loop wakes a task that sleeps: what every message waits on top."""

    def __init__(self) -> None:
        self.last_ms = 0.0
        self.probes = 0
        self.lag_ms_total = 0.0
        self._recent = [0.0] * LAG_WINDOW_PROBES

    @property
    def worst_recent_ms(self) -> float:
        return max(self._recent)

    def record(self, lag_ms: float) -> None:
        self.last_ms = lag_ms
        self.lag_ms_total += lag_ms
        self._recent[self.probes % LAG_WINDOW_PROBES] = lag_ms
        self.probes += 1

    async def run(self) -> None:
        """Probe for ever; a task for the supervisor."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOP_PROBE_EVERY_MS / 1000
            await asyncio.sleep(LOOP_PROBE_EVERY_MS / 1000)
            self.record(max(0.0, (loop.time() - due) * 1000))
