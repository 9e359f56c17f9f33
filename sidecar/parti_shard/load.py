"""Messages per partition as members report them, smoothed over windows."""

from __future__ import annotations

from collections.abc import Iterable

from parti_shard.ids import PartitionId

LOAD_WINDOW_MS = 10_000


class LoadMeter:
    """Half of each partition's load is its last window, half what it was before."""

    __slots__ = ("_began_ms", "_counts", "loads")

    def __init__(self) -> None:
        self._began_ms = 0
        self._counts: list[int] = []
        self.loads: list[int] = []

    def begin(self, partitions: int, now_ms: int) -> None:
        self._began_ms = now_ms
        self._counts = [0] * partitions
        self.loads = [0] * partitions

    def add(self, counts: Iterable[tuple[PartitionId, int]]) -> None:
        for partition, count in counts:
            if partition < len(self._counts):
                self._counts[partition] += count

    def turn(self, now_ms: int) -> bool:
        """Close the window if it is over; True if the loads are new."""
        if now_ms - self._began_ms < LOAD_WINDOW_MS:
            return False
        self.loads = [(old + new) // 2 for old, new in zip(self.loads, self._counts, strict=True)]
        self._counts = [0] * len(self._counts)
        self._began_ms = now_ms
        return True

    def next_wake_ms(self) -> int:
        return self._began_ms + LOAD_WINDOW_MS
