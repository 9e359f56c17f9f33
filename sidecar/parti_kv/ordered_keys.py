"""Keys in order, in buckets: adding and removing one costs little however many there are."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from typing import Final

BUCKET_KEYS_MAX: Final = 1_024


class OrderedKeys:
    """A sorted set of byte strings."""

    __slots__ = ("_buckets", "_firsts")

    def __init__(self, keys: Iterable[bytes] = ()) -> None:
        ordered = sorted(keys)
        half = BUCKET_KEYS_MAX // 2
        self._buckets = [ordered[at : at + half] for at in range(0, len(ordered), half)] or [[]]
        # The first key of each bucket may be smaller than its smallest, never larger.
        self._firsts = [bucket[0] if bucket else b"" for bucket in self._buckets]

    def add(self, key: bytes) -> None:
        """Add a key that is not there."""
        at = self._bucket_of(key)
        bucket = self._buckets[at]
        insort(bucket, key)
        self._firsts[at] = min(self._firsts[at], key)
        if len(bucket) > BUCKET_KEYS_MAX:
            half = len(bucket) // 2
            self._buckets.insert(at + 1, bucket[half:])
            self._firsts.insert(at + 1, bucket[half])
            del bucket[half:]

    def remove(self, key: bytes) -> None:
        """Remove a key that is there."""
        at = self._bucket_of(key)
        bucket = self._buckets[at]
        position = bisect_left(bucket, key)
        assert position < len(bucket), "the key is there"
        assert bucket[position] == key, "the key is there"
        del bucket[position]
        if not bucket and len(self._buckets) > 1:
            del self._buckets[at]
            del self._firsts[at]

    def starting_at(self, key: bytes) -> Iterator[bytes]:
        """Give the keys from `key` on, in order; the set must not change meanwhile."""
        at = self._bucket_of(key)
        bucket = self._buckets[at]
        yield from bucket[bisect_left(bucket, key) :]
        for later in range(at + 1, len(self._buckets)):
            yield from self._buckets[later]

    def _bucket_of(self, key: bytes) -> int:
        return max(0, bisect_right(self._firsts, key) - 1)
