from __future__ import annotations

import errno
import os
import resource
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import pytest

from parti_raft.types import NO_MEMBER, LogIndex, MemberId, Snapshot
from parti_sidecar.storage.base import (
    FORMAT_VERSION,
    BatchRejected,
    CorruptState,
    DiskFull,
    ForeignIdentity,
    FormatTooNew,
    Identity,
    WriteBatch,
    WriteFailed,
)
from parti_sidecar.storage.limits import (
    COMPACT_ROWS_MAX,
    WAL_BYTES_MAX,
    WAL_IDLE_BYTES,
    WITNESS_AGE_MS_MAX,
)
from parti_sidecar.storage.records import RecordKind
from parti_sidecar.storage.sqlite import SqliteStorage
from tests.parti_sidecar.storage.children import run_child
from tests.parti_sidecar.storage.helpers import (
    MEMBER,
    append,
    entries,
    entry,
    hard,
    indexes,
    opened,
    reload,
    snapshot,
)


class Faults:
    """A step hook that raises where and what it is told to."""

    def __init__(self) -> None:
        self.at: dict[str, int] = {}
        self.passed: list[str] = []

    def __call__(self, name: str) -> None:
        self.passed.append(name)
        if name in self.at:
            raise OSError(self.at[name], os.strerror(self.at[name]))


def open_with(data_dir: Path, hook: Callable[[str], None]) -> SqliteStorage:
    storage = SqliteStorage(data_dir, MEMBER, free_space_floor_bytes=0, step_hook=hook)
    storage.load()
    return storage


def test_a_blank_directory_becomes_that_of_the_new_member(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    assert reload(tmp_path).identity == Identity("", MemberId(2))
    with opened(tmp_path) as storage:
        storage.set_identity(Identity("cluster", MemberId(2)))
        storage.set_identity(Identity("cluster", MemberId(2)))
        with pytest.raises(ForeignIdentity, match="'other'"):
            storage.set_identity(Identity("other", MemberId(2)))
    assert reload(tmp_path).identity == Identity("cluster", MemberId(2))


def test_a_member_id_of_zero_is_no_member_id(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not zero"):
        SqliteStorage(tmp_path, NO_MEMBER)


def test_foreign_files_do_not_make_a_blank_directory(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CorruptState, match=r"member\.db is missing beside notes\.txt"):
        SqliteStorage(tmp_path, MEMBER)
    assert (tmp_path / "notes.txt").exists()


def test_the_settings_are_the_measured_ones(tmp_path: Path) -> None:
    with opened(tmp_path) as storage:
        storage.write(append(1, 1))
        read = storage._database.execute
        assert read("PRAGMA synchronous") == [(2,)]
        assert read("PRAGMA journal_mode") == [("wal",)]
        assert read("PRAGMA wal_autocheckpoint") == [(0,)]
        assert not (tmp_path / "member.db-shm").exists()
        other = sqlite3.connect(tmp_path / "member.db", timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("SELECT * FROM records")
        other.close()


def test_a_setting_that_does_not_hold_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reload(tmp_path)
    for wrong in (("no_such_pragma", 1, 1), ("synchronous", "NORMAL", 2)):
        monkeypatch.setattr("parti_sidecar.storage.database._PRAGMAS", (wrong,))
        with pytest.raises(WriteFailed, match=wrong[0]):
            SqliteStorage(tmp_path, MEMBER)


def test_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    reload(tmp_path)
    payload = struct.pack("<I", FORMAT_VERSION + 1) + b"something new"
    crc = google_crc32c.extend(google_crc32c.value(b"\x01"), payload)
    connection = sqlite3.connect(tmp_path / "member.db", isolation_level=None)
    connection.execute(
        "UPDATE records SET body = ? WHERE kind = 1", (payload + struct.pack("<I", crc),)
    )
    connection.execute("ALTER TABLE entries ADD COLUMN novelty BLOB")
    connection.close()
    with pytest.raises(FormatTooNew):
        reload(tmp_path)


def test_a_transaction_that_raises_is_rolled_back(tmp_path: Path) -> None:
    with opened(tmp_path) as storage:
        database = storage._database
        before = database.records()

        def half_a_step() -> None:
            with database.transaction():
                database.put_record(RecordKind.SNAPSHOT, b"half a step")
                raise RuntimeError

        with pytest.raises(RuntimeError):
            half_a_step()
        with database.transaction():
            assert database.records() == before


def test_steps_are_rows_and_rows_are_few(tmp_path: Path) -> None:
    with opened(tmp_path) as storage:
        storage.write(append(1, 64))
        assert storage._database.execute("SELECT count(*) FROM entries") == [(1,)]


def test_a_refused_batch_leaves_no_trace_and_no_failure(tmp_path: Path) -> None:
    with opened(tmp_path) as storage:
        storage.write(append(1, 3))
        with pytest.raises(BatchRejected):
            storage.write(append(5, 6))
        storage.write(append(4, 4))
    assert indexes(reload(tmp_path)) == [1, 2, 3, 4]


def test_nothing_is_written_before_the_load(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path, MEMBER)
    with pytest.raises(BatchRejected, match="load comes first"):
        storage.write(append(1, 1))
    storage.close()
    with pytest.raises(WriteFailed, match="closed"):
        storage.write(append(1, 1))


def test_a_snapshot_is_read_back_whole(tmp_path: Path) -> None:
    with opened(tmp_path) as storage:
        assert storage.read_snapshot() == Snapshot()
        for index in (5, 9):
            storage.write(WriteBatch(snapshot=snapshot(index, data=bytes([index]) * 100_000)))
            assert storage.read_snapshot() == snapshot(index, data=bytes([index]) * 100_000)
        assert len(list(tmp_path.glob("snapshot*"))) == 1
        storage.write(WriteBatch(snapshot=snapshot(10, data=b"")))
        assert storage.read_snapshot() == snapshot(10, data=b"")


def test_a_snapshot_that_cannot_be_read_now_is_not_taken_for_damage(tmp_path: Path) -> None:
    with opened(tmp_path) as storage:
        storage.write(WriteBatch(snapshot=snapshot(5)))
        (path,) = tmp_path.glob("snapshot-*")
        path.rename(tmp_path / "elsewhere")
        path.mkdir()
        with pytest.raises(WriteFailed, match="reading a snapshot"):
            storage.read_snapshot()
        path.rmdir()
        with pytest.raises(CorruptState, match="is missing"):
            storage.read_snapshot()


def test_a_reader_that_lost_the_race_reads_the_newer_snapshot(tmp_path: Path) -> None:
    with opened(tmp_path) as storage:
        storage.write(WriteBatch(snapshot=snapshot(5)))
        read = storage._snapshots.read
        looked_up: list[object] = []

        def replaced_meanwhile(record: object) -> Snapshot:
            if not looked_up:
                storage.write(WriteBatch(snapshot=snapshot(6)))
            looked_up.append(record)
            return read(record)  # type: ignore[arg-type]

        storage._snapshots.read = replaced_meanwhile  # type: ignore[method-assign]
        assert storage.read_snapshot() == snapshot(6)


def test_compaction_deletes_a_bounded_number_of_rows_per_transaction(tmp_path: Path) -> None:
    rows = 2 * COMPACT_ROWS_MAX + 10
    with opened(tmp_path) as storage:
        count = storage._database.execute
        for index in range(1, rows + 1):
            count("INSERT INTO entries VALUES (?, ?, x'')", (-index, -index))
        storage.write(WriteBatch(snapshot=snapshot(3)))
        assert count("SELECT count(*) FROM entries") == [(rows - COMPACT_ROWS_MAX,)]
        storage.maintain(idle=False)
        assert count("SELECT count(*) FROM entries") == [(rows - COMPACT_ROWS_MAX,)]
        storage.maintain(idle=True)
        assert count("SELECT count(*) FROM entries") == [(10,)]
        storage.write(hard(1, commit=3))
        assert count("SELECT count(*) FROM entries") == [(0,)]
        assert not storage._dead_rows


def test_the_log_is_copied_early_when_idle_and_at_last_when_busy(tmp_path: Path) -> None:
    faults = Faults()
    storage = open_with(tmp_path, faults)
    size_bytes, written, index = 64 << 10, 0, 0
    copied: dict[bool, int] = {}
    for idle in (True, False):
        faults.passed.clear()
        written = 0
        while "checkpointed" not in faults.passed:
            index += 1
            storage.write(WriteBatch(entries=[entry(index, data=bytes(size_bytes))]))
            written += size_bytes
            storage.maintain(idle=idle)
        copied[idle] = written
    assert WAL_IDLE_BYTES * 0.7 < copied[True] <= WAL_IDLE_BYTES
    assert WAL_BYTES_MAX * 0.7 < copied[False] <= WAL_BYTES_MAX
    assert (tmp_path / "member.db-wal").stat().st_size < 1.1 * WAL_BYTES_MAX
    storage.close()


def test_the_witness_is_written_when_it_is_old_and_the_member_idle(tmp_path: Path) -> None:
    now_ms = 0
    storage = SqliteStorage(tmp_path, MEMBER, free_space_floor_bytes=0, now_ms=lambda: now_ms)
    storage.load()

    def witnessed() -> int:
        assert storage._witness.claim is not None
        return storage._witness.claim.state.last_index

    storage.write(append(1, 2))
    storage.maintain(idle=True)
    now_ms = WITNESS_AGE_MS_MAX
    storage.maintain(idle=False)
    assert witnessed() == 0
    storage.maintain(idle=True)
    assert witnessed() == 2
    written = storage._witness.claim
    now_ms *= 2
    storage.maintain(idle=True)
    assert storage._witness.claim is written, "nothing new to witness"
    storage.write(append(3, 3))
    storage.close()
    assert witnessed() == 3


def test_entries_are_refused_on_a_full_disk_but_votes_and_compaction_are_not(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as storage:
        storage.write(append(1, 3))
        storage.write(WriteBatch(snapshot=snapshot(3)))
        storage._free_space_floor_bytes = 1 << 62
        with pytest.raises(DiskFull, match="are reserved"):
            storage.write(append(4, 4))
        with pytest.raises(DiskFull, match="are reserved"):
            storage.write(WriteBatch(snapshot=snapshot(4)))
        storage.write(hard(7, 2, commit=3))
        storage.write(WriteBatch(compact_to=LogIndex(2)))
    stored = reload(tmp_path)
    assert stored.hard_state == hard(7, 2, commit=3).hard_state
    assert indexes(stored) == [3]


def test_a_database_without_room_refuses_the_step_and_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path) as storage:
        storage.write(append(1, 3))
        storage._database.execute("PRAGMA max_page_count=6")
        with pytest.raises(DiskFull, match="SQLITE_FULL"):
            storage.write(WriteBatch(entries=[entry(4, data=bytes(1 << 16))]))
        storage.write(hard(2, 3))
        storage._database.execute("PRAGMA max_page_count=1000")
        storage.write(append(4, 5, term=2))
    assert reload(tmp_path).entries == entries(1, 3) + entries(4, 5, term=2)


@pytest.mark.parametrize("at", ["snapshot-write", "snapshot-synced", "snapshot-renamed"])
def test_a_snapshot_without_room_leaves_the_one_before(tmp_path: Path, at: str) -> None:
    faults = Faults()
    storage = open_with(tmp_path, faults)
    storage.write(WriteBatch(snapshot=snapshot(3)))
    faults.at = {at: errno.ENOSPC}
    with pytest.raises(DiskFull, match="writing a snapshot"):
        storage.write(WriteBatch(snapshot=snapshot(8)))
    assert storage.read_snapshot() == snapshot(3)
    assert len(list(tmp_path.glob("snapshot*"))) == 1, "what was half written is gone"
    faults.at = {}
    storage.write(WriteBatch(snapshot=snapshot(8)))
    storage.close()
    assert indexes(reload(tmp_path)) == []


@pytest.mark.parametrize("at", ["snapshot-synced", "snapshot-named"])
def test_after_an_io_error_nothing_more_is_written(tmp_path: Path, at: str) -> None:
    faults = Faults()
    storage = open_with(tmp_path, faults)
    storage.write(append(1, 3))
    faults.at = {at: errno.EIO}
    with pytest.raises(WriteFailed, match="Input/output error"):
        storage.write(WriteBatch(snapshot=snapshot(3)))
    faults.at = {}
    faults.passed.clear()
    earlier = pytest.raises(WriteFailed, match="an earlier write failed")
    with earlier:
        storage.write(append(4, 4))
    with earlier:
        storage.set_identity(Identity("cluster", MEMBER))
    with earlier:
        storage.maintain(idle=True)
    storage.close()
    assert faults.passed == []
    assert reload(tmp_path).entries == entries(1, 3)


def test_an_io_error_of_the_witness_is_fatal_too(tmp_path: Path) -> None:
    faults = Faults()
    storage = open_with(tmp_path, faults)
    faults.at = {"witness-written": errno.EIO}
    with pytest.raises(WriteFailed, match="writing the witness"):
        storage.set_identity(Identity("cluster", MEMBER))
    faults.at = {}
    with pytest.raises(WriteFailed, match="an earlier write failed"):
        storage.write(append(1, 1))
    storage.close()


def test_an_io_error_inside_sqlite_is_fatal(tmp_path: Path) -> None:
    """The write-ahead log hits a file size limit, which SQLite reports as an I/O error."""

    def child(report: Callable[[bytes], None]) -> None:
        storage = open_with(tmp_path, lambda _name: None)
        storage.write(append(1, 3))
        size_bytes = (tmp_path / "member.db-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes + 5000, -1))
        with pytest.raises(WriteFailed, match="SQLITE_IOERR"):
            storage.write(WriteBatch(entries=[entry(4, data=bytes(1 << 20))]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        with pytest.raises(WriteFailed, match="an earlier write failed"):
            storage.write(append(4, 4))
        report(b"stopped")
        os._exit(0)

    assert run_child(child) == (0, b"stopped")
    assert reload(tmp_path).entries == entries(1, 3)


def test_checks_hold_without_assertions(tmp_path: Path) -> None:
    """`python -O` must not turn a safety check off."""
    program = f"""
import sys
from pathlib import Path
from parti_raft.types import Entry, HardState
from parti_sidecar.storage.base import BatchRejected, WriteBatch
from parti_sidecar.storage.sqlite import SqliteStorage
storage = SqliteStorage(Path({str(tmp_path)!r}), 5, free_space_floor_bytes=0)
storage.load()
storage.write(WriteBatch(HardState(2, 3, 0), [Entry(1, 1)]))
refused = 0
for batch in (WriteBatch(entries=[Entry(1, 3)]), WriteBatch(HardState(2, 4, 0)),
              WriteBatch(HardState(1, 0, 0)), WriteBatch(compact_to=1)):
    try:
        storage.write(batch)
    except BatchRejected:
        refused += 1
storage.close()
sys.exit(0 if refused == 4 and not __debug__ else 1)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-O", "-c", program], env=environment, timeout=30, check=False
    )
    assert ran.returncode == 0


def test_the_slow_checksum_is_not_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google_crc32c, "implementation", "python")
    with pytest.raises(WriteFailed, match="C code"):
        SqliteStorage(tmp_path, MEMBER)
