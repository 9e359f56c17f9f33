"""Durable storage of one member: the protocol, its values and its errors.

A member keeps four things on disk: who it is (`Identity`), its Raft hard state, the tail of its
log and one snapshot. They change together, one `WriteBatch` per durable step; a step is there
as a whole or not at all.

What every implementation promises:
- `write` returns only when the step survives a power cut. What it did not return for may be
  there or not; it is never there in part.
- `load` (or opening, before it) returns what was written or raises. State that is damaged, or
  older than what the member is known to have acknowledged, is an error (`CorruptState`), never
  a shorter log.
- After `WriteFailed` nothing more is written: an operating system that failed to sync may have
  dropped the data, so trying again would acknowledge what is lost.

One thread at a time uses a storage (`StorageWriter` is that thread once the member runs);
`read_snapshot` alone may be called from any thread.
"""

# ruff: noqa: N818 - the errors are named for the condition, as the design's glossary has them
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from parti_raft.types import (
    ConfState,
    Entry,
    HardState,
    LogIndex,
    MemberId,
    Snapshot,
    Term,
)

FORMAT_VERSION = 2


@dataclass(frozen=True, slots=True)
class LogPosition:
    """An index of the log and the term of the entry there; (0, 0) lies before the first entry."""

    index: LogIndex
    term: Term


NO_INDEX = LogIndex(0)
LOG_START = LogPosition(NO_INDEX, Term(0))


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the member is; `cluster_id` is "" until it bootstrapped or joined, then fixed.

    `incarnation` counts how often the cluster went on without its quorum; members of different
    ones never speak with each other. A member that was `removed` is never again one of its cluster.
    """

    cluster_id: str
    member_id: MemberId
    incarnation: int = 0
    removed: bool = False


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """What is known of the current snapshot's file, read or sent only if its checksum fits."""

    index: LogIndex
    term: Term
    conf_state: ConfState
    size_bytes: int
    crc32c: int
    name: str


@dataclass(frozen=True, slots=True)
class StoredState:
    """All of the durable state; `entries` begin right after `floor`.

    `floor` is the last compacted entry (or the snapshot that replaced the log): the term there
    answers the consistency check of the entry that follows. It is never beyond the snapshot.
    """

    identity: Identity
    hard_state: HardState
    entries: list[Entry]
    snapshot: SnapshotRecord | None
    floor: LogPosition = LOG_START


@dataclass(frozen=True, slots=True)
class WriteBatch:
    """One durable step, carried out in the order: snapshot, entries, hard state, compaction.

    - `snapshot` becomes the current one; it must be newer. Where the stored log does not hold
      the snapshot's last entry (shorter, or another term there) the whole log is discarded.
    - `entries` are contiguous and replace the stored tail from `entries[0].index` on.
    - `compact_to` drops entries up to and including it, never beyond the current snapshot.
      0, or an index that was compacted already, drops nothing.
    """

    hard_state: HardState | None = None
    entries: Sequence[Entry] = ()
    snapshot: Snapshot | None = None
    compact_to: LogIndex = NO_INDEX


class Storage(Protocol):
    """The durable state of one member."""

    def load(self) -> StoredState:
        """Verify and return everything; must come first, once."""
        ...

    def set_identity(self, identity: Identity) -> None:
        """Fix the cluster id, a later incarnation, or that the member was removed, durably; the
        same again is fine, what contradicts it is `ForeignIdentity`.
        """
        ...

    def write(self, batch: WriteBatch) -> None:
        """Carry out one durable step; returns when it would survive a power cut."""
        ...

    def maintain(self, *, idle: bool) -> None:
        """Do housekeeping: what cannot wait, or with `idle` also what better happens now."""
        ...

    def read_snapshot(self) -> Snapshot:
        """The current snapshot with its data, checksum verified; index 0 if there is none."""
        ...

    def close(self) -> None:
        """Release everything; safe to repeat."""
        ...


class StorageError(Exception):
    """Root of all errors of durable storage."""


class DataDirLocked(StorageError):
    """Another process uses the data directory."""

    def __init__(self, data_dir: Path, pid: int | None) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(f"data directory {data_dir} is in use by {holder}")
        self.data_dir = data_dir
        self.pid = pid


class ForeignIdentity(StorageError):
    """The data directory belongs to another cluster or member."""

    def __init__(self, stored: Identity, asked: Identity) -> None:
        super().__init__(
            f"data belongs to cluster {stored.cluster_id!r}, member {stored.member_id:016x}; "
            f"refusing cluster {asked.cluster_id!r}, member {asked.member_id:016x}"
        )
        self.stored = stored
        self.asked = asked


class CorruptState(StorageError):
    """Durable state is damaged or lost: this member must not vote or serve ever again."""

    def __init__(self, damage: str) -> None:
        super().__init__(
            f"durable state is damaged: {damage}. Empty the data directory and let the member "
            "rejoin as a new one; what it had acknowledged may be lost here"
        )
        self.damage = damage


class FormatTooNew(StorageError):
    """The data was written by a newer version of parti."""

    def __init__(self, found: int) -> None:
        super().__init__(
            f"data has format version {found}, this program reads up to {FORMAT_VERSION}; "
            "run the newer program"
        )
        self.found = found


class DiskFull(StorageError):
    """There is no room for the step; nothing of it was written."""


class WriteFailed(StorageError):
    """The disk or the file system failed: the process must end, whether it wrote is unknown."""


class BatchRejected(StorageError):
    """The batch would break the log or take back a promise; nothing of it was written.

    Always a bug of the caller, raised (not asserted) because the disk would keep the damage.
    """


class StorageQueueFull(StorageError):
    """The writer's queue is at its limit; the batch was not taken."""
