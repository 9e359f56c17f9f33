"""The in-memory twin of the storage, for the simulator: a disk that fails on demand.

It shares planning (`steps`), encoding (`rows`, `records`) and verification (`recovery`) with the
real storage; only the medium differs. The medium, `MemoryDisk`, is modelled on what SQLite does:
a base image plus a write-ahead log of transactions, of which a prefix is synced. A crash keeps
the synced ones and as many unsynced ones as the caller says; of a torn one nothing is left but
what lies outside of the transaction (its snapshot file). Nothing here draws random numbers or
reads a clock: the caller decides, so a seed replays exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import TypeVar

from parti_raft.types import LogIndex, MemberId, Snapshot
from parti_sidecar.storage.base import (
    BatchRejected,
    CorruptState,
    DataDirLocked,
    DiskFull,
    Identity,
    SnapshotRecord,
    StoredState,
    WriteBatch,
    WriteFailed,
)
from parti_sidecar.storage.limits import WITNESS_LAG_COMMITS_MAX
from parti_sidecar.storage.records import (
    Claim,
    LogState,
    RecordKind,
    decode_claim,
    decode_identity,
    decode_log_state,
    encode_claim,
    encode_identity,
    encode_log_state,
    encode_snapshot_record,
)
from parti_sidecar.storage.recovery import claim_of, recover
from parti_sidecar.storage.rows import Row
from parti_sidecar.storage.snapshots import record_of, verified
from parti_sidecar.storage.steps import Step, changes_identity, plan_step

Key = TypeVar("Key")


class DiskPart(Enum):
    """Where a bit can decay."""

    RECORDS = "records"
    ROWS = "rows"
    SNAPSHOTS = "snapshots"
    WITNESS = "witness"


@dataclass(frozen=True, slots=True)
class _Transaction:
    records: dict[int, bytes]
    delete_from: LogIndex | None = None
    rows: tuple[Row, ...] = ()
    floor: LogIndex = LogIndex(0)


@dataclass(slots=True)
class _Image:
    records: dict[int, bytes] = field(default_factory=dict)
    rows: dict[LogIndex, Row] = field(default_factory=dict)  # by first index, ascending

    def apply(self, transaction: _Transaction) -> None:
        self.records.update(transaction.records)
        if transaction.delete_from is not None:
            for first_index in [at for at in self.rows if at >= transaction.delete_from]:
                del self.rows[first_index]
        self.rows.update((row.first_index, row) for row in transaction.rows)
        if transaction.floor:
            dead = [at for at, row in self.rows.items() if row.last_index <= transaction.floor]
            for first_index in dead:
                del self.rows[first_index]

    def row_holding(self, index: LogIndex) -> Row | None:
        found = (row for at, row in reversed(self.rows.items()) if at <= index)
        return next(found, None)

    def copy(self) -> _Image:
        return _Image(dict(self.records), dict(self.rows))


class MemoryDisk:
    """What outlives a crash; faults are asked for here.

    `fail_write` is raised by the next write before it leaves a trace, `fail_sync` by the next
    sync, after which it is the caller's choice at `crash` what has survived.
    """

    def __init__(self) -> None:
        self.fail_write: DiskFull | WriteFailed | None = None
        self.fail_sync: WriteFailed | None = None
        self.user: MemoryStorage | None = None
        self.files: dict[str, bytes] = {}
        self.witness: bytes | None = None
        self._base = _Image()
        self._wal: list[_Transaction] = []
        self._synced = 0

    @property
    def blank(self) -> bool:
        return not (self._base.records or self._wal or self.files or self.witness)

    @property
    def unsynced(self) -> int:
        """How many written transactions a crash may lose."""
        return len(self._wal) - self._synced

    @property
    def logged(self) -> int:
        """How many transactions are in the write-ahead log."""
        return len(self._wal)

    def image(self) -> _Image:
        image = self._base.copy()
        for transaction in self._wal:
            image.apply(transaction)
        return image

    def append(self, transaction: _Transaction) -> None:
        if self.fail_write is not None:
            error, self.fail_write = self.fail_write, None
            raise error
        self._wal.append(transaction)

    def sync(self) -> None:
        if self.fail_sync is not None:
            error, self.fail_sync = self.fail_sync, None
            raise error
        self._synced = len(self._wal)

    def checkpoint(self) -> None:
        """Fold what is synced into the base image."""
        for transaction in self._wal[: self._synced]:
            self._base.apply(transaction)
        del self._wal[: self._synced]
        self._synced = 0

    def crash(self, survivors: int = 0) -> None:
        """Lose power: unsynced transactions are gone, except for the first `survivors`."""
        assert 0 <= survivors <= self.unsynced, "only what was written can survive"
        self.decay_log(self._synced + survivors)
        self.user = None

    def decay_log(self, keep: int) -> None:
        """Lose all but the first `keep` transactions of the write-ahead log, synced or not."""
        del self._wal[keep:]
        self._synced = len(self._wal)

    def flip_bit(self, part: DiskPart, position: int) -> None:
        """Flip one bit of a part that is not empty; the position is taken modulo its size."""
        self._synced = len(self._wal)
        self.checkpoint()
        match part:
            case DiskPart.RECORDS:
                self._base.records = _flipped(self._base.records, position)
            case DiskPart.ROWS:
                rows = self._base.rows
                bodies = _flipped({at: row.body for at, row in rows.items()}, position)
                self._base.rows = {at: replace(rows[at], body=bodies[at]) for at in rows}
            case DiskPart.SNAPSHOTS:
                self.files = _flipped(self.files, position)
            case DiskPart.WITNESS:
                assert self.witness is not None, "a blank disk has no witness to damage"
                self.witness = _flipped({0: self.witness}, position)[0]


class MemoryStorage:
    """`Storage` on a `MemoryDisk`; a blank one becomes that of member `new_member_id`.

    `write` is `stage` and `sync`; the simulator calls the two apart to crash in between.
    """

    def __init__(self, disk: MemoryDisk, new_member_id: MemberId) -> None:
        if disk.user is not None:
            raise DataDirLocked(Path("(memory)"), None)
        if not new_member_id:
            raise ValueError("a member id is not zero")
        disk.user = self
        self._disk = disk
        self._failed = False
        self._loaded = False
        self._witness_lag_commits = 0
        if disk.blank:
            self._create(Identity(cluster_id="", member_id=new_member_id))

    def _create(self, identity: Identity) -> None:
        state = LogState()
        records = {
            int(RecordKind.IDENTITY): encode_identity(identity),
            int(RecordKind.LOG_STATE): encode_log_state(state),
        }
        self._disk.append(_Transaction(records))
        self._disk.sync()
        self._disk.checkpoint()
        self._disk.witness = encode_claim(claim_of(identity, state, sequence=0))

    def load(self) -> StoredState:
        image = self._disk.image()
        decode_identity(image.records.get(RecordKind.IDENTITY))
        floor = decode_log_state(image.records.get(RecordKind.LOG_STATE)).floor
        live_rows = [row for row in image.rows.values() if row.last_index > floor.index]
        recovered = recover(image.records, live_rows, self._claim())
        self._image = image
        self._identity = recovered.stored.identity
        self._state = recovered.log_state
        self._snapshot = recovered.stored.snapshot
        self._loaded = True
        self.read_snapshot()
        self._remove_other_files()
        self._write_claim()
        return recovered.stored

    def _claim(self) -> Claim | None:
        try:
            return None if self._disk.witness is None else decode_claim(self._disk.witness)
        except CorruptState:
            return None

    def set_identity(self, identity: Identity) -> None:
        self._require_usable()
        if changes_identity(self._identity, identity):
            self._append(_Transaction({int(RecordKind.IDENTITY): encode_identity(identity)}))
            self.sync()
            self._identity = identity
            self._write_claim()

    def write(self, batch: WriteBatch) -> None:
        self.stage(batch)
        self.sync()

    def stage(self, batch: WriteBatch) -> None:
        """Write without syncing: the step is there, unless the power fails."""
        self._require_usable()
        step = plan_step(self._state, batch, self._image.row_holding)
        if step is None:
            return
        record = None if batch.snapshot is None else record_of(batch.snapshot)
        self._append(_transaction(step, record))
        if batch.snapshot is not None and record is not None:
            self._disk.files[record.name] = batch.snapshot.data
            self._snapshot = record
        self._state = step.state
        self._witness_lag_commits += 1

    def sync(self) -> None:
        """Make everything staged durable."""
        self._require_usable()
        try:
            self._disk.sync()
        except WriteFailed:
            self._failed = True
            raise
        self._remove_other_files()

    def _append(self, transaction: _Transaction) -> None:
        try:
            self._disk.append(transaction)
        except WriteFailed:
            self._failed = True
            raise
        self._image.apply(transaction)

    def _remove_other_files(self) -> None:
        keep = None if self._snapshot is None else self._snapshot.name
        for name in [name for name in self._disk.files if name != keep]:
            del self._disk.files[name]

    def _write_claim(self) -> None:
        assert self._disk.unsynced == 0, "only what is durable may be claimed"
        previous = self._claim()
        sequence = 0 if previous is None else previous.sequence + 1
        claim = claim_of(self._identity, self._state, sequence)
        self._disk.witness = encode_claim(claim)
        self._witness_lag_commits = 0

    def maintain(self, *, idle: bool) -> None:
        self._require_usable()
        if idle or self._witness_lag_commits >= WITNESS_LAG_COMMITS_MAX:
            self.sync()
            self._write_claim()
        if idle:
            self._disk.checkpoint()

    def read_snapshot(self) -> Snapshot:
        record = self._snapshot
        if record is None:
            return Snapshot()
        if record.name not in self._disk.files:
            raise CorruptState(f"{record.name} is missing")
        return verified(record, self._disk.files[record.name])

    def _require_usable(self) -> None:
        if self._disk.user is not self:
            raise WriteFailed("the storage is closed")
        if self._failed:
            raise WriteFailed("an earlier write failed")
        if not self._loaded:
            raise BatchRejected("load comes first")

    def close(self) -> None:
        if self._disk.user is self:
            if self._loaded and not self._failed:
                self.maintain(idle=True)
            self._disk.user = None


def _transaction(step: Step, record: SnapshotRecord | None) -> _Transaction:
    records = {int(RecordKind.LOG_STATE): encode_log_state(step.state)}
    if record is not None:
        records[RecordKind.SNAPSHOT] = encode_snapshot_record(record)
    return _Transaction(records, step.delete_from, tuple(step.rows), step.state.floor.index)


def _flipped(parts: dict[Key, bytes], position: int) -> dict[Key, bytes]:
    position %= 8 * sum(map(len, parts.values()))
    flipped = {}
    for key, data in parts.items():
        if 0 <= position < 8 * len(data):
            changed = bytearray(data)
            changed[position // 8] ^= 1 << position % 8
            flipped[key] = bytes(changed)
        else:
            flipped[key] = data
        position -= 8 * len(data)
    return flipped
