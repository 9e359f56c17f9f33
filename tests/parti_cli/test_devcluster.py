"""The local cluster: processes start, end, are found again and never stay behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from parti_cli.devcluster import DevCluster, Part
from parti_cli.errors import DevClusterError
from parti_cli.launching import import_path_environment
from parti_cli.main import root
from parti_cli.processes import Process, is_paused, is_running, wait_ended

_STUB = (sys.executable, str(Path(__file__).with_name("stub_sidecar.py")))
_SLEEPER = (sys.executable, "-c", "import signal; signal.pause()")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DevCluster]:
    """Not started yet."""
    with DevCluster(tmp_path / "dev", sidecar_command=_STUB) as owned:
        yield owned


def processes(cluster: DevCluster) -> list[Process]:
    members = cluster.members()
    both = [member.sidecar for member in members] + [member.worker for member in members]
    return [process for process in both if process is not None]


def test_up_starts_all_the_first_founds_and_the_others_join_it(cluster: DevCluster) -> None:
    cluster.up(3, partitions=16, sidecar_arguments=["--mode", "strict"])
    assert cluster.running() == ["m1", "m2", "m3"]
    # The stub repeats its flags as the cluster id.
    first, second = cluster.status("m1").cluster_id, cluster.status("m2").cluster_id
    assert "--bootstrap --partitions 16" in first
    assert "--join" not in first
    assert "--bootstrap" not in second
    assert f"--join {cluster.addresses('m1').peer} " in second
    assert second.endswith("--mode strict")
    assert all(not address.endswith(":0") for address in (cluster.addresses("m3").admin,))


def test_close_ends_everything_and_forgets(cluster: DevCluster) -> None:
    cluster.up(2, worker=_SLEEPER)
    started = processes(cluster)
    assert len(started) == 4
    cluster.pause("m2")
    cluster.close()
    assert not any(is_running(process) for process in started)
    assert not cluster.files.exists()
    assert cluster.files.log("m1", "sidecar").exists()


def test_a_second_cluster_in_the_same_directory_is_refused(cluster: DevCluster) -> None:
    cluster.up(1)
    with pytest.raises(DevClusterError, match="already"):
        cluster.up(1)
    assert cluster.running() == ["m1"]


def test_add_and_remove(cluster: DevCluster) -> None:
    cluster.up(1)
    assert cluster.add(sidecar_arguments=["--zone", "z2"]) == "m2"
    assert cluster.status("m2").cluster_id.endswith("--zone z2")
    gone = cluster.member("m2").sidecar
    cluster.remove("m2")  # the stub m1 knows only itself: m2 is no member any more
    assert gone is not None
    assert not is_running(gone)
    assert not cluster.files.member_directory("m2").exists()
    assert cluster.add() == "m3", "a name is never used twice"


def test_the_last_member_cannot_be_removed(cluster: DevCluster) -> None:
    cluster.up(1)
    with pytest.raises(DevClusterError, match="last running member"):
        cluster.remove("m1")


def test_kill_and_restart_keep_addresses_and_disk(cluster: DevCluster) -> None:
    cluster.up(2)
    before = cluster.addresses("m1")
    marker = cluster.files.data_directory("m1") / "marker"
    marker.touch()
    cluster.kill("m1")
    assert cluster.running() == ["m2"]
    cluster.restart("m1")
    assert cluster.running() == ["m1", "m2"]
    assert cluster.addresses("m1") == before
    assert "--bootstrap" not in cluster.status("m1").cluster_id
    assert marker.exists()
    cluster.restart("m1", lose_disk=True)
    assert not marker.exists()


def test_start_ended_brings_all_back(cluster: DevCluster) -> None:
    cluster.up(2, worker=_SLEEPER)
    cluster.kill("m1")
    cluster.kill("m2", Part.WORKER)
    cluster.start_ended()
    assert all(is_running(process) for process in processes(cluster))


def test_pause_and_resume_one_part(cluster: DevCluster) -> None:
    cluster.up(1, worker=_SLEEPER)
    member = cluster.member("m1")
    assert member.sidecar is not None
    assert member.worker is not None
    cluster.pause("m1", Part.WORKER)
    deadline = time.monotonic() + 10
    while not is_paused(member.worker):
        assert time.monotonic() < deadline
    assert not is_paused(member.sidecar)
    cluster.resume("m1")
    cluster.stop_gracefully("m1")
    assert cluster.running() == []


def test_a_frozen_member_can_be_stopped_gracefully(cluster: DevCluster) -> None:
    cluster.up(1)
    cluster.pause("m1")
    cluster.stop_gracefully("m1", timeout_s=10)
    assert cluster.running() == []


def test_a_sidecar_that_ends_while_starting_shows_its_last_words(
    cluster: DevCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_FAIL", "the port is taken")
    with pytest.raises(DevClusterError, match="ended while starting") as caught:
        cluster.up(1)
    assert "| the port is taken" in caught.value.hint


def test_a_member_that_ends_is_noticed_while_waiting(cluster: DevCluster) -> None:
    cluster.up(2)
    cluster.kill("m2")
    with pytest.raises(DevClusterError, match="m2 does not run"):
        cluster.wait_ready(timeout_s=30)


def test_waiting_has_a_limit(cluster: DevCluster) -> None:
    cluster.up(1)
    cluster.pause("m1")
    with pytest.raises(DevClusterError, match="m1 is not ready"):
        cluster.wait_ready(timeout_s=0)


def test_an_unknown_member_is_named_with_those_there_are(cluster: DevCluster) -> None:
    cluster.up(1)
    with pytest.raises(DevClusterError, match="There are: m1"):
        cluster.kill("m7")


def test_workers_find_their_sidecar_and_sidecars_no_foreign_settings(
    cluster: DevCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARTI_LEASE_TTL_MS", "1")
    show = "import os; print(os.environ['PARTI_ADDRESS'], os.environ['PARTI_MEMBER'])"
    cluster.up(1, worker=(sys.executable, "-c", show))
    worker = cluster.member("m1").worker
    assert worker is not None
    assert wait_ended(worker, 10)
    log = cluster.files.log("m1", "worker").read_text()
    assert log == f"{cluster.addresses('m1').app} m1\n"
    assert "PARTI_LEASE_TTL_MS" not in import_path_environment()


def test_nothing_stays_behind_when_the_owner_is_killed(tmp_path: Path) -> None:
    directory = tmp_path / "dev"
    owner = f"""
import signal
from pathlib import Path
from parti_cli.devcluster import DevCluster
with DevCluster(Path({str(directory)!r}), sidecar_command={_STUB!r}) as cluster:
    cluster.up(2, worker={_SLEEPER!r})
    print("up", flush=True)
    signal.pause()
"""
    with subprocess.Popen(
        [sys.executable, "-c", owner], env=import_path_environment(), stdout=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        watched = DevCluster(directory)
        started = processes(watched)
        assert len(started) == 4
        os.kill(running.pid, signal.SIGKILL)
    assert all(wait_ended(process, 10) for process in started)


def dev(directory: Path, *arguments: str) -> str:
    result = CliRunner().invoke(root, ["dev", "--dir", str(directory), *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_dev_commands_steer_a_cluster_another_program_started(cluster: DevCluster) -> None:
    cluster.up(2, worker=_SLEEPER)
    directory = cluster.files.directory
    assert "m2 is dead" in dev(directory, "kill", "m2")
    assert "ended" in dev(directory, "status")
    assert '"state": "running"' in dev(directory, "status", "-o", "json")
    assert "the worker of m1 is frozen" in dev(directory, "pause", "m1", "--only", "worker")
    assert dev(directory, "resume", "m1") == "m1 goes on\n"
    assert "the worker of m1 is dead" in dev(directory, "kill", "m1", "--only", "worker")
    cluster.files.log("m1", "sidecar").write_text("one\ntwo\nthree\n")
    assert dev(directory, "logs", "m1", "-n", "2") == "two\nthree\n"
    assert dev(directory, "down", "--wipe") == "ended m1, m2\n"
    assert not cluster.files.member_directory("m1").exists()


def test_dev_run_gives_a_program_its_sidecar_and_its_exit_code(cluster: DevCluster) -> None:
    cluster.up(2)
    program = "import os, sys; sys.exit(os.environ['PARTI_MEMBER'])"
    directory = str(cluster.files.directory)
    run = [sys.executable, "-m", "parti_cli.main", "dev", "--dir", directory, "run"]
    ended = subprocess.run(
        [*run, "--member", "m2", "--", sys.executable, "-c", program],
        env=import_path_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (ended.returncode, ended.stderr) == (1, "m2\n")


@pytest.mark.parametrize("command", [("status",), ("kill", "m1"), ("down",), ("run", "true")])
def test_dev_commands_without_a_cluster_say_how_to_start_one(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    result = CliRunner().invoke(root, ["dev", "--dir", str(tmp_path), *command])
    assert result.exit_code == 1
    assert "parti dev up" in result.stderr


@pytest.mark.process
def test_real_sidecars_start_serve_and_come_back(tmp_path: Path) -> None:
    with DevCluster(tmp_path / "dev") as cluster:
        cluster.up(3, partitions=16)
        ids = {cluster.status(name).member_id for name in cluster.running()}
        assert len(ids) == 3
        assert len({cluster.status(name).cluster_id for name in cluster.running()}) == 1
        cluster.kill("m3")
        cluster.restart("m3")
        assert {cluster.status(name).member_id for name in cluster.running()} == ids
