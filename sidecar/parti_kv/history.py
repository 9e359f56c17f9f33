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
_ROOM_PARTS = 64  # one of so many parts of a limit is made free when it is reached
_TIDY_AT = 4_096  # so many places of dropped changes stay in the list at most, or half of it
_DROPPED = (NO_REVISION, b"", None)  # holds no value alive


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
        self._changes: list[tuple[Revision, bytes, bytes | None]] = []  # as `Change` has them
        self._dropped = 0  # at the front of the list

    def __len__(self) -> int:
        return len(self._changes) - self._dropped

    def begin_after(self, revision: Revision) -> None:
        """Forget everything up to and including `revision`: the store was replaced."""
        self._changes.clear()
        self._dropped = 0
        self.size_bytes = 0
        self.floor = revision

    def add(self, revision: Revision, key: bytes, value: bytes | None) -> None:
        """Note a change (no value: a deletion); older ones may go."""
        changes = self._changes
        changes.append((revision, key, value))
        self.size_bytes += RECORD_OVERHEAD_BYTES + len(key) + (len(value) if value else 0)
        if self.size_bytes > self.bytes_max or len(changes) - self._dropped > self._events_max:
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
        reached = changes[end - 1][0]
        while end < len(changes) and changes[end][0] == reached:
            end += 1
        asked = (each for each in changes[start:end] if each[1].startswith(prefix))
        return list(map(Change._make, asked)), reached

    def _drop_oldest(self) -> None:
        """Drop the oldest changes; the rest of their revision is not given any more either.

        A part of the limits is made free at once, so that this is not done for every change.
        """
        changes = self._changes
        events_max = self._events_max - self._events_max // _ROOM_PARTS
        bytes_max = self.bytes_max - self.bytes_max // _ROOM_PARTS
        at, size_bytes = self._dropped, self.size_bytes
        while at < len(changes) and (size_bytes > bytes_max or len(changes) - at > events_max):
            revision, key, value = changes[at]
            size_bytes -= RECORD_OVERHEAD_BYTES + len(key) + (len(value) if value else 0)
            self.floor = revision
            changes[at] = _DROPPED
            at += 1
        self.size_bytes = size_bytes
        self._dropped = at
        if at > max(_TIDY_AT, len(self)):
            del changes[:at]
            self._dropped = 0
