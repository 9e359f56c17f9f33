"""The newest changes of the store, for watches; bounded in number and bytes.

Not part of the replicated state: it begins anew at a restart, from the snapshot on, and members may
keep different parts. Whoever asks for changes that are gone is told so, and reads the range again.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter

from parti_kv.errors import HistoryCompactedError
from parti_kv.limits import HISTORY_BYTES_MAX, HISTORY_EVENTS_MAX, RECORD_OVERHEAD_BYTES
from parti_kv.values import NO_REVISION, Change, Revision

_revision_of = itemgetter(0)
_TIDY_AT = 4_096  # dropped changes that stay in the list at most, or half of it


class History:
    """Changes in the order of their revisions; all above `floor` are here."""

    __slots__ = ("_changes", "_dropped", "_events_max", "bytes_max", "floor", "size_bytes")

    def __init__(
        self, events_max: int = HISTORY_EVENTS_MAX, bytes_max: int = HISTORY_BYTES_MAX
    ) -> None:
        self._events_max = events_max
        self.bytes_max = bytes_max
        self.floor = NO_REVISION
        self.size_bytes = 0
        self._changes: list[Change] = []
        self._dropped = 0  # at the front of the list

    def __len__(self) -> int:
        return len(self._changes) - self._dropped

    def begin_after(self, revision: Revision) -> None:
        """Forget everything up to and including `revision`: the store was replaced."""
        self._changes.clear()
        self._dropped = 0
        self.size_bytes = 0
        self.floor = revision

    def add(self, change: Change) -> None:
        """Note a change; older ones may go."""
        self._changes.append(change)
        self.size_bytes += _size_bytes(change)
        while len(self) > self._events_max or self.size_bytes > self.bytes_max:
            self._drop_oldest()

    def after(
        self, revision: Revision, prefix: bytes, events_max: int
    ) -> tuple[list[Change], Revision]:
        """Give changes after `revision` below `prefix`, and the revision they reach.

        About `events_max` changes are looked at, and a revision is never divided. Raises
        HistoryCompactedError.
        """
        if revision < self.floor:
            raise HistoryCompactedError(revision, self.floor)
        changes = self._changes
        start = bisect_right(changes, revision, lo=self._dropped, key=_revision_of)
        end = min(len(changes), start + events_max)
        if start == end:
            return [], revision
        reached = changes[end - 1].revision
        while end < len(changes) and changes[end].revision == reached:
            end += 1
        if not prefix:
            return changes[start:end], reached
        return [each for each in changes[start:end] if each.key.startswith(prefix)], reached

    def _drop_oldest(self) -> None:
        """Drop the oldest change; the rest of its revision is not given any more either."""
        oldest = self._changes[self._dropped]
        self._dropped += 1
        self.size_bytes -= _size_bytes(oldest)
        self.floor = oldest.revision
        if self._dropped > max(_TIDY_AT, len(self)):
            del self._changes[: self._dropped]
            self._dropped = 0


def _size_bytes(change: Change) -> int:
    return RECORD_OVERHEAD_BYTES + len(change.key) + (len(change.value) if change.value else 0)
