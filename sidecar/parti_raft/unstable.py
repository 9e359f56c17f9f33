"""The tail of the log (and a received snapshot) that is not known to be durable yet.

Entries stay here while they are written, so that Raft sees one log all the time. They leave when
the write is acknowledged with the index *and term* of the last entry: after a change of leader
the same indexes may hold other entries.

Invariants: entry `i` of `entries` has index `offset + i`; everything below `in_progress` was
handed to the storage (`offset <= in_progress <= offset + len(entries)`); the log ends at
`offset + len(entries) - 1` even when `entries` is empty.
"""

from __future__ import annotations

from collections.abc import Sequence

from parti_raft.types import Entry, Snapshot, Term


class Unstable:
    """Entries and snapshot between Raft and the storage."""

    __slots__ = ("entries", "in_progress", "offset", "snapshot", "snapshot_in_progress")

    def __init__(self, offset: int) -> None:
        """Start with nothing unstable; `offset` is the index of the next entry."""
        self.entries: list[Entry] = []
        self.offset = offset
        self.in_progress = offset
        self.snapshot: Snapshot | None = None
        self.snapshot_in_progress = False

    def term(self, index: int) -> Term | None:
        """The term of an entry, None if it is not here."""
        position = index - self.offset
        if position >= 0:
            return self.entries[position].term if position < len(self.entries) else None
        snapshot = self.snapshot
        if snapshot is not None and snapshot.index == index:
            return snapshot.term
        return None

    def next_entries(self) -> tuple[Entry, ...]:
        """Entries that were not handed to the storage yet."""
        return tuple(self.entries[self.in_progress - self.offset :])

    @property
    def has_next_entries(self) -> bool:
        """Some entries were not handed to the storage yet."""
        return self.in_progress < self.offset + len(self.entries)

    def next_snapshot(self) -> Snapshot | None:
        """The snapshot, if it was not handed to the storage yet."""
        return None if self.snapshot_in_progress else self.snapshot

    def accept_in_progress(self) -> None:
        """Everything here has been handed to the storage."""
        self.in_progress = self.offset + len(self.entries)
        if self.snapshot is not None:
            self.snapshot_in_progress = True

    def stable_to(self, index: int, term: int) -> None:
        """Forget entries up to `index` if the entry there is still of `term`.

        The caller attests that no older write is under way that could overwrite them.
        """
        count = index + 1 - self.offset
        if not 0 < count <= len(self.entries) or self.entries[count - 1].term != term:
            return
        del self.entries[:count]
        self.offset = index + 1
        self.in_progress = max(self.in_progress, self.offset)

    def stable_snapshot_to(self, index: int) -> None:
        """Forget the snapshot at `index`: it is installed."""
        if self.snapshot is not None and self.snapshot.index == index:
            self.snapshot = None
            self.snapshot_in_progress = False

    def restore(self, snapshot: Snapshot) -> None:
        """Begin anew from a received snapshot."""
        self.offset = snapshot.index + 1
        self.in_progress = self.offset
        self.entries = []
        self.snapshot = snapshot
        self.snapshot_in_progress = False

    def truncate_and_append(self, entries: Sequence[Entry]) -> None:
        """Add entries; whatever is here from the first of them on is replaced."""
        first = entries[0].index
        end = self.offset + len(self.entries)
        assert first <= end, f"a gap before entry {first}"
        if first < end:
            self.offset = min(self.offset, first)
            del self.entries[first - self.offset :]
            self.in_progress = min(self.in_progress, first)
        self.entries.extend(entries)
