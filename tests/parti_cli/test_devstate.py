"""What is remembered of a local cluster survives, and is refused when it makes no sense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parti_cli import devstate
from parti_cli.devstate import Addresses, ClusterFiles, ClusterState, MemberState
from parti_cli.errors import DevClusterError
from parti_cli.processes import Process


def example() -> ClusterState:
    addresses = Addresses("h:1", "h:2", "h:3", "h:4")
    members = {
        "m1": MemberState("m1", ["--zone", "a"], addresses, Process(7, "boot:1")),
        "m2": MemberState("m2", [], addresses, None, Process(8, "boot:2")),
    }
    return ClusterState(64, ["--mode", "strict"], ["sleep", "1"], 6000, 2, members)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    files = ClusterFiles(tmp_path)
    files.save(example())
    assert files.load() == example()


def test_an_absent_cluster_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(DevClusterError, match="parti dev up"):
        ClusterFiles(tmp_path).load()


@pytest.mark.parametrize(
    "change",
    [{"format": 99}, {"members": {"m1": {}}}, {"members": []}, {"stranger": 1}, {"format": None}],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    files = ClusterFiles(tmp_path)
    files.save(example())
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DevClusterError, match="cannot be used"):
        files.load()


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text('{"format": 1, "mem')
    with pytest.raises(DevClusterError, match="cannot be used"):
        ClusterFiles(tmp_path).load()


def test_only_one_changes_the_cluster_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devstate, "_LOCK_WAIT_S", 0.05)
    first, second = ClusterFiles(tmp_path), ClusterFiles(tmp_path)
    with (
        first.locked(),
        pytest.raises(DevClusterError, match="another program is changing"),
        second.locked(),
    ):
        raise AssertionError("the lock was given twice")
    with second.locked():
        assert (tmp_path / "lock").exists()
