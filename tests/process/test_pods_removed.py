"""A removed member whose process is started again: it waits, or begins anew, and never returns."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from parti_proto import admin_pb2
from tests.process.pods import Pod, join_flags, pods, running_pods

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

QUIET_S = 2.0


async def remove(asked: Pod, name: str) -> int:
    """Ask for the removal and wait until the cluster has forgotten the member; gives its id."""
    member_id = (await asyncio.to_thread(asked.members))[name].member_id
    request = admin_pb2.SetIntentRequest(member_id=member_id, intent=admin_pb2.INTENT_REMOVE)
    await asyncio.to_thread(asked.call, "SetIntent", request)
    await asked.wait(lambda: name not in asked.members(), lambda: f"still knows {name}")
    return member_id


def processor_s(pod: Pod) -> float:
    assert pod.process is not None
    fields = Path(f"/proc/{pod.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_a_removed_member_waits_quietly_when_it_is_started_again(tmp_path: Path) -> None:
    async with pods(tmp_path, "pod-0", "pod-1", "pod-2") as everybody:
        first, _, last = everybody
        await running_pods(everybody)
        member_id = await remove(first, "pod-2")
        assert await last.ended() == 0
        assert "this member was removed from its cluster" in last.log.read_text()
        last.start(*join_flags(everybody), "--cluster-id", "uid")
        status = await last.wait_state("removed")
        assert (status.cluster_id, status.member_id) == ("uid", member_id)
        code, (reason,) = last.probe("/readyz")
        assert code == 503
        assert "was removed from its cluster" in reason
        assert last.probe("/healthz")[0] == last.probe("/startupz")[0] == 200
        leader = first.status()
        assert leader is not None
        said, used_s = last.log.read_text(), processor_s(last)
        await asyncio.sleep(QUIET_S)  # what must not happen announces nothing
        assert last.log.read_text() == said
        assert processor_s(last) - used_s < QUIET_S / 10
        assert set(first.members()) == {"pod-0", "pod-1"}
        later = first.status()
        assert later is not None
        assert (later.term, later.leader) == (leader.term, leader.leader)
        last.terminate()
        assert await last.ended() == 0


async def test_a_member_that_was_removed_while_it_was_down_finds_out(tmp_path: Path) -> None:
    async with pods(tmp_path, "pod-0", "pod-1", "pod-2") as everybody:
        first, _, last = everybody
        await running_pods(everybody)
        last.kill()
        await remove(first, "pod-2")
        flags = (*join_flags(everybody), "--cluster-id", "uid")
        last.start(*flags)
        assert await last.ended() == 0
        last.start(*flags)
        await last.wait_state("removed")
        assert set(first.members()) == {"pod-0", "pod-1"}


async def test_a_removed_member_may_begin_anew(tmp_path: Path) -> None:
    async with pods(tmp_path, "pod-0", "pod-1", "pod-2") as everybody:
        first, _, last = everybody
        await running_pods(everybody, "--rejoin-after-removal")
        old_id = await remove(first, "pod-2")
        assert await last.ended() == 0
        last.start(*join_flags(everybody), "--cluster-id", "uid", "--rejoin-after-removal")
        status = await last.wait_state("ready")
        assert status.member_id != old_id
        deadline = time.monotonic() + 10
        while (await asyncio.to_thread(first.members))["pod-2"].member_id != status.member_id:
            assert time.monotonic() < deadline
