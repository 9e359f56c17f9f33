"""The directory of a removed member becomes that of a new one, whenever the process dies."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from parti_raft.types import LogIndex
from parti_sidecar.storage.base import (
    BatchRejected,
    DataDirLocked,
    Identity,
    StoredState,
    WriteBatch,
)
from parti_sidecar.storage.files import no_step
from parti_sidecar.storage.sqlite import SqliteStorage
from tests.parti_sidecar.storage.children import run_child
from tests.parti_sidecar.storage.helpers import MEMBER, OTHER_MEMBER, append, snapshot

KILLED = 9
REMOVED = Identity("cluster", MEMBER, removed=True)


def lived_in(data_dir: Path, *, removed: bool = True) -> None:
    """A directory with everything that a member leaves behind."""
    storage = SqliteStorage(data_dir, MEMBER, free_space_floor_bytes=0)
    storage.load()
    storage.set_identity(Identity("cluster", MEMBER))
    storage.write(append(1, 3, commit=3))
    storage.write(WriteBatch(snapshot=snapshot(3, data=b"table")))
    storage.write(WriteBatch(compact_to=LogIndex(2)))
    if removed:
        storage.set_identity(REMOVED)
    storage.close()


def begin_anew(data_dir: Path, hook: Callable[[str], None]) -> None:
    """What the start of a process with `rejoin_after_removal` does."""
    storage = SqliteStorage(data_dir, OTHER_MEMBER, step_hook=hook)
    if storage.load().identity.removed:
        storage.give_up()
        storage = SqliteStorage(data_dir, OTHER_MEMBER, step_hook=hook)
    storage.close()


def stored_in(data_dir: Path) -> StoredState:
    storage = SqliteStorage(data_dir, OTHER_MEMBER)
    try:
        return storage.load()
    finally:
        storage.close()


def check_new(data_dir: Path) -> None:
    stored = stored_in(data_dir)
    assert stored.identity == Identity("", OTHER_MEMBER)
    assert (stored.entries, stored.snapshot) == ([], None)
    assert sorted(path.name for path in data_dir.iterdir()) == ["lock", "member.db", "witness"]


def test_nothing_is_left_of_a_removed_member(tmp_path: Path) -> None:
    lived_in(tmp_path)
    begin_anew(tmp_path, no_step)
    check_new(tmp_path)


def test_a_death_at_any_step_leaves_the_old_member_removed_or_a_new_one(tmp_path: Path) -> None:
    lived_in(tmp_path / "whole")
    steps: list[str] = []
    begin_anew(tmp_path / "whole", steps.append)
    assert {"member-given-up", "unfinished-removed", "member-created"} <= set(steps)
    for kill_at, name in enumerate(steps):
        data_dir = tmp_path / f"{kill_at}-{name}"
        lived_in(data_dir)
        count = iter(range(len(steps)))

        def hook(_name: str, count: object = count, kill_at: int = kill_at) -> None:
            if next(count) == kill_at:  # type: ignore[call-overload]
                os._exit(KILLED)

        code, _ = run_child(lambda _report: begin_anew(data_dir, hook))  # noqa: B023
        assert code == KILLED
        begin_anew(data_dir, no_step)
        check_new(data_dir)


def test_only_a_removed_member_is_given_up(tmp_path: Path) -> None:
    lived_in(tmp_path, removed=False)
    storage = SqliteStorage(tmp_path, OTHER_MEMBER)
    storage.load()
    with pytest.raises(BatchRejected, match="removed member"):
        storage.give_up()
    storage.close()
    assert stored_in(tmp_path).identity == Identity("cluster", MEMBER)


def test_a_directory_in_use_is_not_given_up(tmp_path: Path) -> None:
    lived_in(tmp_path)
    holder = SqliteStorage(tmp_path, OTHER_MEMBER)
    with pytest.raises(DataDirLocked):
        begin_anew(tmp_path, no_step)
    holder.close()
    assert stored_in(tmp_path).identity == REMOVED
