from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from parti_sidecar.storage.base import DataDirLocked
from parti_sidecar.storage.lock import DataDirLock
from tests.parti_sidecar.storage.children import run_child
from tests.parti_sidecar.storage.helpers import MEMBER, opened, reload


def test_a_second_process_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    def second(_report: Callable[[bytes], None]) -> None:
        with pytest.raises(DataDirLocked, match=f"process {os.getppid()}") as caught:
            reload(tmp_path)
        assert caught.value.pid == os.getppid()

    with opened(tmp_path):
        assert run_child(second) == (0, b"")


def test_a_second_storage_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(DataDirLocked, match=f"process {os.getpid()}"):
        reload(tmp_path)
    assert reload(tmp_path).identity.member_id == MEMBER


def test_the_lock_of_a_dead_process_is_no_lock(tmp_path: Path) -> None:
    def die(_report: Callable[[bytes], None]) -> None:
        DataDirLock(tmp_path)
        os._exit(5)

    assert run_child(die)[0] == 5
    assert (tmp_path / "lock").exists()
    DataDirLock(tmp_path).close()


def test_an_unreadable_lock_file_names_nobody(tmp_path: Path) -> None:
    lock = DataDirLock(tmp_path)
    (tmp_path / "lock").write_bytes(b"?")
    with pytest.raises(DataDirLocked, match="another process"):
        DataDirLock(tmp_path)
    lock.close()
    lock.close()


def test_the_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    with opened(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
        for path in (tmp_path / "a" / "b").iterdir():
            assert path.stat().st_mode & 0o077 == 0, path
