"""A quorum that is lost for good: one survivor goes on, old members stay outside, new ones join."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from parti_cli.errors import CliError
from parti_proto import admin_pb2
from tests.process.pods import Pod, join_flags, pods, running_pods, wait_voters

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

ORDERED = 4
CANNOT_START = 2


def demand(pod: Pod, cluster_id: str = "uid", incarnation: int = 0) -> None:
    request = admin_pb2.ForceNewQuorumRequest(cluster_id=cluster_id, incarnation=incarnation)
    pod.call("ForceNewQuorum", request)


async def lose_quorum(survivor: Pod, *lost: Pod) -> None:
    for pod in lost:
        pod.kill()

    def leaderless() -> bool:
        status = survivor.status()
        return status is not None and not status.leader and not status.lease_remaining_ms

    await survivor.wait(leaderless, lambda: "still sees a leader")


async def test_a_survivor_goes_on_when_it_is_told_to(tmp_path: Path) -> None:
    async with pods(tmp_path, "pod-0", "pod-1", "pod-2") as everybody:
        first, second, third = everybody
        flags = (*join_flags(everybody), "--cluster-id", "uid")
        await running_pods(everybody)
        await wait_voters(first, 3)
        with pytest.raises(CliError, match="has a leader: its quorum is not lost"):
            await asyncio.to_thread(demand, first)
        await lose_quorum(first, second, third)
        with pytest.raises(CliError, match="a member of uid, not of 'other'"):
            await asyncio.to_thread(demand, first, "other")
        with pytest.raises(CliError, match="incarnation 0 of the cluster, not 1"):
            await asyncio.to_thread(demand, first, "uid", 1)
        await asyncio.to_thread(demand, first)
        assert await first.ended() == ORDERED

        first.start(*flags)
        status = await first.wait_state("ready")
        assert status.incarnation == 1
        assert status.leader == status.member_id
        await first.wait(lambda: set(first.members()) == {"pod-0"}, lambda: "knows the old members")

        # One old member comes back with its disk: it has no majority and finds none here.
        second.start(*flags)
        refused = re.compile(r"incarnation 1 of uid, not 0")
        await second.wait(
            lambda: refused.search(second.log.read_text()) is not None, lambda: "is not refused"
        )
        old = second.status()
        assert old is not None
        assert (old.leader, old.incarnation, old.lease_remaining_ms) == (0, 0, 0)
        assert second.probe("/readyz")[0] == 503

        # With an empty disk it is welcome, and so is the third.
        for pod in (second, third):
            pod.kill()
            pod.data.rename(tmp_path / f"lost-{pod.name}")
            pod.start(*flags)
            assert (await pod.wait_state("ready")).incarnation == 1
        await wait_voters(first, 3)


async def test_a_survivor_is_chosen_at_its_start(tmp_path: Path) -> None:
    async with pods(tmp_path, "pod-0", "pod-1", "pod-2") as everybody:
        first, second, third = everybody
        flags = (*join_flags(everybody), "--cluster-id", "uid")
        await running_pods(everybody)
        await wait_voters(first, 3)
        await lose_quorum(second, first, third)
        impostor = Pod(tmp_path, "pod-1")  # a second process on the disk of a running one
        for pod, cluster_id, why in (
            (impostor, "uid", "in use by process"),
            (first, "other", "a member of uid, not of other"),
            (Pod(tmp_path, "blank"), "uid", "no state of a cluster here"),
        ):
            pod.start(*join_flags(everybody), "--force-new-quorum", cluster_id)
            assert await pod.ended() == CANNOT_START
            assert why in pod.log.read_text()
        second.kill()
        second.start(*flags, "--force-new-quorum", "uid")
        status = await second.wait_state("ready")
        assert (status.incarnation, status.leader) == (1, status.member_id)
        second.kill()
        second.start(*flags)
        assert (await second.wait_state("ready")).incarnation == 1
