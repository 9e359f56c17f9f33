"""Both storages against one simple model: any history of steps, reopened now and then."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parti_raft.types import Entry, HardState, LogIndex, MemberId, Snapshot, Term
from parti_sidecar.storage.base import (
    LOG_START,
    Identity,
    LogPosition,
    Storage,
    StoredState,
    WriteBatch,
)
from parti_sidecar.storage.memory import MemoryDisk, MemoryStorage
from parti_sidecar.storage.merging import mergeable, merged
from parti_sidecar.storage.sqlite import SqliteStorage
from tests.parti_sidecar.storage.helpers import MEMBER, OTHER_MEMBER, entry, snapshot


@dataclass
class Model:
    """What must be stored, as plain lists; it also turns numbers into valid next batches."""

    log: list[Entry] = field(default_factory=list)
    floor: LogPosition = LOG_START
    hard: HardState = HardState()
    snapshot: Snapshot = Snapshot()

    @property
    def last(self) -> int:
        return self.log[-1].index if self.log else self.floor.index

    def term_at(self, index: int) -> Term:
        found = [entry.term for entry in self.log if entry.index == index]
        return found[0] if found else self.floor.term

    def append(self, count: int, back: int) -> WriteBatch:
        """New entries, replacing up to `back` uncommitted ones in a new term."""
        first = max(self.hard.commit, self.last - back) + 1
        term = max(self.hard.term, 1) + (first <= self.last)
        new = [entry(first + at, term, b"%d" % at * at) for at in range(count)]
        self.log = [old for old in self.log if old.index < first] + new
        if term > self.hard.term:
            self.hard = replace(self.hard, term=Term(term), vote=MemberId(0))
        return WriteBatch(hard_state=self.hard, entries=new)

    def vote(self, count: int, back: int) -> WriteBatch:
        term = Term(self.hard.term + count)
        self.hard = HardState(term, MemberId(back + 1), self.hard.commit)
        return WriteBatch(hard_state=self.hard)

    def commit(self, count: int, back: int) -> WriteBatch:
        index = max(self.hard.commit, min(self.last, self.hard.commit + count + back))
        self.hard = replace(self.hard, commit=LogIndex(index))
        return WriteBatch(hard_state=self.hard)

    def take_snapshot(self, count: int, back: int) -> WriteBatch:
        index = max(self.snapshot.index, self.hard.commit - back)
        if index == self.snapshot.index:
            return WriteBatch()
        self.snapshot = snapshot(index, self.term_at(index), b"s" * count)
        return WriteBatch(snapshot=self.snapshot)

    def install_snapshot(self, count: int, back: int) -> WriteBatch:
        """A received snapshot that the log does not hold, with entries after it."""
        term = Term(self.hard.term + 1)
        index = max(self.hard.commit + 1, self.last + 2 - back)
        self.snapshot = snapshot(index, term, b"i" * back)
        self.floor = LogPosition(self.snapshot.index, term)
        self.log = [entry(index + 1 + at, term) for at in range(count - 1)]
        self.hard = HardState(term, MemberId(0), LogIndex(index))
        return WriteBatch(self.hard, list(self.log), self.snapshot)

    def compact(self, count: int, back: int) -> WriteBatch:
        index = max(self.floor.index, self.snapshot.index - back)
        self.floor = LogPosition(LogIndex(index), self.term_at(index))
        self.log = [entry for entry in self.log if entry.index > index]
        return WriteBatch(compact_to=LogIndex(index))

    def check(self, stored: StoredState, read: Snapshot) -> None:
        assert stored.entries == self.log
        assert stored.floor == self.floor
        assert stored.hard_state == self.hard
        assert read == self.snapshot
        recorded = stored.snapshot
        assert (recorded.index if recorded else 0) == self.snapshot.index


ACTIONS: dict[str, Callable[[Model, int, int], WriteBatch]] = {
    "append": Model.append,
    "vote": Model.vote,
    "commit": Model.commit,
    "take_snapshot": Model.take_snapshot,
    "install_snapshot": Model.install_snapshot,
    "compact": Model.compact,
}
OTHERS = ("reopen", "maintain", "flush")
NAMES = [*ACTIONS, *OTHERS, "append", "append", "commit"]
histories = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(1, 5), st.integers(0, 6)), max_size=25
)
Open = Callable[[], Storage]


@contextmanager
def sqlite_storages() -> Iterator[Open]:
    with tempfile.TemporaryDirectory() as folder:
        yield lambda: SqliteStorage(Path(folder) / "data", MEMBER, free_space_floor_bytes=0)


@contextmanager
def memory_storages() -> Iterator[Open]:
    disk = MemoryDisk()
    yield lambda: MemoryStorage(disk, MEMBER)


def run(open_storage: Open, history: list[tuple[str, int, int]], *, group: bool) -> None:
    model = Model()
    storage = open_storage()
    try:
        storage.load()
        waiting: list[WriteBatch] = []
        for name, count, back in [*history, ("reopen", 1, 0)]:
            if name in ACTIONS:
                batch = ACTIONS[name](model, count, back)
                if waiting and not (group and mergeable(waiting, batch)):
                    storage.write(merged(waiting))
                    waiting = []
                waiting.append(batch)
                continue
            if waiting:
                storage.write(merged(waiting))
                waiting = []
            if name == "maintain":
                storage.maintain(idle=back % 2 == 0)
            if name == "reopen":
                storage.close()
                storage = open_storage()
                model.check(storage.load(), storage.read_snapshot())
    finally:
        storage.close()


@pytest.mark.parametrize("group", [False, True], ids=["single", "grouped"])
@settings(max_examples=150, deadline=None)
@given(history=histories)
def test_sqlite_stores_any_history(group: bool, history: list[tuple[str, int, int]]) -> None:  # noqa: FBT001
    with sqlite_storages() as open_storage:
        run(open_storage, history, group=group)


@pytest.mark.parametrize("group", [False, True], ids=["single", "grouped"])
@settings(max_examples=150, deadline=None)
@given(history=histories)
def test_memory_stores_any_history(group: bool, history: list[tuple[str, int, int]]) -> None:  # noqa: FBT001
    with memory_storages() as open_storage:
        run(open_storage, history, group=group)


@settings(max_examples=300, deadline=None)
@given(
    history=st.lists(
        st.tuples(st.sampled_from([*ACTIONS, "maintain"]), st.integers(1, 5), st.integers(0, 6)),
        max_size=25,
    ),
    synced_share=st.integers(0, 25),
    survivors_share=st.integers(0, 25),
)
def test_memory_keeps_a_prefix_of_whole_steps_through_a_crash(
    history: list[tuple[str, int, int]], synced_share: int, survivors_share: int
) -> None:
    disk = MemoryDisk()
    storage = MemoryStorage(disk, MEMBER)
    storage.load()
    model = Model()
    versions = [replace(model)]  # after each transaction since the last sync
    for at, (name, count, back) in enumerate(history):
        if name == "maintain":
            storage.maintain(idle=False)
        else:
            before = disk.logged
            storage.stage(ACTIONS[name](model, count, back))
            if disk.logged != before:
                versions.append(replace(model))
        if at < synced_share:
            storage.sync()
        if disk.unsynced == 0:
            versions = versions[-1:]
    survivors = min(survivors_share, disk.unsynced)
    disk.crash(survivors)
    after = MemoryStorage(disk, OTHER_MEMBER)
    versions[survivors].check(after.load(), after.read_snapshot())


def check_identity(open_storage: Open) -> None:
    storage = open_storage()
    assert storage.load().identity == Identity("", MEMBER)
    storage.set_identity(Identity("cluster", MEMBER))
    storage.close()
    storage = open_storage()
    assert storage.load().identity == Identity("cluster", MEMBER)
    storage.close()


def test_the_identity_is_kept() -> None:
    with sqlite_storages() as open_storage:
        check_identity(open_storage)
    with memory_storages() as open_storage:
        check_identity(open_storage)
