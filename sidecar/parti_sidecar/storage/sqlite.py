"""The storage of a running member: one SQLite file, snapshot files, the witness, the lock.

A step is carried out in this order: write the snapshot's file; one transaction with records and
rows; remove superseded snapshot files. Whatever the moment of a crash, the transaction decides
what is there.

Housekeeping (`maintain`) is separate from `write`, so that no acknowledgement waits for it:
the witness, deletion of dead rows beyond the first few hundred, and checkpoints.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import google_crc32c

from parti_raft.types import MemberId, Snapshot
from parti_sidecar.storage.base import (
    BatchRejected,
    CorruptState,
    DiskFull,
    Identity,
    SnapshotRecord,
    StorageError,
    StoredState,
    WriteBatch,
    WriteFailed,
)
from parti_sidecar.storage.data_dir import ensure_member, give_up
from parti_sidecar.storage.database import DATABASE_NAME, Database
from parti_sidecar.storage.files import StepHook, no_step, os_errors
from parti_sidecar.storage.limits import (
    FREE_SPACE_FLOOR_BYTES,
    PAGE_BYTES,
    SNAPSHOT_READ_ATTEMPTS_MAX,
    WAL_BYTES_MAX,
    WAL_IDLE_BYTES,
    WITNESS_AGE_MS_MAX,
    WITNESS_LAG_COMMITS_MAX,
)
from parti_sidecar.storage.lock import DataDirLock
from parti_sidecar.storage.records import (
    LogState,
    RecordKind,
    decode_identity,
    decode_log_state,
    encode_identity,
    encode_log_state,
    encode_snapshot_record,
)
from parti_sidecar.storage.recovery import recover
from parti_sidecar.storage.snapshots import SnapshotFiles
from parti_sidecar.storage.steps import Step, changes_identity, plan_step
from parti_sidecar.storage.witness import WITNESS_NAME, Witness

_PAGES_PER_COMMIT = 3  # the records' leaf, the entries' leaf, now and then an inner page
_PAGE_OVERHEAD_BYTES = 24  # frame header in the write-ahead log
_OVERFLOW_LINK_BYTES = 4


def monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class SqliteStorage:
    """`Storage` in a data directory; a blank one becomes that of member `new_member_id`."""

    def __init__(
        self,
        data_dir: Path,
        new_member_id: MemberId,
        *,
        free_space_floor_bytes: int = FREE_SPACE_FLOOR_BYTES,
        step_hook: StepHook = no_step,
        now_ms: Callable[[], int] = monotonic_ms,
    ) -> None:
        if google_crc32c.implementation != "c":
            raise WriteFailed("google_crc32c runs without its C code; the fallback is too slow")
        self._data_dir = data_dir
        self._free_space_floor_bytes = free_space_floor_bytes
        self._step_hook = step_hook
        self._now_ms = now_ms
        self._failure: StorageError | None = None
        self._closed = False
        with os_errors("locking the data directory"):
            self._lock = DataDirLock(data_dir)
        try:
            ensure_member(data_dir, new_member_id, step_hook)
            self._open()
        except BaseException:
            self._lock.close()
            raise

    def _open(self) -> None:
        self._database = Database(self._data_dir / DATABASE_NAME, self._step_hook)
        try:
            with os_errors("opening the witness"):
                self._witness = Witness(self._data_dir / WITNESS_NAME, self._step_hook)
        except BaseException:
            self._database.close()
            raise
        self._snapshots = SnapshotFiles(self._data_dir, self._step_hook)
        self._loaded = False
        self._dead_rows = True  # a crash may have left some
        self._wal_bytes = 0
        self._witness_lag_commits = 0
        self._witness_written_ms = self._now_ms()

    # -- load -----------------------------------------------------------------------------

    def load(self) -> StoredState:
        records = self._database.records()
        decode_identity(records.get(RecordKind.IDENTITY))  # a newer format ends it here
        self._database.check_structure()
        floor = decode_log_state(records.get(RecordKind.LOG_STATE)).floor
        rows = self._database.live_rows(floor.index)
        recovered = recover(records, rows, self._witness.claim)
        stored = recovered.stored
        self._identity: Identity = stored.identity
        self._state: LogState = recovered.log_state
        self._snapshot: SnapshotRecord | None = stored.snapshot
        self._verify_snapshot_file()
        self._snapshots.remove_others(stored.snapshot)
        self._write_witness()
        self._loaded = True
        return stored

    def _verify_snapshot_file(self) -> None:
        if self._snapshot is not None:
            try:
                self._snapshots.read(self._snapshot)
            except FileNotFoundError:
                raise CorruptState(f"{self._snapshot.name} is missing") from None

    def read_snapshot(self) -> Snapshot:
        for _attempt in range(SNAPSHOT_READ_ATTEMPTS_MAX):
            record = self._snapshot
            if record is None:
                return Snapshot()
            try:
                return self._snapshots.read(record)
            except FileNotFoundError:
                if record is self._snapshot:
                    raise CorruptState(f"{record.name} is missing") from None
        raise WriteFailed("snapshots are replaced faster than they can be read")

    # -- write ----------------------------------------------------------------------------

    def set_identity(self, identity: Identity) -> None:
        self._require_usable()
        if not changes_identity(self._identity, identity):
            return
        try:
            with self._database.transaction():
                self._database.put_record(RecordKind.IDENTITY, encode_identity(identity))
            self._identity = identity
            self._write_witness()
        except StorageError as error:
            self._note_failure(error)
            raise

    def write(self, batch: WriteBatch) -> None:
        self._require_usable()
        try:
            step = plan_step(self._state, batch, self._database.row_holding)
            if step is None:
                return
            if step.rows or batch.snapshot is not None:
                self._require_room()
            self._carry_out(step, batch.snapshot)
        except DiskFull:
            self._snapshots.remove_others(self._snapshot)  # a part of the new one takes room
            raise
        except StorageError as error:
            self._note_failure(error)
            raise

    def _carry_out(self, step: Step, snapshot: Snapshot | None) -> None:
        record = None if snapshot is None else self._snapshots.save(snapshot)
        self._commit(step, record)
        if record is not None:
            self._snapshot = record
            self._snapshots.remove_others(record)

    def _commit(self, step: Step, record: SnapshotRecord | None) -> None:
        database = self._database
        dead_rows = self._dead_rows or step.state.floor != self._state.floor
        with database.transaction():
            database.put_record(RecordKind.LOG_STATE, encode_log_state(step.state))
            if record is not None:
                database.put_record(RecordKind.SNAPSHOT, encode_snapshot_record(record))
            if step.delete_from is not None:
                database.delete_rows_from(step.delete_from)
            database.insert_rows(step.rows)
            if dead_rows:
                dead_rows = database.delete_dead_rows(step.state.floor.index)
        self._state = step.state
        self._dead_rows = dead_rows
        self._wal_bytes += _wal_bytes(step)
        self._witness_lag_commits += 1

    def _require_usable(self) -> None:
        if self._closed:
            raise WriteFailed("the storage is closed")
        if self._failure is not None:
            raise WriteFailed(f"an earlier write failed: {self._failure}") from self._failure
        if not self._loaded:
            raise BatchRejected("load comes first")

    def _require_room(self) -> None:
        with os_errors("reading the free space"):
            volume = os.statvfs(self._data_dir)
        free_bytes = volume.f_bavail * volume.f_frsize
        if free_bytes < self._free_space_floor_bytes:
            raise DiskFull(f"{free_bytes} bytes free, {self._free_space_floor_bytes} are reserved")

    def _note_failure(self, error: StorageError) -> None:
        if not isinstance(error, (DiskFull, BatchRejected)):  # those left everything as it was
            self._failure = error

    # -- housekeeping ---------------------------------------------------------------------

    def maintain(self, *, idle: bool) -> None:
        self._require_usable()
        try:
            if self._witness_due(idle=idle):
                self._write_witness()
            if idle and self._dead_rows:
                with self._database.transaction():
                    self._dead_rows = self._database.delete_dead_rows(self._state.floor.index)
            if self._wal_bytes >= (WAL_IDLE_BYTES if idle else WAL_BYTES_MAX):
                self._database.checkpoint()
                self._wal_bytes = 0
        except StorageError as error:
            self._note_failure(error)
            raise

    def _witness_due(self, *, idle: bool) -> bool:
        if self._witness_lag_commits >= WITNESS_LAG_COMMITS_MAX:
            return True
        age_ms = self._now_ms() - self._witness_written_ms
        return idle and self._witness_lag_commits > 0 and age_ms >= WITNESS_AGE_MS_MAX

    def _write_witness(self) -> None:
        self._witness.write(self._identity, self._state)
        self._witness_lag_commits = 0
        self._witness_written_ms = self._now_ms()

    def give_up(self) -> None:
        """Close, and leave the directory to a new member: this one was removed from its cluster."""
        self._require_usable()
        if not self._identity.removed:
            raise BatchRejected("only the state of a removed member may be given up")
        self._closed = True
        try:
            self._witness.close()
            self._database.close()
            give_up(self._data_dir, self._step_hook)
        finally:
            self._lock.close()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        # Closing the database copies its write-ahead log, also after a failure: only steps that
        # were synced before it are copied.
        try:
            if self._loaded and self._failure is None and self._witness_lag_commits:
                self._write_witness()
        finally:
            self._witness.close()
            try:
                self._database.close()
            finally:
                self._lock.close()


def _wal_bytes(step: Step) -> int:
    """About how much a step added to the write-ahead log; SQLite does not tell."""
    pages = _PAGES_PER_COMMIT
    for row in step.rows:
        pages += len(row.body) // (PAGE_BYTES - _OVERFLOW_LINK_BYTES) + 1
    return pages * (PAGE_BYTES + _PAGE_OVERHEAD_BYTES)
