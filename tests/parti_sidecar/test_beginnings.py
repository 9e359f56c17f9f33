"""How a member begins: founding, resuming, joining; the settings as the pure member takes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from parti_raft.types import ConfState, Entry, EntryType, HardState, LogIndex, MemberId, Term
from parti_shard.commands import NewMember
from parti_shard.errors import PartiError, Reason
from parti_shard.policy import Policy
from parti_shard.table import Table
from parti_sidecar.beginnings import founded, joined, member_settings, resumed
from parti_sidecar.config import Mode, Role, SidecarConfig
from parti_sidecar.storage.base import Identity, Storage, StoredState, WriteBatch
from parti_sidecar.storage.memory import MemoryDisk, MemoryStorage
from parti_sidecar.storage.sqlite import SqliteStorage

ME = MemberId(7)
FOUNDER = NewMember(ME, "me", "host")
CONFIG = SidecarConfig(data_dir=Path("data"), name="me")


def first_table(cluster_id: str = "c") -> Table:
    return Table.initial(cluster_id, 4, Policy(), FOUNDER)


def blank() -> tuple[Storage, StoredState]:
    storage = MemoryStorage(MemoryDisk(), ME)
    return storage, storage.load()


def test_a_founded_cluster_is_on_disk_before_anything_runs(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path, ME, free_space_floor_bytes=0)
    restored = founded(storage, storage.load(), first_table(), FOUNDER)
    storage.set_identity(Identity("c", ME))
    storage.close()
    reopened = SqliteStorage(tmp_path, ME, free_space_floor_bytes=0)
    try:
        again = resumed(reopened, reopened.load())
    finally:
        reopened.close()
    assert again.snapshot == restored.snapshot
    assert again.snapshot.conf_state == ConfState(voters=(ME,))
    assert again.hard_state == restored.hard_state == HardState(Term(1), MemberId(0), LogIndex(1))
    assert (again.floor_index, again.floor_term) == (restored.floor_index, restored.floor_term)
    table = Table.empty()
    table.restore(again.snapshot.data)
    assert table.digest() == first_table().digest()


def test_founding_again_replaces_what_was_left_behind() -> None:
    disk = MemoryDisk()
    storage = MemoryStorage(disk, ME)
    founded(storage, storage.load(), first_table("first"), FOUNDER)
    disk.crash()
    storage = MemoryStorage(disk, ME)
    restored = founded(storage, storage.load(), first_table("second"), FOUNDER)
    assert restored.snapshot.index == restored.hard_state.commit == 2
    assert storage.read_snapshot() == restored.snapshot
    table = Table.empty()
    table.restore(storage.read_snapshot().data)
    assert table.cluster_id == "second"


def test_a_member_goes_on_with_the_log_that_it_has() -> None:
    disk = MemoryDisk()
    storage = MemoryStorage(disk, ME)
    founded(storage, storage.load(), first_table(), FOUNDER)
    entries = [Entry(Term(2), LogIndex(2), EntryType.NORMAL, b"")]
    storage.write(WriteBatch(HardState(Term(2), ME, LogIndex(2)), entries))
    disk.crash()
    storage = MemoryStorage(disk, ME)
    restored = resumed(storage, storage.load())
    assert list(restored.entries) == entries
    assert restored.hard_state == HardState(Term(2), ME, LogIndex(2))
    assert (restored.floor_index, restored.floor_term) == (1, 1)


def test_who_joins_begins_with_nothing() -> None:
    _, stored = blank()
    assert joined(stored).snapshot.index == 0


def test_who_has_begun_to_found_a_cluster_joins_no_other() -> None:
    storage, stored = blank()
    founded(storage, stored, first_table(), FOUNDER)
    found = replace(stored, hard_state=HardState(Term(1)))
    with pytest.raises(PartiError) as caught:
        joined(found)
    assert caught.value.failure.reason is Reason.CONFLICT


def test_the_table_of_a_founding_is_enough_to_join_no_other() -> None:
    disk = MemoryDisk()
    storage = MemoryStorage(disk, ME)
    founded(storage, storage.load(), first_table(), FOUNDER)
    disk.crash()
    left = MemoryStorage(disk, ME).load()
    with pytest.raises(PartiError) as caught:
        joined(replace(left, hard_state=HardState()))
    assert caught.value.failure.reason is Reason.CONFLICT


def test_settings_reach_the_member() -> None:
    config = replace(
        CONFIG,
        zone="z",
        capacity=7,
        tick_ms=10,
        heartbeat_ms=30,
        election_ms=200,
        snapshot_every_entries=99,
        snapshot_every_bytes=1 << 20,
        worker_grace_ms=123,
    )
    settings = member_settings(config, "10.0.0.1:5101")
    profile = settings.profile
    assert (profile.name, profile.address, profile.zone) == ("me", "10.0.0.1:5101", "z")
    assert (profile.capacity, profile.router_only) == (7, False)
    assert profile.version
    limits = settings.replica
    assert (limits.election_ticks, limits.heartbeat_ticks) == (20, 3)
    assert (limits.snapshot_every_entries, limits.snapshot_every_bytes) == (99, 1 << 20)
    assert settings.router.worker_grace_ms == 123
    assert member_settings(replace(config, role=Role.ROUTER), "a:1").profile.router_only


def test_only_the_mode_available_goes_on_without_a_lease() -> None:
    given = replace(CONFIG, mode=Mode.AVAILABLE, available_for_ms=900)
    assert member_settings(given, "a:1").available_for_ms == 900
    strict = replace(given, mode=Mode.STRICT)
    assert member_settings(strict, "a:1").available_for_ms == 0
