"""The SQLite file: how it is created, opened, checked, and what its errors mean.

One connection, exclusive, in WAL mode with `synchronous=FULL`: one `fdatasync` per commit, no
shared-memory file, no second opener. A pragma that SQLite does not know is ignored silently, so
each one is read back. The write-ahead log is copied into the database by hand (`checkpoint`),
never inside a commit.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from parti_raft.types import LogIndex
from parti_sidecar.storage.base import (
    CorruptState,
    DataDirLocked,
    DiskFull,
    Identity,
    StorageError,
    WriteFailed,
)
from parti_sidecar.storage.files import StepHook
from parti_sidecar.storage.limits import COMPACT_ROWS_MAX, PAGE_BYTES
from parti_sidecar.storage.records import LogState, RecordKind, encode_identity, encode_log_state
from parti_sidecar.storage.rows import Row

DATABASE_NAME = "member.db"

_PRAGMAS: tuple[tuple[str, str | int, str | int], ...] = (
    # name, value to set, value to read back; the order matters (exclusive before first access)
    ("page_size", PAGE_BYTES, PAGE_BYTES),
    ("locking_mode", "EXCLUSIVE", "exclusive"),
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "FULL", 2),
    ("wal_autocheckpoint", 0, 0),
    ("secure_delete", "OFF", 0),
    ("temp_store", "MEMORY", 2),
    ("mmap_size", 0, 0),
    ("busy_timeout", 0, 0),
)

_CREATE_RECORDS = "CREATE TABLE records (kind INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT"
_CREATE_ENTRIES = (
    "CREATE TABLE entries"
    " (first_index INTEGER PRIMARY KEY, last_index INTEGER NOT NULL, body BLOB NOT NULL) STRICT"
)
_ROW_HOLDING = (
    "SELECT first_index, last_index, body FROM entries WHERE first_index <= ?"
    " ORDER BY first_index DESC LIMIT 1"
)
_LIVE_ROWS = (
    "SELECT first_index, last_index, body FROM entries WHERE first_index >= coalesce("
    "(SELECT max(first_index) FROM entries WHERE first_index <= ?1), 0) AND last_index >= ?1"
    " ORDER BY first_index"
)
_DELETE_DEAD = (
    "DELETE FROM entries WHERE first_index IN (SELECT first_index FROM entries"
    " WHERE last_index <= ? ORDER BY first_index LIMIT ?)"
)
_SQLITE_PRIMARY_CODE = 0xFF


def create_database(path: Path, identity: Identity, step_hook: StepHook) -> None:
    """Create the file with the identity and an empty log; durable except for its name."""
    path.touch(mode=0o600)
    step_hook("database-created")
    database = Database(path, step_hook)
    try:
        with database.transaction():
            database.execute(_CREATE_RECORDS)
            database.execute(_CREATE_ENTRIES)
            database.put_record(RecordKind.IDENTITY, encode_identity(identity))
            database.put_record(RecordKind.LOG_STATE, encode_log_state(LogState()))
        database.checkpoint()
    finally:
        database.close()
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


class Database:
    """The one connection; used by one thread at a time."""

    def __init__(self, path: Path, step_hook: StepHook) -> None:
        self._path = path
        self._step_hook = step_hook
        with _sqlite_errors(path):
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw",  # an absent file is not created
                uri=True,
                isolation_level=None,
                check_same_thread=False,  # opened by the starting thread, then the writer's
            )
        try:
            self._configure()
        except BaseException:
            self._connection.close()
            raise

    def _configure(self) -> None:
        for name, value, expected in _PRAGMAS:
            self.execute(f"PRAGMA {name}={value}")
            found = self.execute(f"PRAGMA {name}")
            if found != [(expected,)]:
                raise WriteFailed(f"{self._path}: {name} is {found!r}, needs {expected!r}")

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        with _sqlite_errors(self._path):
            return self._connection.execute(sql, parameters).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the body executes as one durable step, or nothing of it."""
        self._step_hook("begin")
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._step_hook("commit")
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # SQLite rolls back by itself on most errors
                self.execute("ROLLBACK")
            raise
        self._step_hook("committed")

    def check_structure(self) -> None:
        """Raise `CorruptState` if schema or b-trees are damaged (contents are not looked at)."""
        self._check_table("entries", _CREATE_ENTRIES)
        findings = self.execute("PRAGMA quick_check(1)")
        if findings != [("ok",)]:
            raise CorruptState(f"{self._path.name}: {findings[0][0]}")

    def _check_table(self, name: str, statement: str) -> None:
        found = self.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (name,))
        if found != [(statement,)]:
            raise CorruptState(f"{self._path.name}: table {name} is missing or another one")

    def records(self) -> dict[int, bytes]:
        """All records; their table is the same in every format."""
        self._check_table("records", _CREATE_RECORDS)
        found = {}
        for kind, body in self.execute("SELECT kind, body FROM records"):
            if not (isinstance(kind, int) and isinstance(body, bytes)):
                raise CorruptState(f"{self._path.name}: a record has the wrong types")
            found[kind] = body
        return found

    def put_record(self, kind: RecordKind, body: bytes) -> None:
        self.execute("INSERT OR REPLACE INTO records VALUES (?, ?)", (int(kind), body))

    def live_rows(self, floor: LogIndex) -> list[Row]:
        """The rows that hold entries above the floor, in order."""
        return [_row(found) for found in self.execute(_LIVE_ROWS, (floor + 1,))]

    def row_holding(self, index: LogIndex) -> Row | None:
        """The row that begins nearest at or before the index."""
        found = self.execute(_ROW_HOLDING, (index,))
        return _row(found[0]) if found else None

    def insert_rows(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self.execute(
                "INSERT INTO entries VALUES (?, ?, ?)", (row.first_index, row.last_index, row.body)
            )

    def delete_rows_from(self, first_index: LogIndex) -> None:
        self.execute("DELETE FROM entries WHERE first_index >= ?", (first_index,))

    def delete_dead_rows(self, floor: LogIndex) -> bool:
        """Delete a bounded number of rows at or below the floor; True if more may be left."""
        self.execute(_DELETE_DEAD, (floor, COMPACT_ROWS_MAX))
        return self.execute("SELECT changes()") == [(COMPACT_ROWS_MAX,)]

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the database, so that it starts over."""
        self._step_hook("checkpoint")
        busy = self.execute("PRAGMA wal_checkpoint(PASSIVE)")[0][0]
        if busy:  # reported in the row, not as an error
            raise WriteFailed(f"{self._path}: checkpoint refused, a read is unfinished")
        self._step_hook("checkpointed")

    def close(self) -> None:
        with _sqlite_errors(self._path):
            self._connection.close()


def _row(found: tuple[object, ...]) -> Row:
    first_index, last_index, body = found
    if not (
        isinstance(first_index, int) and isinstance(last_index, int) and isinstance(body, bytes)
    ):
        raise CorruptState(f"{DATABASE_NAME}: log row {first_index!r} has the wrong types")
    return Row(LogIndex(first_index), LogIndex(last_index), body)


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _storage_error(path, error) from error


def _storage_error(path: Path, error: sqlite3.Error) -> StorageError:
    code = getattr(error, "sqlite_errorcode", None)
    name = getattr(error, "sqlite_errorname", "no code")
    what = f"{path.name}: {error} ({name})"
    match None if code is None else code & _SQLITE_PRIMARY_CODE:
        case sqlite3.SQLITE_FULL:
            return DiskFull(what)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return CorruptState(what)
        case sqlite3.SQLITE_BUSY:
            return DataDirLocked(path.parent, None)
        case _:  # above all SQLITE_IOERR: never retried
            return WriteFailed(what)
