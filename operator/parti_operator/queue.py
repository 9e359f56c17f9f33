"""A work queue of keys: every key is worked on by at most one run at a time, and never forgotten.

Level-triggered reconciliation needs no payload in its queue, only "look at this again": events of
any number become one run. The contract:

- one run of a key at a time, `concurrency` runs in all;
- `add` while the key runs makes exactly one further run afterwards, however often it is called;
- two runs of one key begin at least `pace_ms` apart, so that no storm of events (its own writes
  echo as events, too) can make a hot loop;
- a run that fails comes again after a growing, jittered pause; `add` does not shorten it below
  `pace_failed_ms`, and success forgets it;
- a run may ask to be repeated after some time; an earlier `add` wins;
- `drain` starts nothing more and gives running work a bounded time to end.

It waits for exactly one thing at a time: the next key that is due, or room for another run.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

# What a run gives: milliseconds until it wants to be repeated, or None.
RequeueMs = int | None
_SLACK_S = 0.001  # timers may fire a little early


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How fast and how much at once."""

    concurrency: int = 16
    pace_ms: int = 200
    pace_failed_ms: int = 2_000
    backoff_first_ms: int = 500
    backoff_max_ms: int = 60_000


@dataclass(slots=True)
class QueueStats:
    """What the queue has counted."""

    added: int = 0
    runs: int = 0
    failures: int = 0


class WorkQueue(Generic[Key]):
    """Belongs to one running loop; `run` is its dispatcher."""

    def __init__(
        self,
        work: Callable[[Key], Awaitable[RequeueMs]],
        *,
        limits: QueueLimits,
        jitter: Callable[[], float],  # 0.0 <= jitter < 1.0
    ) -> None:
        self.stats = QueueStats()
        self._work = work
        self._limits = limits
        self._jitter = jitter
        self._due_s: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._sequence = 0
        self._running: dict[Key, float] = {}  # since when
        self._again: dict[Key, float] = {}  # runs now; due once more at
        self._last_start_s: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._draining = False

    @property
    def depth(self) -> int:
        """Keys that are due now and wait for room."""
        now_s = _now_s()
        return sum(1 for due_s in self._due_s.values() if due_s <= now_s)

    @property
    def running(self) -> int:
        return len(self._running)

    def longest_running_ms(self) -> int:
        """For how long the oldest run has been going on; 0 if none is."""
        if not self._running:
            return 0
        return round((_now_s() - min(self._running.values())) * 1000)

    def failures_of(self, key: Key) -> int:
        """How many runs of the key have failed since the last one that did not."""
        return self._failures.get(key, 0)

    def add(self, key: Key, after_ms: int = 0) -> None:
        """Look at the key once more, after this time at the latest."""
        assert after_ms >= 0, after_ms
        self.stats.added += 1
        self._schedule(key, _now_s() + after_ms / 1000)

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a key that is gone; a run that goes on ends by itself."""
        for memory in (self._due_s, self._again, self._last_start_s, self._failures):
            memory.pop(key, None)

    async def run(self) -> None:
        """Start runs as they become due, until `drain`."""
        while not self._draining:
            self._start_due()
            await self._wait()

    async def drain(self, timeout_ms: int) -> bool:
        """Start nothing more; whether all runs ended by themselves within the time."""
        self._draining = True
        self._changed.set()
        if not self._tasks:
            return True
        _, late = await asyncio.wait(self._tasks, timeout=timeout_ms / 1000)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return not late

    def _schedule(self, key: Key, due_s: float) -> None:
        if key in self._running:
            self._again[key] = min(due_s, self._again.get(key, due_s))
            return
        started_s = self._last_start_s.get(key)
        if started_s is not None:
            due_s = max(due_s, started_s + self._pace_ms(key) / 1000)
        if self._due_s.get(key, due_s + 1) <= due_s:
            return
        self._due_s[key] = due_s
        self._sequence += 1
        heapq.heappush(self._heap, (due_s, self._sequence, key))
        self._changed.set()

    def _start_due(self) -> None:
        now_s = _now_s()
        while self._heap and len(self._running) < self._limits.concurrency:
            due_s, _, key = self._heap[0]
            if self._due_s.get(key) != due_s:
                heapq.heappop(self._heap)  # it was forgotten, or is due earlier
                continue
            if due_s > now_s + _SLACK_S:
                return
            heapq.heappop(self._heap)
            del self._due_s[key]
            self._start(key, now_s)

    def _start(self, key: Key, now_s: float) -> None:
        self.stats.runs += 1
        self._running[key] = now_s
        self._last_start_s[key] = now_s
        task = asyncio.create_task(self._run_one(key), name=f"work on {key}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_one(self, key: Key) -> None:
        requeue_ms: RequeueMs = None
        try:
            requeue_ms = await self._work(key)
            self._failures.pop(key, None)
        except Exception:  # noqa: BLE001 - one key's failure, told by `work`; it must come again
            requeue_ms = self._backoff_ms(key)
        finally:
            del self._running[key]
            again_s = self._again.pop(key, None)
            if again_s is not None:
                self._schedule(key, again_s)
            if requeue_ms is not None:
                self._schedule(key, _now_s() + requeue_ms / 1000)
            self._changed.set()

    def _pace_ms(self, key: Key) -> int:
        return self._limits.pace_failed_ms if key in self._failures else self._limits.pace_ms

    def _backoff_ms(self, key: Key) -> int:
        """Half of the pause is fixed and half is chance, so that keys do not come in step."""
        self.stats.failures += 1
        failures = self._failures.get(key, 0) + 1
        self._failures[key] = failures
        limits = self._limits
        doublings = min(failures - 1, 30)
        whole_ms = min(limits.backoff_first_ms << doublings, limits.backoff_max_ms)
        return round(whole_ms * (0.5 + 0.5 * self._jitter()))

    async def _wait(self) -> None:
        self._changed.clear()
        has_room = len(self._running) < self._limits.concurrency
        timeout_s = self._heap[0][0] - _now_s() if self._heap and has_room else None
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return  # a key is due


def _now_s() -> float:
    return asyncio.get_running_loop().time()
