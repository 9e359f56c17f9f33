"""Virtual time: a queue of events on one real axis, counted in whole microseconds.

Events at the same moment happen in the order in which they were planned, so a run depends on its
seed alone.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

MS: Final = 1_000
S: Final = 1_000_000

EVENTS_MAX: Final = 5_000_000  # of a run, far above any that ends: a cycle is a bug and no hang

Action = Callable[[], object]


class Timer:
    """A planned event that can be taken back."""

    __slots__ = ("_action",)

    def __init__(self, action: Action) -> None:
        self._action: Action | None = action

    def __call__(self) -> None:
        if self._action is not None:
            self._action()

    def cancel(self) -> None:
        self._action = None


class Timeline:
    """See the module's docstring."""

    __slots__ = ("_planned", "_queue", "events", "now_us")

    def __init__(self) -> None:
        self.now_us = 0
        self.events = 0
        self._queue: list[tuple[int, int, Action]] = []
        self._planned = 0

    def at(self, at_us: int, action: Action) -> None:
        assert at_us >= self.now_us, "the past cannot be changed"
        self._planned += 1
        heappush(self._queue, (at_us, self._planned, action))

    def after(self, delay_us: int, action: Action) -> None:
        self._planned += 1
        heappush(self._queue, (self.now_us + delay_us, self._planned, action))

    def run_until(self, end_us: int) -> None:
        """Let everything up to `end_us` happen."""
        queue = self._queue
        while queue and queue[0][0] <= end_us and self.events < EVENTS_MAX:
            self.now_us, _, action = heappop(queue)
            self.events += 1
            action()
        assert self.events < EVENTS_MAX, "the run does not end"
        self.now_us = max(self.now_us, end_us)
