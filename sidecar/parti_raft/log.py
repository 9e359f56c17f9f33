"""One member's log: stable storage and unstable tail seen as a whole, with its cursors.

Invariants: `applied <= applying <= committed <= last_index`; all but `last_index` never fall.
`applying` is what the driver was told to apply, `applied` what it has reported as applied; the
encoded size of the entries between the two is limited.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from parti_raft.errors import CompactedError, LogDamagedError, UnavailableError
from parti_raft.sizes import NO_LIMIT, entries_encoded_size, fitting_count
from parti_raft.storage import LogStorage
from parti_raft.types import Entry, LogIndex, Snapshot, Term
from parti_raft.unstable import Unstable


class RaftLog:
    """The log of one member."""

    __slots__ = (
        "_applying_bytes",
        "_applying_paused",
        "_storage",
        "applied",
        "applying",
        "committed",
        "max_applying_bytes",
        "unstable",
    )

    def __init__(self, storage: LogStorage, max_applying_bytes: int) -> None:
        """Continue the stored log: everything up to its base is committed and applied."""
        base = storage.first_index() - 1
        self._storage = storage
        self.unstable = Unstable(storage.last_index() + 1)
        self.committed = base
        self.applying = base
        self.applied = base
        self.max_applying_bytes = max_applying_bytes
        self._applying_bytes = 0
        self._applying_paused = False

    # Reading.

    def first_index(self) -> int:
        """The first entry that is not compacted away."""
        snapshot = self.unstable.snapshot
        return self._storage.first_index() if snapshot is None else snapshot.index + 1

    def last_index(self) -> LogIndex:
        """The last entry."""
        unstable = self.unstable
        return LogIndex(unstable.offset + len(unstable.entries) - 1)

    def last_term(self) -> Term:
        """The term of the last entry."""
        index = self.last_index()
        term = self.term(index)
        if term is None:
            raise LogDamagedError(f"the storage does not know the term of its last entry {index}")
        return term

    def term(self, index: int) -> Term | None:
        """The term of an entry, None if it is compacted away or does not exist."""
        unstable = self.unstable
        term = unstable.term(index)
        if term is not None:
            return term
        if index >= unstable.offset or index + 1 < self.first_index():
            return None
        try:
            return self._storage.term(index)
        except (CompactedError, UnavailableError):
            return None

    def matches(self, index: int, term: int) -> bool:
        """The entry at `index` is of `term`, so both logs agree up to it."""
        return self.term(index) == term

    def is_up_to_date(self, last_index: int, last_term: int) -> bool:
        """A log that ends so holds everything that may be committed here."""
        own_term = self.last_term()
        return last_term > own_term or (last_term == own_term and last_index >= self.last_index())

    def entries_from(self, index: int, max_bytes: int) -> tuple[Entry, ...]:
        """Entries from `index` on, cut to `max_bytes`; raises `CompactedError`."""
        last = self.last_index()
        return () if index > last else self.slice(index, last + 1, max_bytes)

    def slice(self, low: int, high: int, max_bytes: int) -> tuple[Entry, ...]:
        """Entries of [low, high), cut to `max_bytes` but at least one; may raise Compacted."""
        unstable = self.unstable
        offset = unstable.offset
        assert low < high <= offset + len(unstable.entries), f"no slice {low}..{high}"
        if low >= offset:
            tail = tuple(unstable.entries[low - offset : high - offset])
            return _cut(tail, max_bytes)
        if low < self.first_index():
            raise CompactedError(f"entry {low} is compacted")
        stored = self._stored(low, min(high, offset), max_bytes)
        if high <= offset or len(stored) < offset - low:
            return stored
        left_bytes = NO_LIMIT
        if max_bytes < NO_LIMIT:
            left_bytes = max_bytes - entries_encoded_size(stored)
            if left_bytes <= 0:
                return stored
        tail = _cut(tuple(unstable.entries[: high - offset]), left_bytes)
        if left_bytes < NO_LIMIT and len(tail) == 1 and entries_encoded_size(tail) > left_bytes:
            return stored
        return stored + tail

    def _stored(self, low: int, high: int, max_bytes: int) -> tuple[Entry, ...]:
        try:
            return self._storage.entries(low, high, max_bytes)
        except UnavailableError as error:
            raise LogDamagedError(f"entries {low}..{high} left the storage") from error

    def pages(self, low: int, high: int) -> Iterator[tuple[Entry, ...]]:
        """Entries of [low, high) in pages bounded like the entries to apply."""
        while low < high:
            page = self.slice(low, high, self.max_applying_bytes)
            yield page
            low += len(page)

    def find_conflict_by_term(self, index: int, term: int) -> tuple[int, int]:
        """The largest index (and its term) at which a log with `term` at `index` may match.

        Entries of later terms cannot match; an entry whose term is unknown (0) may.
        """
        while index > 0:
            own_term = self.term(index)
            if own_term is None:
                return index, 0
            if own_term <= term:
                return index, own_term
            index -= 1
        return 0, 0

    # Appending and committing.

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries, replacing uncommitted ones from the first of them on."""
        first = entries[0].index
        if first <= self.committed:
            raise LogDamagedError(f"entry {first} conflicts with a committed one")
        self.unstable.truncate_and_append(entries)

    def maybe_append(
        self, prev_index: int, prev_term: int, entries: Sequence[Entry], commit: int
    ) -> int | None:
        """Add a leader's entries if the logs match before them.

        Returns the last index known to match, or None. Only a real conflict truncates: a late
        message with a shorter list must not cut off entries that are already acknowledged.
        """
        if not self.matches(prev_index, prev_term):
            return None
        fresh = self._first_unmatched(entries)
        if fresh < len(entries):
            self.append(entries[fresh:] if fresh else entries)
        last_matching = prev_index + len(entries)
        self.commit_to(min(commit, last_matching))
        return last_matching

    def _first_unmatched(self, entries: Sequence[Entry]) -> int:
        last = self.last_index()
        for position, entry in enumerate(entries):
            if entry.index > last or self.term(entry.index) != entry.term:
                return position
        return len(entries)

    def commit_to(self, index: int) -> None:
        """Move the commit index forward, never back."""
        if index <= self.committed:
            return
        if index > self.last_index():
            raise LogDamagedError(
                f"entry {index} is committed, but the log ends at {self.last_index()}: "
                "acknowledged entries were lost"
            )
        self.committed = index

    def maybe_commit(self, index: int, term: int) -> bool:
        """Commit up to `index` if that entry is of the leader's `term` (Raft section 5.4.2)."""
        if index > self.committed and self.matches(index, term):
            self.commit_to(index)
            return True
        return False

    def restore(self, snapshot: Snapshot) -> None:
        """Replace the log by a snapshot."""
        self.committed = snapshot.index
        self.unstable.restore(snapshot)

    # Applying.

    def max_appliable_index(self, *, allow_unstable: bool) -> int:
        """How far may be applied: committed, and on own disk unless that may be skipped."""
        if allow_unstable:
            return self.committed
        return min(self.committed, self.unstable.offset - 1)

    def has_next_committed(self, *, allow_unstable: bool) -> bool:
        """There is something to apply that may be applied now."""
        if self._applying_paused or self.unstable.snapshot is not None:
            return False
        return self.applying < self.max_appliable_index(allow_unstable=allow_unstable)

    def next_committed(self, *, allow_unstable: bool) -> tuple[Entry, ...]:
        """What is to be applied next, within the limit on bytes being applied."""
        if not self.has_next_committed(allow_unstable=allow_unstable):
            return ()
        budget = self.max_applying_bytes
        if budget < NO_LIMIT:
            budget -= self._applying_bytes
        high = self.max_appliable_index(allow_unstable=allow_unstable) + 1
        return self.slice(self.applying + 1, high, budget)

    def accept_applying(self, entries: Sequence[Entry], *, allow_unstable: bool) -> None:
        """The driver has been told to apply `entries`."""
        index = entries[-1].index
        assert self.applying < index <= self.committed
        self.applying = index
        if self.max_applying_bytes >= NO_LIMIT:
            return
        self._applying_bytes += entries_encoded_size(entries)
        # Paused when the budget is used up, or when it cut the entries: the next is too large.
        self._applying_paused = (
            self._applying_bytes >= self.max_applying_bytes
            or index < self.max_appliable_index(allow_unstable=allow_unstable)
        )

    def applied_to(self, index: int, size_bytes: int) -> None:
        """Everything up to `index` has been applied."""
        assert self.applied <= index <= self.committed, "applied out of order"
        self.applied = index
        self.applying = max(self.applying, index)
        self._applying_bytes = max(0, self._applying_bytes - size_bytes)
        self._applying_paused = self._applying_bytes >= self.max_applying_bytes


def _cut(entries: tuple[Entry, ...], max_bytes: int) -> tuple[Entry, ...]:
    count = fitting_count(entries, max_bytes)
    return entries if count == len(entries) else entries[:count]
