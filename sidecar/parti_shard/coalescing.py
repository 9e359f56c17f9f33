"""Waits for quiet before acting on causes that come in bursts, but not for ever."""

from __future__ import annotations


class Coalescing:
    """Due `quiet_ms` after the last cause, at the latest `longest_ms` after the first."""

    __slots__ = ("_first_ms", "_last_ms")

    def __init__(self) -> None:
        self._first_ms: int | None = None
        self._last_ms = 0

    def note(self, now_ms: int) -> None:
        if self._first_ms is None:
            self._first_ms = now_ms
        self._last_ms = now_ms

    def clear(self) -> None:
        self._first_ms = None

    def due_ms(self, quiet_ms: int, longest_ms: int) -> int | None:
        if self._first_ms is None:
            return None
        return min(self._last_ms + quiet_ms, self._first_ms + longest_ms)
