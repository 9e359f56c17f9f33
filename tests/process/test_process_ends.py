"""How a sidecar of a running cluster ends: refused at its start, asked twice to leave."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from parti_cli.devcluster import DevCluster, Part
from parti_cli.launching import SIDECAR_COMMAND, import_path_environment
from parti_cli.processes import is_running
from tests.process.history import Outcome
from tests.process.world import World, eventually, running_world

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

CANNOT_START = 2
FREE = [f"--{api}-address=127.0.0.1:0" for api in ("app", "peer", "admin", "http")]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    world = World(tmp_path_factory.mktemp("ends"))
    with world.cluster as running:
        running.up(1, partitions=4, sidecar_arguments=["--cluster-id", "blue"])
        yield running


def refused(arguments: Sequence[str]) -> str:
    """Start a sidecar that cannot; gives the one line it says."""
    ended = subprocess.run(
        [*SIDECAR_COMMAND, *arguments],
        env=import_path_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    complaints = [line for line in ended.stderr.splitlines() if line.startswith("parti-sidecar: ")]
    assert ended.returncode == CANNOT_START, ended
    assert "Traceback" not in ended.stderr, ended.stderr
    (line,) = complaints
    return line


def test_a_second_process_on_the_directory_of_a_member(cluster: DevCluster) -> None:
    data = cluster.files.data_directory("m1")
    sidecar = cluster.member("m1").sidecar
    assert sidecar is not None
    line = refused(["--data-dir", str(data), *FREE])
    assert f"in use by process {sidecar.pid}" in line
    assert cluster.status("m1").state == "ready"


@pytest.mark.parametrize("api", ["app", "peer", "admin", "http"])
def test_a_port_of_a_member(cluster: DevCluster, tmp_path: Path, api: str) -> None:
    taken: str = getattr(cluster.addresses("m1"), api)
    line = refused(["--data-dir", str(tmp_path), *FREE, f"--{api}-address", taken])
    assert f"{api}_address" in line
    assert taken in line
    assert cluster.status("m1").state == "ready"


def test_joining_a_cluster_under_the_id_of_another(cluster: DevCluster, tmp_path: Path) -> None:
    peer = cluster.addresses("m1").peer
    arguments = ["--data-dir", str(tmp_path), *FREE, "--join", peer, "--cluster-id", "green"]
    line = refused(arguments)
    assert line == f"parti-sidecar: join: refused by {peer}: WRONG_CLUSTER: this is cluster blue"
    assert cluster.status("m1").state == "ready"


async def test_the_second_sigterm_does_not_wait(tmp_path: Path) -> None:
    """The first drains, which a hanging handler keeps from ending; the second leaves at once."""
    async with running_world(tmp_path, 2) as world:
        sender = await world.sender("m1")
        stuck = (await world.owned("m2", "m1"))[0]
        hanging = asyncio.create_task(sender.send(partition=stuck, order="hang"))
        await eventually(lambda: world.executions_count() == 1, "it hangs")
        sidecar = world.cluster.member("m2").sidecar
        assert sidecar is not None
        log = world.cluster.files.log("m2", "sidecar")
        os.kill(sidecar.pid, signal.SIGTERM)
        await eventually(lambda: "asked to leave" in log.read_text(), "it begins to drain")
        assert is_running(sidecar)
        os.kill(sidecar.pid, signal.SIGTERM)
        await eventually(lambda: not is_running(sidecar), "it leaves", timeout_s=2)
        assert "second signal, leaving at once" in log.read_text()
        assert (await hanging).outcome is Outcome.UNKNOWN
        await world.kill("m2", part=Part.WORKER)
        sent = await asyncio.gather(*(sender.send(partition=number) for number in range(64)))
        assert {each.outcome for each in sent} == {Outcome.ACKNOWLEDGED}
        world.judge()
