"""Snapshot files: one file per snapshot, whole and synced before any record names it.

A name contains the checksum of the contents, so that saving a snapshot never changes a file
that a durable record may already name.
"""

from __future__ import annotations

from pathlib import Path

import google_crc32c

from parti_raft.types import Snapshot
from parti_sidecar.storage.base import CorruptState, SnapshotRecord
from parti_sidecar.storage.files import StepHook, os_errors, sync_dir, write_synced

_PREFIX = "snapshot-"
_TEMP_NAME = "snapshot.tmp"


def record_of(snapshot: Snapshot) -> SnapshotRecord:
    crc32c: int = google_crc32c.value(snapshot.data)
    return SnapshotRecord(
        index=snapshot.index,
        term=snapshot.term,
        conf_state=snapshot.conf_state,
        size_bytes=len(snapshot.data),
        crc32c=crc32c,
        name=f"{_PREFIX}{snapshot.index:020d}-{snapshot.term}-{crc32c:08x}",
    )


def verified(record: SnapshotRecord, data: bytes) -> Snapshot:
    """The snapshot of the record with its data; `CorruptState` unless they belong together."""
    if len(data) != record.size_bytes:
        raise CorruptState(f"{record.name}: {len(data)} bytes, expected {record.size_bytes}")
    if google_crc32c.value(data) != record.crc32c:
        raise CorruptState(f"{record.name}: checksum mismatch")
    return Snapshot(record.index, record.term, record.conf_state, data)


class SnapshotFiles:
    """The snapshot files in a data directory."""

    def __init__(self, data_dir: Path, step_hook: StepHook) -> None:
        self._data_dir = data_dir
        self._step_hook = step_hook

    def save(self, snapshot: Snapshot) -> SnapshotRecord:
        """Write the snapshot's file durably and return the record that will name it."""
        record = record_of(snapshot)
        temp = self._data_dir / _TEMP_NAME
        with os_errors("writing a snapshot"):
            self._step_hook("snapshot-write")
            write_synced(temp, snapshot.data)
            self._step_hook("snapshot-synced")
            temp.rename(self._data_dir / record.name)
            self._step_hook("snapshot-renamed")
            sync_dir(self._data_dir)
            self._step_hook("snapshot-named")
        return record

    def read(self, record: SnapshotRecord) -> Snapshot:
        """Read and verify; `FileNotFoundError` is left to the caller, who knows what it means."""
        path = self._data_dir / record.name
        with os_errors("reading a snapshot", but_not=FileNotFoundError):
            data = path.read_bytes()
        return verified(record, data)

    def remove_others(self, current: SnapshotRecord | None) -> None:
        """Remove every snapshot file but the current one (superseded, or never recorded)."""
        keep = None if current is None else current.name
        with os_errors("removing old snapshots"):
            for path in list(self._data_dir.iterdir()):
                if path.name == _TEMP_NAME or (path.name.startswith(_PREFIX) and path.name != keep):
                    path.unlink(missing_ok=True)
                    self._step_hook("snapshot-removed")
