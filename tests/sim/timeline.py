"""Virtual time: a queue of events on one real axis, counted in whole microseconds.

Events at the same moment happen in the order in which they were planned, so a run depends on its
seed alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

MS: Final = 1_000
S: Final = 1_000_000

Action = Callable[[], object]


class Timer:
    """A planned event; `cancel` keeps it from happening."""

    __slots__ = ("action",)

    def __init__(self, action: Action) -> None:
        self.action: Action | None = action

    def cancel(self) -> None:
        self.action = None


class Timeline:
    """See the module's docstring."""

    def __init__(self) -> None:
        self.now_us = 0
        self.events = 0
        self._queue: list[tuple[int, int, Timer]] = []
        self._planned = 0

    def at(self, at_us: int, action: Action) -> Timer:
        assert at_us >= self.now_us, "the past cannot be changed"
        timer = Timer(action)
        self._planned += 1
        heapq.heappush(self._queue, (at_us, self._planned, timer))
        return timer

    def after(self, delay_us: int, action: Action) -> Timer:
        return self.at(self.now_us + delay_us, action)

    def run_until(self, end_us: int, done: Callable[[], bool] | None = None) -> None:
        """Let everything up to `end_us` happen, or until `done` after an event."""
        queue = self._queue
        while queue and queue[0][0] <= end_us:
            self.now_us, _, timer = heapq.heappop(queue)
            action = timer.action
            if action is None:
                continue
            self.events += 1
            action()
            if done is not None and done():
                return
        self.now_us = max(self.now_us, end_us)
