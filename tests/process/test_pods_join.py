"""Joining as in Kubernetes: one list of names for everybody, one pod is told to found."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from parti_cli.errors import CliError
from parti_proto import admin_pb2
from tests.process.pods import bootstrap, join_flags, pods, running_pods

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


async def test_pods_with_one_list_become_one_cluster(tmp_path: Path) -> None:
    async with pods(tmp_path, "pod-0", "pod-1", "pod-2") as everybody:
        await running_pods(everybody)
        for pod in everybody:
            status = pod.status()
            assert status is not None
            assert status.cluster_id == "uid"
            assert set(pod.members()) == {"pod-0", "pod-1", "pod-2"}
        quiet = everybody[1].log.read_text()
        assert quiet.count("cannot join yet") <= 4, quiet  # once for each reason and address


async def test_a_pod_that_lost_its_disk_founds_nothing_beside_its_cluster(tmp_path: Path) -> None:
    """Also when it is told to: an operator that does not remember could do so."""
    async with pods(tmp_path, "pod-0", "pod-1") as everybody:
        first, second = everybody
        await running_pods(everybody, lease_ttl_ms=6_000)
        second.kill()
        second.data.rename(tmp_path / "lost")
        second.start(*join_flags(everybody), "--cluster-id", "uid")
        await second.wait_state("waiting", "joining")  # for its former self still has a lease
        request = admin_pb2.BootstrapRequest(cluster_id="uid", partitions=8)
        with pytest.raises(CliError, match="may be of a cluster already: a member named pod-1"):
            await asyncio.to_thread(second.call, "Bootstrap", request)
        status = await second.wait_state("ready")
        leader = first.status()
        assert leader is not None
        assert (status.leader, status.term) == (leader.member_id, leader.term)


@pytest.mark.parametrize("every", ["0.0.0.0", "[::]"])
async def test_a_pod_may_listen_at_every_address(tmp_path: Path, every: str) -> None:
    async with pods(tmp_path, "pod-0", "pod-1") as everybody:
        for pod in everybody:
            wide = [
                each
                for api, address in (("peer", pod.peer), ("admin", pod.admin), ("http", pod.http))
                for each in (f"--{api}-address", address.replace("127.0.0.1", every))
            ]
            pod.start(*join_flags(everybody), *wide, "--advertise-address", pod.dns_name)
        await bootstrap(everybody[0])
        for pod in everybody:
            await pod.wait_state("ready")
            assert pod.probe("/readyz") == (200, [])


async def test_another_cluster_of_the_same_names_is_not_joined(tmp_path: Path) -> None:
    async with pods(tmp_path, "old-0", "new-0") as everybody:
        old, new = everybody
        old.start(*join_flags(everybody), "--cluster-id", "old")
        await bootstrap(old, "old")
        new.start("--join", new.dns_name, "--cluster-id", "new")
        await bootstrap(new, "new")
        new.kill()
        new.start(*join_flags(everybody), "--cluster-id", "new")
        status = await new.wait_state("ready")
        assert status.cluster_id == "new"
        assert set(new.members()) == {"new-0"}
