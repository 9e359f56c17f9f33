"""The process dies at every named step; what was acknowledged is there, the rest whole or absent.

A killed process does not show what a power cut loses (the kernel still has its pages). That part
rests on SQLite's FULL mode, read back at open, and on `fdatasync` before each name is made.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from parti_raft.types import Entry, HardState, LogIndex
from parti_sidecar.storage.base import Identity, LogPosition, WriteBatch
from parti_sidecar.storage.sqlite import SqliteStorage
from tests.parti_sidecar.storage.children import run_child
from tests.parti_sidecar.storage.helpers import (
    MEMBER,
    OTHER_MEMBER,
    append,
    entries,
    hard,
    snapshot,
)

KILLED = 9
Check = tuple[str, HardState, LogPosition, list[Entry], bytes]

IDENTITY = Identity("cluster", MEMBER)
WRITES = [
    append(1, 3, commit=0),
    append(4, 6, commit=3),
    append(5, 6, term=2, commit=3),  # cuts a row in its middle
    WriteBatch(snapshot=snapshot(3, data=b"local")),
    WriteBatch(compact_to=LogIndex(2)),
    append(7, 8, term=2, commit=6),
    replace(hard(3, 0, 20), snapshot=snapshot(20, 3, b"received")),  # discards the log
    append(21, 22, term=3, commit=21),
    WriteBatch(compact_to=LogIndex(20)),
]
MAINTAIN_AFTER = (1, 5, 8)  # so that the witness has claims to withdraw, and lags at times


def scenario(data_dir: Path, hook: Callable[[str], None], report: Callable[[bytes], None]) -> None:
    """The whole life of a member; one byte is reported for each acknowledged step."""
    clock = iter(range(0, 10**9, 10_000))
    storage = SqliteStorage(
        data_dir,
        MEMBER,
        free_space_floor_bytes=0,
        step_hook=hook,
        now_ms=lambda: next(clock),
    )
    storage.load()
    storage.set_identity(IDENTITY)
    report(b".")
    for at, batch in enumerate(WRITES):
        storage.write(batch)
        report(b".")
        if at in MAINTAIN_AFTER:
            storage.maintain(idle=True)
            storage._database.checkpoint()
    storage.close()


def states() -> list[Check]:
    """What is stored after 0, 1, 2... acknowledged steps."""
    zero, two, at_20 = LogPosition(LogIndex(0), hs(0, 0).term), hs(1, 3), LogIndex(20)
    second = entries(5, 6, 2)
    log = entries(1, 4) + second
    late = entries(7, 8, 2)
    floor_2 = LogPosition(LogIndex(2), hs(1, 0).term)
    floor_20 = LogPosition(at_20, hs(3, 0).term)
    return [
        ("", hs(0, 0), zero, [], b""),
        ("cluster", hs(0, 0), zero, [], b""),
        ("cluster", hs(1, 0), zero, entries(1, 3), b""),
        ("cluster", two, zero, entries(1, 6), b""),
        ("cluster", hs(2, 3), zero, log, b""),
        ("cluster", hs(2, 3), zero, log, b"local"),
        ("cluster", hs(2, 3), floor_2, log[2:], b"local"),
        ("cluster", hs(2, 6), floor_2, log[2:] + late, b"local"),
        ("cluster", hs(3, 20), floor_20, [], b"received"),
        ("cluster", hs(3, 21), floor_20, entries(21, 22, 3), b"received"),
        ("cluster", hs(3, 21), floor_20, entries(21, 22, 3), b"received"),
    ]


def hs(term: int, commit: int) -> HardState:
    found = hard(term, 0, commit).hard_state
    assert found is not None
    return found


def found_in(data_dir: Path) -> Check:
    storage = SqliteStorage(data_dir, OTHER_MEMBER, free_space_floor_bytes=0)
    try:
        stored = storage.load()
        data = storage.read_snapshot().data
        names = sorted(path.name for path in data_dir.iterdir())
        expected = ["lock", "member.db", "member.db-wal", "witness"]
        if stored.snapshot is not None:
            expected.append(stored.snapshot.name)
        assert names == sorted(expected), "nothing unfinished is left behind"
        # A blank directory may have been given to the one who came after the crash.
        if stored.identity.cluster_id:
            assert stored.identity.member_id == MEMBER
        return (
            stored.identity.cluster_id,
            stored.hard_state,
            stored.floor,
            stored.entries,
            data,
        )
    finally:
        storage.close()


def steps_of_the_scenario(folder: Path) -> list[str]:
    steps: list[str] = []
    scenario(folder / "whole", steps.append, lambda _data: None)
    assert found_in(folder / "whole") == states()[-1]
    return steps


def test_a_death_at_any_step_loses_nothing_acknowledged(tmp_path: Path) -> None:
    steps = steps_of_the_scenario(tmp_path)
    expected = states()
    for kill_at, name in enumerate(steps):
        data_dir = tmp_path / f"{kill_at}-{name}"
        count = iter(range(len(steps)))

        def hook(_name: str, count: object = count, kill_at: int = kill_at) -> None:
            if next(count) == kill_at:  # type: ignore[call-overload]
                os._exit(KILLED)

        code, acknowledged = run_child(lambda report: scenario(data_dir, hook, report))  # noqa: B023
        assert code == KILLED, acknowledged
        done = len(acknowledged)
        found = found_in(data_dir)
        assert found in (expected[done], expected[min(done + 1, len(WRITES) + 1)]), (
            f"killed at step {kill_at} ({name}) after {done} acknowledged steps"
        )


def test_the_scenario_passes_every_kind_of_step(tmp_path: Path) -> None:
    assert set(steps_of_the_scenario(tmp_path)) == {
        "begin", "checkpoint", "checkpointed", "commit", "committed", "database-created",
        "database-ready", "member-created", "member-named", "snapshot-named",
        "snapshot-removed", "snapshot-renamed", "snapshot-synced", "snapshot-write",
        "witness-created", "witness-synced", "witness-write", "witness-written",
    }  # fmt: skip


@pytest.mark.parametrize("died_at", ["database-created", "database-ready", "witness-created"])
@pytest.mark.parametrize("dies_again_at", ["unfinished-emptied", "unfinished-removed"])
def test_a_creation_that_died_twice_is_begun_anew(
    tmp_path: Path, died_at: str, dies_again_at: str
) -> None:
    for at in (died_at, dies_again_at):

        def hook(name: str, at: str = at) -> None:
            if name == at:
                os._exit(KILLED)

        code, text = run_child(lambda report: scenario(tmp_path / "data", hook, report))
        assert code == KILLED, text
    assert found_in(tmp_path / "data") == states()[0]
