"""Deadlines of many messages without a timer for each: buckets of messages, swept by the tick.

A message is put into the bucket of its deadline and takes itself out when it is done, so the wheel
never holds more than what is under way. Messages keep a reference to their bucket: leaving costs
one deletion.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from parti_shard.messages import Arrival

BUCKET_SHIFT: Final = 6  # buckets of 64 ms

Item = TypeVar("Item", bound=Arrival)


class DeadlineWheel(Generic[Item]):
    """Buckets by deadline. Bucket i holds deadlines in [i * 64, (i + 1) * 64)."""

    __slots__ = ("_buckets", "_swept")

    def __init__(self) -> None:
        self._buckets: dict[int, dict[Item, None]] = {}
        self._swept = 0  # no bucket below this one exists

    def bucket(self, deadline_ms: int) -> dict[Item, None]:
        index = deadline_ms >> BUCKET_SHIFT
        bucket = self._buckets.get(index)
        if bucket is None:
            assert index >= self._swept, "deadline lies before the last sweep"
            bucket = self._buckets[index] = {}
        return bucket

    def due(self, now_ms: int) -> list[Item]:
        """All with deadline <= now. The caller finishes each, which takes it out of its bucket."""
        last = now_ms >> BUCKET_SHIFT
        buckets = self._buckets
        due: list[Item] = []
        if last - self._swept > len(buckets):
            over = sorted(index for index in buckets if index < last)
        else:
            over = [index for index in range(self._swept, last) if index in buckets]
        for index in over:
            due.extend(buckets.pop(index))
        due.extend(item for item in buckets.get(last, ()) if item.deadline_ms <= now_ms)
        self._swept = max(self._swept, last)
        return due

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))
