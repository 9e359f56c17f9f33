"""The disk of a machine: the in-memory storage twin, with delays, and its writer.

`SimWriter` stands in for the writer thread: groups of batches are merged by the very same rules,
staged at once, and durable after a delay. A crash in between loses what was not synced.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from parti_raft.replica_values import PersistJob
from parti_sidecar.storage.base import Storage, StorageError, StorageQueueFull, WriteBatch
from parti_sidecar.storage.limits import GROUP_BATCHES_MAX, QUEUE_BATCHES_MAX
from parti_sidecar.storage.memory import MemoryStorage
from parti_sidecar.storage.merging import mergeable, merged
from parti_sidecar.storage.writer import CommitStats
from tests.sim.timeline import MS, Timeline

if TYPE_CHECKING:
    from tests.sim.process import Process

IDLE_US = 200 * MS


class SimWriter:
    """One process's writer; see the module's docstring."""

    def __init__(
        self,
        process: Process,
        storage: MemoryStorage,
        *,
        on_durable: Callable[[list[PersistJob]], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._process = process
        self._timeline: Timeline = process.world.timeline
        self._rng: Random = process.rng
        self._storage = storage
        self._on_durable = on_durable
        self._on_failure = on_failure
        self._queue: list[tuple[WriteBatch, PersistJob]] = []
        self._busy = False
        self._closed = False
        self.failed = False
        self.durable_index = storage._state.last_index
        process.writer = self

    def submit(self, batch: WriteBatch, token: PersistJob) -> None:
        assert not self._closed, "written to after its end"
        if len(self._queue) >= QUEUE_BATCHES_MAX:
            raise StorageQueueFull(f"{len(self._queue)} batches wait for the disk")
        self._queue.append((batch, token))
        self._begin()

    def close(self) -> None:
        """Write what is queued, at once."""
        while self._queue and not self.failed:
            tokens = self._stage()
            if tokens:
                self._sync(tokens)
        self._closed = True
        self._guard(self._storage.close)

    def _begin(self) -> None:
        if self._busy or self.failed or not self._queue:
            return
        self._busy = True
        start_us = self._rng.randint(10, 100)
        self._timeline.after(start_us, self._write)

    def _write(self) -> None:
        if not self._usable():
            return
        tokens = self._stage()
        if tokens:
            self._timeline.after(self._process.machine.sync_us(), lambda: self._finish(tokens))

    def _finish(self, tokens: list[PersistJob]) -> None:
        if not self._usable():
            return
        self._sync(tokens)
        self._busy = False
        self._begin()
        if not self._busy and not self.failed:
            self._timeline.after(IDLE_US, self._idle)

    def _idle(self) -> None:
        if self._usable() and not self._busy:
            self._guard(lambda: self._storage.maintain(idle=True))

    def _usable(self) -> bool:
        return self._process.alive and not self.failed and not self._closed

    def _stage(self) -> list[PersistJob]:
        group = [self._queue.pop(0)]
        batches = [group[0][0]]
        while self._queue and len(group) < GROUP_BATCHES_MAX:
            if not mergeable(batches, self._queue[0][0]):
                break
            batches.append(self._queue[0][0])
            group.append(self._queue.pop(0))
        self._guard(lambda: self._storage.stage(merged(batches)))
        return [] if self.failed else [token for _, token in group]

    def _sync(self, tokens: list[PersistJob]) -> None:
        self._guard(self._storage.sync)
        if self.failed:
            return
        self._guard(lambda: self._storage.maintain(idle=False))
        if not self.failed:
            state = self._storage._state
            self.durable_index = state.last_index
            self._process.world.raft_checks.synced(self._process, state.hard_state.term)
            self._on_durable(tokens)

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except StorageError as error:
            self.failed = True
            self._on_failure(error)


def open_writer_of(process: Process) -> Callable[..., SimWriter]:
    """What the engine calls to get its writer."""

    def open_writer(
        storage: Storage,
        *,
        on_durable: Callable[[list[PersistJob]], None],
        on_failure: Callable[[Exception], None],
        on_commit: Callable[[CommitStats], None],
    ) -> SimWriter:
        assert isinstance(storage, MemoryStorage)
        return SimWriter(process, storage, on_durable=on_durable, on_failure=on_failure)

    return open_writer
