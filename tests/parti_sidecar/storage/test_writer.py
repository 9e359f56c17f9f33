from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from parti_sidecar.storage import limits
from parti_sidecar.storage.base import (
    DiskFull,
    StorageQueueFull,
    WriteBatch,
    WriteFailed,
)
from parti_sidecar.storage.memory import MemoryDisk, MemoryStorage
from parti_sidecar.storage.writer import CommitStats, StorageWriter
from tests.parti_sidecar.storage.helpers import (
    MEMBER,
    append,
    entries,
    entry,
    hard,
    indexes,
    snapshot,
)

DEADLINE_S = 10.0
Note = TypeVar("Note")


class GatedStorage(MemoryStorage):
    """Writes one batch per `allow`; without a gate it writes at once."""

    def __init__(self, disk: MemoryDisk, *, gated: bool = True) -> None:
        super().__init__(disk, MEMBER)
        self._allowed = threading.Semaphore(0) if gated else None
        self.begun = threading.Semaphore(0)
        self.written: list[WriteBatch] = []
        self.idle = threading.Event()
        self.thread: threading.Thread | None = None

    def write(self, batch: WriteBatch) -> None:
        self.thread = threading.current_thread()
        self.begun.release()
        if self._allowed is not None:
            assert self._allowed.acquire(timeout=DEADLINE_S)
        super().write(batch)
        self.written.append(batch)

    def allow(self, count: int) -> None:
        assert self._allowed is not None
        self._allowed.release(count)

    def maintain(self, *, idle: bool) -> None:
        super().maintain(idle=idle)
        if idle:
            self.idle.set()


class Run:
    """A writer with everything it reported."""

    def __init__(self, storage: MemoryStorage) -> None:
        self.groups: list[list[int]] = []
        self.failures: list[Exception] = []
        self.commits: list[CommitStats] = []
        self.changed = threading.Condition()
        self.writer: StorageWriter[int] = StorageWriter(
            storage,
            on_durable=self._noting(self.groups),
            on_failure=self._noting(self.failures),
            on_commit=self._noting(self.commits),
        )

    def _noting(self, notes: list[Note]) -> Callable[[Note], None]:
        def note(value: Note) -> None:
            with self.changed:
                notes.append(value)
                self.changed.notify_all()

        return note

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, DEADLINE_S), (self.groups, self.failures)

    def tokens(self) -> list[int]:
        return [token for group in self.groups for token in group]


@contextmanager
def running(storage: MemoryStorage) -> Iterator[Run]:
    run = Run(storage)
    try:
        yield run
    finally:
        run.writer.close()


@pytest.fixture
def gated() -> GatedStorage:
    storage = GatedStorage(MemoryDisk())
    storage.load()
    return storage


@pytest.fixture
def free() -> GatedStorage:
    storage = GatedStorage(MemoryDisk(), gated=False)
    storage.load()
    return storage


def test_tokens_come_back_in_order_when_durable(free: GatedStorage) -> None:
    with running(free) as run:
        for index in range(1, 101):
            run.writer.submit(append(index, index), index)
        run.wait_for(lambda: len(run.tokens()) == 100)
    assert run.tokens() == list(range(1, 101))
    assert free.thread is not threading.current_thread()
    assert run.failures == []
    assert run.writer.queued_batches == run.writer.queued_bytes == 0


def test_what_waits_is_committed_as_one_group(gated: GatedStorage) -> None:
    with running(gated) as run:
        run.writer.submit(append(1, 1), 1)
        assert gated.begun.acquire(timeout=DEADLINE_S)
        for index in range(2, 10):
            run.writer.submit(append(index, index), index)
        gated.allow(2)
        run.wait_for(lambda: len(run.commits) == 2)
    assert run.groups == [[1], list(range(2, 10))]
    assert [(done.batches, done.entries) for done in run.commits] == [(1, 1), (8, 8)]
    assert run.commits[1].size_bytes == sum(len(entry.data) for entry in entries(2, 9))
    assert all(done.seconds > 0 for done in run.commits)


def test_what_must_stay_apart_is_written_apart_and_in_order(gated: GatedStorage) -> None:
    batches = [
        append(1, 1),
        append(2, 2),
        WriteBatch(snapshot=snapshot(1)),
        append(3, 3),
        hard(3, 2, commit=1),
    ]
    with running(gated) as run:
        for token, batch in enumerate(batches):
            run.writer.submit(batch, token)
            if token == 0:
                assert gated.begun.acquire(timeout=DEADLINE_S)
        gated.allow(10)
        run.wait_for(lambda: len(run.tokens()) == len(batches))
    assert run.groups == [[0], [1], [2], [3, 4]]


@pytest.mark.parametrize(
    ("limit", "value"), [("GROUP_BATCHES_MAX", 3), ("GROUP_BYTES_MAX", 3 * 1000)]
)
def test_a_group_is_bounded(
    gated: GatedStorage, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(f"parti_sidecar.storage.writer.{limit}", value)
    with running(gated) as run:
        for index in range(1, 9):
            batch = WriteBatch(entries=[entry(index, data=bytes(1000))])
            run.writer.submit(batch, index)
            if index == 1:
                assert gated.begun.acquire(timeout=DEADLINE_S)
        gated.allow(10)
        run.wait_for(lambda: len(run.tokens()) == 8)
    assert run.groups == [[1], [2, 3, 4], [5, 6, 7], [8]]


def test_a_full_queue_refuses_and_recovers(
    gated: GatedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parti_sidecar.storage.writer.QUEUE_BATCHES_MAX", 2)
    with running(gated) as run:
        run.writer.submit(append(1, 1), 1)
        run.writer.submit(append(2, 2), 2)
        with pytest.raises(StorageQueueFull, match="2 batches"):
            run.writer.submit(append(3, 3), 3)
        gated.allow(10)
        run.wait_for(lambda: len(run.tokens()) == 2)
        run.writer.submit(append(3, 3), 3)
        run.wait_for(lambda: run.tokens() == [1, 2, 3])


def test_the_queue_is_bounded_in_bytes_but_takes_any_single_batch(
    gated: GatedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parti_sidecar.storage.writer.QUEUE_BYTES_MAX", 1000)
    with running(gated) as run:
        run.writer.submit(WriteBatch(snapshot=snapshot(1, data=bytes(5000))), 1)
        assert run.writer.queued_bytes == 5000
        with pytest.raises(StorageQueueFull, match="5000 bytes"):
            run.writer.submit(append(2, 2), 2)
        gated.allow(10)
        run.wait_for(lambda: run.tokens() == [1])


def test_nothing_is_written_after_a_failure(gated: GatedStorage) -> None:
    disk = gated._disk
    with running(gated) as run:
        run.writer.submit(append(1, 1), 1)
        assert gated.begun.acquire(timeout=DEADLINE_S)
        run.writer.submit(append(2, 2), 2)
        run.writer.submit(WriteBatch(snapshot=snapshot(1)), 3)
        disk.fail_write = DiskFull("asked for")
        gated.allow(10)
        run.wait_for(lambda: bool(run.failures))
        run.writer._thread.join(DEADLINE_S)
        with pytest.raises(WriteFailed, match="has ended"):
            run.writer.submit(append(4, 4), 4)
    assert run.groups == []
    assert [str(error) for error in run.failures] == ["asked for"]
    assert disk.user is None, "the storage was closed"
    assert MemoryStorage(disk, MEMBER).load().entries == []


def test_a_bug_in_the_storage_is_a_failure_too(free: GatedStorage) -> None:
    def broken(*, idle: bool) -> None:
        raise AssertionError("a bug")

    free.maintain = broken  # type: ignore[method-assign]
    with running(free) as run:
        run.writer.submit(append(1, 1), 1)
        run.wait_for(lambda: bool(run.failures))
    assert run.groups == [[1]], "that much was durable"
    assert len(run.failures) == 1


def test_closing_writes_what_is_queued(gated: GatedStorage) -> None:
    disk = gated._disk
    with running(gated) as run:
        for index in range(1, 6):
            run.writer.submit(append(index, index), index)
        gated.allow(10)
    assert run.tokens() == [1, 2, 3, 4, 5]
    with pytest.raises(WriteFailed, match="has ended"):
        run.writer.submit(append(6, 6), 6)
    run.writer.close()
    assert indexes(MemoryStorage(disk, MEMBER).load()) == [1, 2, 3, 4, 5]


def test_closing_does_not_wait_for_ever(
    gated: GatedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parti_sidecar.storage.writer.CLOSE_TIMEOUT_MS", 1)
    run = Run(gated)
    run.writer.submit(append(1, 1), 1)
    assert gated.begun.acquire(timeout=DEADLINE_S)
    with pytest.raises(WriteFailed, match="did not finish within 1 ms"):
        run.writer.close()
    gated.allow(1)
    run.writer._thread.join(DEADLINE_S)
    assert run.tokens() == [1]


def test_housekeeping_is_done_in_a_pause(free: GatedStorage) -> None:
    with running(free) as run:
        run.writer.submit(append(1, 1), 1)
        run.wait_for(lambda: run.tokens() == [1])
        free.idle.clear()
        assert free.idle.wait(DEADLINE_S)
        assert free._disk.logged == 0, "the write-ahead log was folded"


def test_the_limits_fit_together() -> None:
    assert limits.GROUP_BATCHES_MAX <= limits.QUEUE_BATCHES_MAX
    assert limits.GROUP_BYTES_MAX <= limits.QUEUE_BYTES_MAX
    assert limits.WAL_IDLE_BYTES < limits.WAL_BYTES_MAX < limits.FREE_SPACE_FLOOR_BYTES
    assert limits.ROW_BYTES_MAX <= limits.GROUP_BYTES_MAX
