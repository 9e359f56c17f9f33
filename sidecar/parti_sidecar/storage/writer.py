"""The writer thread: owns the storage, commits in groups, reports in order.

Whatever waits in the queue when the thread is ready goes into one transaction with one sync
(group commit), so a slow disk makes groups larger instead of the queue longer. Completions are
reported once per group, in the order of submission, from the writer thread.

The first error ends the thread: `on_failure` is told, nothing is written after it, and what was
not reported durable is unknown. `submit`, `close` and the callbacks' consumers belong to one
thread (the event loop's); only the hand-over between that thread and the writer is concurrent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from parti_sidecar.storage.base import (
    Storage,
    StorageQueueFull,
    WriteBatch,
    WriteFailed,
)
from parti_sidecar.storage.limits import (
    CLOSE_TIMEOUT_MS,
    GROUP_BATCHES_MAX,
    GROUP_BYTES_MAX,
    IDLE_AFTER_MS,
    IDLE_PERIOD_MS,
    QUEUE_BATCHES_MAX,
    QUEUE_BYTES_MAX,
)
from parti_sidecar.storage.merging import mergeable, merged

Token = TypeVar("Token")


@dataclass(frozen=True, slots=True)
class CommitStats:
    """One group: what went into it and how long the disk took."""

    batches: int
    entries: int
    size_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Queued(Generic[Token]):
    batch: WriteBatch
    token: Token
    size_bytes: int


class StorageWriter(Generic[Token]):
    """Runs the storage, which must be loaded, on a thread of its own and closes it at the end."""

    def __init__(
        self,
        storage: Storage,
        *,
        on_durable: Callable[[list[Token]], None],
        on_failure: Callable[[Exception], None],
        on_commit: Callable[[CommitStats], None],
    ) -> None:
        self._storage = storage
        self._on_durable = on_durable
        self._on_failure = on_failure
        self._on_commit = on_commit
        self._queue: SimpleQueue[_Queued[Token] | None] = SimpleQueue()  # None: close
        self._held: _Queued[Token] | None = None  # taken, but not fit for the group before it
        self._closing = False
        self._failed = False
        # Each counter is written by one thread only; the difference is what is queued.
        self._submitted_batches = self._submitted_bytes = 0
        self._settled_batches = self._settled_bytes = 0
        self._thread = threading.Thread(target=self._run, name="parti-storage", daemon=True)
        self._thread.start()

    @property
    def queued_batches(self) -> int:
        return self._submitted_batches - self._settled_batches

    @property
    def queued_bytes(self) -> int:
        return self._submitted_bytes - self._settled_bytes

    def submit(self, batch: WriteBatch, token: Token) -> None:
        """Queue the batch; its token comes back through `on_durable`, or never."""
        if self._closing or self._failed:
            raise WriteFailed("the storage writer has ended")
        size_bytes = _size_bytes(batch)
        if self.queued_batches >= QUEUE_BATCHES_MAX or (
            self.queued_batches and self.queued_bytes + size_bytes > QUEUE_BYTES_MAX
        ):
            raise StorageQueueFull(
                f"{self.queued_batches} batches with {self.queued_bytes} bytes wait for the disk"
            )
        self._submitted_batches += 1
        self._submitted_bytes += size_bytes
        self._queue.put(_Queued(batch, token, size_bytes))

    def close(self) -> None:
        """Write what is queued, close the storage, end the thread."""
        if not self._closing:
            self._closing = True
            self._queue.put(None)
        self._thread.join(CLOSE_TIMEOUT_MS / 1000)
        if self._thread.is_alive():
            raise WriteFailed(f"the disk did not finish within {CLOSE_TIMEOUT_MS} ms")

    # -- on the writer thread ---------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._write_until_closed()
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing more is written
            self._fail(error)
        try:
            self._storage.close()
        except Exception as error:  # noqa: BLE001
            if not self._failed:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._failed = True
        self._on_failure(error)

    def _write_until_closed(self) -> None:
        pause_ms = IDLE_AFTER_MS
        while True:
            try:
                head = self._next(pause_ms)
            except Empty:
                self._storage.maintain(idle=True)
                pause_ms = IDLE_PERIOD_MS
                continue
            if head is None:
                return
            self._write_group(self._collect(head))
            self._storage.maintain(idle=False)
            pause_ms = IDLE_AFTER_MS

    def _next(self, pause_ms: int) -> _Queued[Token] | None:
        if self._held is not None:
            held, self._held = self._held, None
            return held
        return self._queue.get(timeout=pause_ms / 1000)

    def _collect(self, head: _Queued[Token]) -> list[_Queued[Token]]:
        group, batches = [head], [head.batch]
        size_bytes = head.size_bytes
        while len(group) < GROUP_BATCHES_MAX:
            try:
                queued = self._queue.get_nowait()
            except Empty:
                break
            if queued is None:
                self._queue.put(None)  # nothing is submitted after it: it stays the last
                break
            size_bytes += queued.size_bytes
            if size_bytes > GROUP_BYTES_MAX or not mergeable(batches, queued.batch):
                self._held = queued
                break
            group.append(queued)
            batches.append(queued.batch)
        return group

    def _write_group(self, group: list[_Queued[Token]]) -> None:
        batch = merged([queued.batch for queued in group])
        started = time.perf_counter()
        self._storage.write(batch)
        seconds = time.perf_counter() - started
        size_bytes = sum(queued.size_bytes for queued in group)
        self._settled_batches += len(group)
        self._settled_bytes += size_bytes
        self._on_durable([queued.token for queued in group])
        self._on_commit(CommitStats(len(group), len(batch.entries), size_bytes, seconds))


def _size_bytes(batch: WriteBatch) -> int:
    size_bytes = sum(len(entry.data) for entry in batch.entries)
    return size_bytes if batch.snapshot is None else size_bytes + len(batch.snapshot.data)
