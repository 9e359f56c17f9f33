"""Decay of every part of a data directory is noticed at load, or is one that cannot be told.

`cut` copies the live directory, which is what a power cut leaves behind: a database with its
write-ahead log. `closed` is a directory whose member ended properly.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from parti_raft.types import LogIndex
from parti_sidecar.storage.base import (
    CorruptState,
    Identity,
    StorageError,
    StoredState,
    WriteBatch,
    WriteFailed,
)
from parti_sidecar.storage.limits import PAGE_BYTES, WITNESS_LAG_COMMITS_MAX
from parti_sidecar.storage.sqlite import SqliteStorage
from tests.parti_sidecar.storage.helpers import (
    MEMBER,
    append,
    entries,
    hard,
    indexes,
    opened,
    reload,
    snapshot,
)

BATCHES = 20
SEED = 20261121


def fill(storage: SqliteStorage) -> None:
    storage.set_identity(Identity("cluster", MEMBER))
    for first in range(1, 3 * BATCHES, 3):
        storage.write(append(first, first + 2, commit=max(0, first - 2), vote=2))
    storage.write(WriteBatch(snapshot=snapshot(9, data=b"the snapshot's contents")))
    storage.write(WriteBatch(compact_to=LogIndex(5)))


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    with opened(tmp_path / "closed") as storage:
        fill(storage)
    return tmp_path / "closed"


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """After the witness was written: everything is covered by it."""
    with opened(tmp_path / "live") as storage:
        fill(storage)
        storage._write_witness()
        shutil.copytree(tmp_path / "live", tmp_path / "cut")
    return tmp_path / "cut"


def flip(path: Path, offset: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


def offset_of(path: Path, content: bytes) -> int:
    data = path.read_bytes()
    assert content in data
    return data.rindex(content)


def database(data_dir: Path) -> Path:
    return data_dir / "member.db"


def wal(data_dir: Path) -> Path:
    return data_dir / "member.db-wal"


def wal_frame(data_dir: Path, share: float) -> int:
    """The offset inside of the page of a frame that lies this far into the log."""
    frame = 24 + PAGE_BYTES
    frames = (wal(data_dir).stat().st_size - 32) // frame
    return 32 + int(frames * share) * frame + 24 + 100


def test_undamaged_directories_load(closed: Path, cut: Path) -> None:
    for data_dir in (closed, cut):
        assert indexes(reload(data_dir)) == list(range(6, 3 * BATCHES + 1))


def test_flipped_contents_of_a_row(closed: Path) -> None:
    flip(database(closed), offset_of(database(closed), b"data of 33"))
    with pytest.raises(CorruptState, match=r"log row 31\.\.33: checksum"):
        reload(closed)


def test_flipped_header_of_a_btree_page(closed: Path) -> None:
    page = offset_of(database(closed), b"data of 33") // PAGE_BYTES
    flip(database(closed), page * PAGE_BYTES, bit=2)
    with pytest.raises(CorruptState):
        reload(closed)


@pytest.mark.parametrize("offset", [0, 16, 20, 28, 100])
def test_flipped_header_of_the_database(closed: Path, offset: int) -> None:
    flip(database(closed), offset)
    with pytest.raises(CorruptState):
        reload(closed)


def test_a_database_flipped_to_a_future_file_format(closed: Path) -> None:
    """SQLite can still read it, all of it, and refuses the first write."""
    flip(database(closed), 18)
    with opened(closed) as storage, pytest.raises(WriteFailed, match="READONLY"):
        storage.write(append(61, 61))
    assert indexes(reload(closed))[-1] == 60


def decay_middle(data_dir: Path) -> None:
    flip(wal(data_dir), wal_frame(data_dir, 0.5))


def decay_last_frame(data_dir: Path) -> None:
    flip(wal(data_dir), wal(data_dir).stat().st_size - 10)


def decay_header(data_dir: Path) -> None:
    flip(wal(data_dir), 8)


def tear(data_dir: Path) -> None:
    path = wal(data_dir)
    path.write_bytes(path.read_bytes()[:-1000])


def delete_wal(data_dir: Path) -> None:
    wal(data_dir).unlink()


DECAYS = [decay_middle, decay_last_frame, decay_header, tear, delete_wal]


@pytest.mark.parametrize("decay", DECAYS)
def test_a_decayed_write_ahead_log(cut: Path, decay: Callable[[Path], None]) -> None:
    decay(cut)
    with pytest.raises(CorruptState):
        reload(cut)


def test_sqlite_itself_notices_no_decay_of_its_log(cut: Path) -> None:
    decay_middle(cut)
    connection = sqlite3.connect(database(cut))
    (count,) = connection.execute("SELECT count(*) FROM entries").fetchone()
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    assert 0 < count < BATCHES - 1


def test_a_torn_last_commit_that_nobody_was_told_of_is_absent(tmp_path: Path) -> None:
    with opened(tmp_path / "live") as storage:
        fill(storage)
        storage._write_witness()
        before = wal(tmp_path / "live").stat().st_size
        storage.write(append(61, 61))
        shutil.copytree(tmp_path / "live", tmp_path / "torn")
    path = wal(tmp_path / "torn")
    path.write_bytes(path.read_bytes()[: before + 100])
    assert indexes(reload(tmp_path / "torn"))[-1] == 60


def test_the_witness_lags_by_a_limited_number_of_commits(tmp_path: Path) -> None:
    with opened(tmp_path / "live") as storage:
        for index in range(1, 3 * WITNESS_LAG_COMMITS_MAX):
            storage.write(append(index, index))
            storage.maintain(idle=False)
        claim = storage._witness.claim
        assert claim is not None
        assert claim.state.last_index == 2 * WITNESS_LAG_COMMITS_MAX
        shutil.copytree(tmp_path / "live", tmp_path / "cut")
    decay_middle(tmp_path / "cut")
    with pytest.raises(CorruptState, match="was durable to 128"):
        reload(tmp_path / "cut")


def test_an_older_copy_of_the_database(cut: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "older") as storage:
        storage.load()
    older = database(tmp_path / "older").read_bytes()
    database(cut).write_bytes(older)
    wal(cut).unlink()
    with pytest.raises(CorruptState):
        reload(cut)


def lose_vote(storage: SqliteStorage) -> None:
    storage.write(hard(5, 3, commit=56))


def lose_term(storage: SqliteStorage) -> None:
    storage.write(hard(9, 0, commit=56))


def lose_commit(storage: SqliteStorage) -> None:
    storage.write(hard(1, 2, commit=57))


def lose_snapshot(storage: SqliteStorage) -> None:
    storage.write(WriteBatch(snapshot=snapshot(12)))


def lose_compaction(storage: SqliteStorage) -> None:
    storage.write(WriteBatch(compact_to=LogIndex(6)))


def lose_truncation(storage: SqliteStorage) -> None:
    storage.write(append(59, 60, term=2))


LAST_STEPS = [lose_vote, lose_term, lose_commit, lose_snapshot, lose_compaction, lose_truncation]


@pytest.mark.parametrize("last_step", LAST_STEPS)
def test_a_lost_last_step_that_was_witnessed(
    tmp_path: Path, last_step: Callable[[SqliteStorage], None]
) -> None:
    live = tmp_path / "live"
    with opened(live) as storage:
        fill(storage)
        shutil.copytree(live, tmp_path / "cut")
        last_step(storage)
        storage._write_witness()
        shutil.copy(live / "witness", tmp_path / "cut" / "witness")
    with pytest.raises(CorruptState, match="step 22 is the last one stored, but 23 was durable"):
        reload(tmp_path / "cut")


def test_a_lost_cluster_id(tmp_path: Path) -> None:
    live = tmp_path / "live"
    with opened(live) as storage:
        shutil.copytree(live, tmp_path / "cut")
        storage.set_identity(Identity("cluster", MEMBER))
        shutil.copy(live / "witness", tmp_path / "cut" / "witness")
    with pytest.raises(CorruptState, match="cluster id was lost"):
        reload(tmp_path / "cut")


def test_a_log_of_the_same_length_with_another_content(tmp_path: Path) -> None:
    for name, term in (("one", 1), ("other", 2)):
        with opened(tmp_path / name) as storage:
            storage.write(append(1, 3, term=term))
    shutil.copy(tmp_path / "one" / "witness", tmp_path / "other" / "witness")
    with pytest.raises(CorruptState, match="step 1 is not the one that was durable"):
        reload(tmp_path / "other")


def test_the_witness_of_another_member(closed: Path, tmp_path: Path) -> None:
    other = SqliteStorage(tmp_path / "other", MEMBER.__class__(77))
    other.load()
    other.close()
    shutil.copy(tmp_path / "other" / "witness", closed / "witness")
    with pytest.raises(CorruptState, match="another member"):
        reload(closed)


def test_a_missing_or_unreadable_witness(closed: Path) -> None:
    (closed / "witness").write_bytes(bytes(2 * PAGE_BYTES))
    with pytest.raises(CorruptState, match="witness is missing or unreadable"):
        reload(closed)
    (closed / "witness").unlink()
    with pytest.raises(CorruptState, match="witness is missing or unreadable"):
        reload(closed)


@pytest.mark.parametrize("slot", [0, 1])
def test_one_unreadable_slot_of_the_witness_leaves_the_other(closed: Path, slot: int) -> None:
    flip(closed / "witness", slot * PAGE_BYTES + 5)
    assert indexes(reload(closed))[-1] == 3 * BATCHES
    assert indexes(reload(closed))[-1] == 3 * BATCHES


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM entries WHERE first_index = 4",
        "DELETE FROM entries WHERE first_index = 31",
        "DELETE FROM entries WHERE first_index = 58",
        "DELETE FROM entries WHERE first_index >= 31",
        "DELETE FROM entries",
        "UPDATE entries SET first_index = 32 WHERE first_index = 31",
        "UPDATE entries SET last_index = 34 WHERE first_index = 31",
        "UPDATE entries SET first_index = 100 + first_index WHERE first_index < 31",
        "DELETE FROM records WHERE kind = 1",
        "DELETE FROM records WHERE kind = 2",
        "DELETE FROM records WHERE kind = 3",
        "UPDATE records SET body = (SELECT body FROM records WHERE kind = 1) WHERE kind = 2",
        "DROP TABLE entries",
        "DROP TABLE records",
    ],
)
def test_rows_that_were_lost_or_moved(closed: Path, statement: str) -> None:
    connection = sqlite3.connect(database(closed), isolation_level=None)
    connection.execute(statement)
    connection.close()
    with pytest.raises(CorruptState):
        reload(closed)


def test_a_row_of_another_history(closed: Path, tmp_path: Path) -> None:
    """It is sound by itself; only the chain tells."""
    with opened(tmp_path / "other") as storage:
        for first in range(1, 3 * BATCHES, 3):
            storage.write(append(first, first + 2, term=2))
    connection = sqlite3.connect(database(closed), isolation_level=None)
    connection.execute("ATTACH ? AS other", (str(database(tmp_path / "other")),))
    connection.execute(
        "UPDATE entries SET body = (SELECT body FROM other.entries WHERE first_index = 31)"
        " WHERE first_index = 31"
    )
    connection.close()
    with pytest.raises(CorruptState, match="does not follow the one before"):
        reload(closed)


def snapshot_file(data_dir: Path) -> Path:
    (found,) = data_dir.glob("snapshot-*")
    return found


def test_a_damaged_shortened_or_lost_snapshot_file(closed: Path) -> None:
    path = snapshot_file(closed)
    content = path.read_bytes()
    flip(path, 3)
    with pytest.raises(CorruptState, match="checksum"):
        reload(closed)
    path.write_bytes(content[:-1])
    with pytest.raises(CorruptState, match="22 bytes, expected 23"):
        reload(closed)
    path.unlink()
    with pytest.raises(CorruptState, match="is missing"):
        reload(closed)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_shortened_database(closed: Path, share: float) -> None:
    content = database(closed).read_bytes()
    database(closed).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CorruptState):
        reload(closed)


def test_a_directory_without_its_database_is_not_blank(closed: Path) -> None:
    database(closed).unlink()
    with pytest.raises(CorruptState, match=r"member\.db is missing beside snapshot"):
        reload(closed)


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 1000])
def test_something_else_in_the_place_of_the_database(closed: Path, content: bytes) -> None:
    database(closed).write_bytes(content)
    with pytest.raises(CorruptState):
        reload(closed)


def attempt(data_dir: Path) -> StoredState | None:
    try:
        return reload(data_dir)
    except StorageError:
        return None


@pytest.mark.parametrize("name", ["member.db", "member.db-wal", "witness"])
def test_a_random_flipped_bit_never_changes_what_is_loaded(
    cut: Path, closed: Path, tmp_path: Path, name: str
) -> None:
    source = closed if name == "member.db" else cut
    size = (source / name).stat().st_size
    choose = random.Random(SEED)
    shutil.copytree(source, tmp_path / "whole")
    expected = reload(tmp_path / "whole")
    noticed = 0
    for attempt_number in range(100):
        damaged = tmp_path / "damaged"
        shutil.copytree(source, damaged)
        offset, bit = choose.randrange(size), choose.randrange(8)
        flip(damaged / name, offset, bit)
        found = attempt(damaged)
        assert found in (None, expected), f"seed {SEED}, flip {attempt_number}: {offset}.{bit}"
        noticed += found is None
        shutil.rmtree(damaged)
    assert noticed > 0 or name == "witness", "most of the witness is unused"


def test_entries_that_were_never_acknowledged_may_be_there(cut: Path) -> None:
    """The store may have more than the witness claims."""
    with opened(cut) as storage:
        storage.write(append(61, 62))
        shutil.copytree(cut, cut.parent / "again")
    assert reload(cut.parent / "again").entries[-2:] == entries(61, 62)
