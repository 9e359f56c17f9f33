"""The stable log as Raft reads it, and its in-memory form.

`LogStorage` is the read side: Raft reads entries, terms and snapshots from it and never writes.
The driver writes: entries, hard state and snapshots reach the storage when the driver has made
them durable, and only then is Raft told. `MemoryLog` is what every driver uses as the cache of
the stable log.

Invariant of `MemoryLog`: entries are contiguous from `first_index` to `last_index`; the term of
`first_index - 1` is kept, since the log matching check needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from parti_raft.errors import CompactedError, SnapshotOutdatedError, UnavailableError
from parti_raft.sizes import fitting_count
from parti_raft.types import ConfState, Entry, HardState, LogIndex, Snapshot, Term


class LogStorage(Protocol):
    """Read access to the stable log."""

    def initial_state(self) -> tuple[HardState, ConfState]:
        """What a restarted member begins with."""
        ...

    def entries(self, low: int, high: int, max_bytes: int) -> tuple[Entry, ...]:
        """Entries of [low, high), cut to `max_bytes` but at least one.

        Raises `CompactedError` or `UnavailableError`.
        """
        ...

    def term(self, index: int) -> Term:
        """The term of an entry in [first_index - 1, last_index]; raises as `entries`."""
        ...

    def first_index(self) -> LogIndex:
        """The first entry that is not compacted away (it need not exist yet)."""
        ...

    def last_index(self) -> LogIndex:
        """The last entry, or the snapshot's index."""
        ...

    def snapshot(self) -> Snapshot:
        """The newest snapshot; raises `SnapshotUnavailableError` if there is none right now.

        A member ignores a snapshot whose configuration does not contain it. So for a member that
        was just added it must be taken after that change was applied, or it is sent in vain.
        """
        ...


class MemoryLog:
    """The stable log in memory."""

    __slots__ = ("_base_index", "_base_term", "_entries", "_hard_state", "_snapshot")

    def __init__(self) -> None:
        """Start empty: the first entry will be at index 1."""
        self._base_index = 0
        self._base_term = Term(0)
        self._entries: list[Entry] = []
        self._hard_state = HardState()
        self._snapshot = Snapshot()

    def initial_state(self) -> tuple[HardState, ConfState]:
        """Hard state and the configuration as of the snapshot."""
        return self._hard_state, self._snapshot.conf_state

    def first_index(self) -> LogIndex:
        """The first entry that is not compacted away."""
        return LogIndex(self._base_index + 1)

    def last_index(self) -> LogIndex:
        """The last entry, or the base of the log."""
        return LogIndex(self._base_index + len(self._entries))

    def entries(self, low: int, high: int, max_bytes: int) -> tuple[Entry, ...]:
        """Entries of [low, high), cut to `max_bytes` but at least one."""
        base = self._base_index
        if low <= base:
            raise CompactedError(f"entry {low} is compacted, the log begins at {base + 1}")
        if high > base + len(self._entries) + 1:
            raise UnavailableError(f"entries to {high} wanted, the last is {self.last_index()}")
        found = tuple(self._entries[low - base - 1 : high - base - 1])
        count = fitting_count(found, max_bytes)
        return found if count == len(found) else found[:count]

    def term(self, index: int) -> Term:
        """The term of an entry, also of the one just before the first."""
        position = index - self._base_index - 1
        if position >= 0:
            if position >= len(self._entries):
                raise UnavailableError(f"entry {index} is beyond {self.last_index()}")
            return self._entries[position].term
        if position == -1:
            return self._base_term
        raise CompactedError(f"entry {index} is compacted")

    def snapshot(self) -> Snapshot:
        """The newest snapshot."""
        return self._snapshot

    def restore(
        self,
        hard_state: HardState,
        snapshot: Snapshot,
        floor: tuple[LogIndex, Term],
        entries: Sequence[Entry],
    ) -> None:
        """Take over what was on disk; `floor` is the entry just before the first of `entries`."""
        self._hard_state = hard_state
        self._snapshot = snapshot
        self._base_index, self._base_term = floor
        self._entries = []
        self.append(entries)

    def set_hard_state(self, hard_state: HardState) -> None:
        """Replace the hard state."""
        self._hard_state = hard_state

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries; whatever was stored from the first of them on is replaced.

        Entries that are compacted already are skipped.
        """
        if not entries:
            return
        position = entries[0].index - self._base_index - 1
        if position < 0:
            entries = entries[-position:]
            position = 0
            if not entries:
                return
        assert position <= len(self._entries), f"a gap before entry {entries[0].index}"
        if position < len(self._entries):
            del self._entries[position:]
        self._entries.extend(entries)

    def compact(self, index: int) -> None:
        """Drop the entries up to and including `index`, if they are still there.

        Only applied entries may go.
        """
        if index <= self._base_index:
            return
        self._base_term = self.term(index)
        del self._entries[: index - self._base_index]
        self._base_index = index

    def create_snapshot(self, index: int, conf_state: ConfState, data: bytes) -> Snapshot:
        """Record the state machine's contents at `index`; the log is not compacted by this."""
        if index <= self._snapshot.index:
            raise SnapshotOutdatedError(f"the snapshot at {self._snapshot.index} is newer")
        self._snapshot = Snapshot(LogIndex(index), self.term(index), conf_state, data)
        return self._snapshot

    def apply_snapshot(self, snapshot: Snapshot) -> None:
        """Replace the whole log by a snapshot received or booted from."""
        if self._snapshot.index and self._snapshot.index >= snapshot.index:
            raise SnapshotOutdatedError(f"the snapshot at {self._snapshot.index} is newer")
        self._snapshot = snapshot
        self._base_index = snapshot.index
        self._base_term = snapshot.term
        self._entries.clear()
