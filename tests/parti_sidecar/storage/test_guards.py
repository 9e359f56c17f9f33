"""Guards that no other test of this package would miss: the mutation gate named them.

A killed process loses nothing that it has given to the kernel, so only the calls themselves show
what would survive a power cut.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from parti_sidecar.storage.base import WriteBatch
from parti_sidecar.storage.sqlite import SqliteStorage
from tests.parti_sidecar.storage.helpers import MEMBER, snapshot


def test_contents_are_synced_before_the_name_and_the_name_before_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str | int] = []  # steps, and the files that were synced

    def note_and_sync(descriptor: int) -> None:
        done.append(os.fstat(descriptor).st_ino)

    storage = SqliteStorage(tmp_path, MEMBER, free_space_floor_bytes=0, step_hook=done.append)
    storage.load()
    done.clear()
    monkeypatch.setattr(os, "fsync", note_and_sync)
    monkeypatch.setattr(os, "fdatasync", note_and_sync)
    storage.write(WriteBatch(snapshot=snapshot(3)))
    monkeypatch.undo()
    storage.close()
    (file,) = tmp_path.glob("snapshot-*")
    contents, folder = file.stat().st_ino, tmp_path.stat().st_ino
    wanted = [contents, "snapshot-renamed", folder, "begin", "committed"]
    assert [step for step in done if step in wanted] == wanted
