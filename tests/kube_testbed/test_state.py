from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kube.testbed import layout
from tests.kube.testbed.commands import TestbedError
from tests.kube.testbed.leftovers import is_leftover
from tests.kube.testbed.processes import ProcessName, identify, own_name, start_ticks
from tests.kube.testbed.state import ClusterState, Machine, dump, load, locked, read

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are told by /proc")


def cluster(workdir: Path, owner: ProcessName | None = None) -> ClusterState:
    machines = [Machine("hub", 0, ProcessName(7, "boot/70")), Machine("node1", 1)]
    return ClusterState(workdir, 6000, workdir / "programs", machines, owner)


def test_a_state_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "RUNNING", tmp_path / "running")
    assert read(tmp_path / "work") is None
    state = cluster(tmp_path / "work", ProcessName(5, "boot/50"))
    state.save()
    assert read(tmp_path / "work") == state
    assert load(state.note.read_text()) == state
    assert load(dump(state)).folders == state.folders


def test_an_unknown_machine_is_refused_and_the_known_are_named(tmp_path: Path) -> None:
    state = cluster(tmp_path)
    assert state.machine("node1").ip == "10.200.0.11"
    assert state.hub.ip == "10.200.0.1"
    with pytest.raises(TestbedError, match="no machine 'node2'; there are hub, node1"):
        state.machine("node2")


def test_two_folders_are_two_clusters() -> None:
    first, second = layout.identity(Path("/a")), layout.identity(Path("/b"))
    assert first != second
    assert {first[:11], second[:11]} == {"parti-kube-"}


def test_a_reused_pid_is_not_the_process_that_had_it() -> None:
    me = own_name()
    assert me.alive
    stranger = ProcessName(me.pid, me.born + "0")
    assert not stranger.alive
    stranger.send(signal.SIGKILL)  # and so does not reach us


def test_a_process_of_another_boot_is_not_alive() -> None:
    me = own_name()
    assert not ProcessName(me.pid, "another-boot/" + me.born.rpartition("/")[2]).alive


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert identify(child.pid) is None
    child.wait()


def test_a_program_may_have_brackets_in_its_name() -> None:
    rest = " ".join(str(number) for number in range(4, 23))
    assert start_ticks(f"12 (a) b) S {rest}") == "22"
    assert start_ticks(f"12 (a) b) Z {rest}") == ""


def test_only_clusters_whose_owner_is_gone_are_left_over(tmp_path: Path) -> None:
    gone = ProcessName(own_name().pid, "boot/1")
    assert is_leftover(cluster(tmp_path, gone))
    assert not is_leftover(cluster(tmp_path, own_name()))
    assert not is_leftover(cluster(tmp_path))  # kept until somebody takes it down


def test_the_second_waits_for_the_first_and_not_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with (
        locked(path),
        pytest.raises(TestbedError, match="another command has held"),
        locked(path, deadline_s=0),
    ):
        pass
    with locked(path, deadline_s=0):
        pass
