"""What the storage tests share: short ways to make values, and a storage that is closed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from parti_raft.types import (
    ConfState,
    Entry,
    EntryType,
    HardState,
    LogIndex,
    MemberId,
    Snapshot,
    Term,
)
from parti_sidecar.storage.base import StoredState, WriteBatch
from parti_sidecar.storage.sqlite import SqliteStorage

MEMBER = MemberId(0xFEDC_BA98_7654_3210)
OTHER_MEMBER = MemberId(2)
CONF = ConfState(
    voters=(MEMBER, MemberId(2), MemberId(3)),
    voters_outgoing=(MemberId(4),),
    learners=(MemberId(5),),
    auto_leave=True,
)


def entry(index: int, term: int = 1, data: bytes | None = None) -> Entry:
    content = b"data of %d" % index if data is None else data
    return Entry(Term(term), LogIndex(index), EntryType.NORMAL, content)


def entries(first: int, last: int, term: int = 1) -> list[Entry]:
    return [entry(index, term) for index in range(first, last + 1)]


def append(
    first: int, last: int, term: int = 1, *, commit: int | None = None, vote: int = 0
) -> WriteBatch:
    hard = None
    if commit is not None:
        hard = HardState(Term(term), MemberId(vote), LogIndex(commit))
    return WriteBatch(hard_state=hard, entries=entries(first, last, term))


def hard(term: int, vote: int = 0, commit: int = 0) -> WriteBatch:
    return WriteBatch(hard_state=HardState(Term(term), MemberId(vote), LogIndex(commit)))


def snapshot(index: int, term: int = 1, data: bytes = b"contents") -> Snapshot:
    return Snapshot(LogIndex(index), Term(term), CONF, data)


def indexes(state: StoredState) -> list[int]:
    return [found.index for found in state.entries]


@contextmanager
def opened(data_dir: Path) -> Iterator[SqliteStorage]:
    """A loaded storage without a reserve of free space, closed at the end."""
    storage = SqliteStorage(data_dir, MEMBER, free_space_floor_bytes=0)
    try:
        storage.load()
        yield storage
    finally:
        storage.close()


def reload(data_dir: Path) -> StoredState:
    storage = SqliteStorage(data_dir, OTHER_MEMBER, free_space_floor_bytes=0)
    try:
        return storage.load()
    finally:
        storage.close()
