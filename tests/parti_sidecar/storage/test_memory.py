from __future__ import annotations

import random

import pytest

from parti_raft.types import NO_MEMBER, LogIndex, MemberId, Snapshot
from parti_sidecar.storage.base import (
    BatchRejected,
    CorruptState,
    DataDirLocked,
    DiskFull,
    Identity,
    WriteBatch,
    WriteFailed,
)
from parti_sidecar.storage.limits import WITNESS_LAG_COMMITS_MAX
from parti_sidecar.storage.memory import DiskPart, MemoryDisk, MemoryStorage
from tests.parti_sidecar.storage.helpers import (
    MEMBER,
    OTHER_MEMBER,
    append,
    entries,
    hard,
    indexes,
    snapshot,
)

SEED = 20261121


def started(disk: MemoryDisk) -> MemoryStorage:
    storage = MemoryStorage(disk, MEMBER)
    storage.load()
    return storage


def filled() -> MemoryDisk:
    disk = MemoryDisk()
    storage = started(disk)
    storage.set_identity(Identity("cluster", MEMBER))
    storage.write(append(1, 6, commit=4))
    storage.write(WriteBatch(snapshot=snapshot(3)))
    storage.write(WriteBatch(compact_to=LogIndex(2)))
    storage.close()
    return disk


def test_what_was_written_but_not_synced_is_lost_in_a_crash() -> None:
    disk = MemoryDisk()
    storage = started(disk)
    storage.write(append(1, 2))
    storage.stage(append(3, 4))
    assert disk.unsynced == 1
    disk.crash()
    after = MemoryStorage(disk, OTHER_MEMBER).load()
    assert indexes(after) == [1, 2]
    assert after.identity.member_id == MEMBER


def test_unsynced_steps_may_survive_from_the_first_on() -> None:
    disk = MemoryDisk()
    storage = started(disk)
    for index in (1, 2, 3):
        storage.stage(append(index, index))
    disk.crash(survivors=2)
    assert indexes(MemoryStorage(disk, MEMBER).load()) == [1, 2]


def test_of_a_torn_step_only_the_snapshot_file_is_there_and_is_cleared() -> None:
    disk = MemoryDisk()
    storage = started(disk)
    storage.write(append(1, 2))
    storage.write(WriteBatch(snapshot=snapshot(1)))
    storage.stage(WriteBatch(snapshot=snapshot(9, 2)))
    disk.crash()
    assert len(disk.files) == 2
    after = MemoryStorage(disk, MEMBER)
    assert indexes(after.load()) == [1, 2]
    assert after.read_snapshot() == snapshot(1)
    assert len(disk.files) == 1


def test_a_full_disk_refuses_the_step_and_goes_on() -> None:
    disk = MemoryDisk()
    storage = started(disk)
    disk.fail_write = DiskFull("asked for")
    with pytest.raises(DiskFull, match="asked for"):
        storage.write(append(1, 2))
    storage.write(append(1, 1))
    disk.crash()
    assert indexes(MemoryStorage(disk, MEMBER).load()) == [1]


@pytest.mark.parametrize("survivors", [0, 1])
def test_whether_a_step_outlives_its_failed_sync_is_unknown(survivors: int) -> None:
    disk = MemoryDisk()
    storage = started(disk)
    disk.fail_sync = WriteFailed("asked for")
    with pytest.raises(WriteFailed, match="asked for"):
        storage.write(append(1, 1))
    with pytest.raises(WriteFailed, match="earlier write failed"):
        storage.write(append(1, 1))
    disk.crash(survivors)
    assert indexes(MemoryStorage(disk, MEMBER).load()) == [1][:survivors]


def test_after_a_failed_write_nothing_more_is_written() -> None:
    disk = MemoryDisk()
    storage = started(disk)
    disk.fail_write = WriteFailed("asked for")
    with pytest.raises(WriteFailed, match="asked for"):
        storage.write(append(1, 1))
    with pytest.raises(WriteFailed, match="earlier write failed"):
        storage.maintain(idle=True)
    storage.close()
    assert indexes(MemoryStorage(disk, MEMBER).load()) == []


@pytest.mark.parametrize("part", DiskPart)
def test_a_flipped_bit_anywhere_is_noticed(part: DiskPart) -> None:
    choose = random.Random(SEED)
    for _attempt in range(200):
        disk = filled()
        position = choose.randrange(1 << 20)
        disk.flip_bit(part, position)
        print(f"seed {SEED}: bit {position} of {part}")  # noqa: T201 - shown on failure
        damaged = MemoryStorage(disk, MEMBER)
        with pytest.raises(CorruptState):  # not raised: seed and position are in the output
            damaged.load()


def test_a_decayed_log_is_noticed_below_the_witness_only() -> None:
    disk = MemoryDisk()
    storage = started(disk)
    for index in range(1, WITNESS_LAG_COMMITS_MAX + 1):
        storage.write(append(index, index))
    storage.maintain(idle=False)
    storage.write(hard(1, 2))
    disk.crash()
    assert disk.logged == WITNESS_LAG_COMMITS_MAX + 1
    disk.decay_log(WITNESS_LAG_COMMITS_MAX)
    storage = MemoryStorage(disk, MEMBER)
    assert storage.load().hard_state.vote == NO_MEMBER, "the vote is lost, and nobody can tell"
    disk.crash()
    disk.decay_log(WITNESS_LAG_COMMITS_MAX - 1)
    with pytest.raises(CorruptState, match="was durable to 64"):
        MemoryStorage(disk, MEMBER).load()


def test_a_lost_snapshot_file_or_witness_is_noticed() -> None:
    disk = filled()
    disk.files.clear()
    with pytest.raises(CorruptState, match=r"snapshot-.* is missing"):
        MemoryStorage(disk, MEMBER).load()
    disk = filled()
    disk.witness = None
    with pytest.raises(CorruptState, match="witness is missing"):
        MemoryStorage(disk, MEMBER).load()


def test_a_disk_has_one_user() -> None:
    disk = MemoryDisk()
    first = started(disk)
    with pytest.raises(DataDirLocked):
        MemoryStorage(disk, MEMBER)
    disk.crash()
    second = started(disk)
    with pytest.raises(WriteFailed, match="closed"):
        first.write(append(1, 1))
    first.close()
    second.write(append(1, 1))
    second.close()
    assert MemoryStorage(disk, MEMBER).load().entries == entries(1, 1)


def test_it_is_used_as_the_other_one() -> None:
    with pytest.raises(ValueError, match="not zero"):
        MemoryStorage(MemoryDisk(), MemberId(0))
    storage = MemoryStorage(MemoryDisk(), MEMBER)
    with pytest.raises(BatchRejected, match="load comes first"):
        storage.write(append(1, 1))
    storage.load()
    assert storage.read_snapshot() == Snapshot()
