"""Everything planned: steady load, growth, shrinking, rolling restarts. Nothing may fail."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from parti_cli.launching import import_path_environment
from tests.process.history import Outcome
from tests.process.load import PARTITIONS, Load, settled
from tests.process.world import WAIT_S, World, running_world

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


def expect_no_failure(world: World) -> None:
    verdict = world.judge()
    assert set(verdict.outcomes) == {Outcome.ACKNOWLEDGED}, f"\n{verdict}"


@pytest.mark.parametrize("members", [3, 5])
async def test_steady_load_is_spread_and_all_acknowledged(tmp_path: Path, members: int) -> None:
    async with running_world(tmp_path, members) as world:
        senders = await world.senders_everywhere()
        async with Load(senders):
            await asyncio.gather(*(settled(sender, 150) for sender in senders))
        table = await world.table("m1")
        counts = [sum(each.owner == owner for each in table) for owner in {p.owner for p in table}]
        assert len(counts) == members
        assert max(counts) - min(counts) <= 1
        expect_no_failure(world)


async def test_a_member_joins_under_load(tmp_path: Path) -> None:
    async with running_world(tmp_path, 3) as world:
        senders = await world.senders_everywhere()
        async with Load(senders) as load:
            name = await asyncio.to_thread(world.cluster.add)
            joined = await world.sender(name)
            load.join(joined)
            async with asyncio.timeout(20):
                while len(await world.owned(name, "m1")) < PARTITIONS // 4:
                    await settled(joined, 10)
            await settled(joined, 50)
        expect_no_failure(world)


async def test_members_stop_gracefully_under_load(tmp_path: Path) -> None:
    async with running_world(tmp_path, 4) as world:
        senders = await world.senders_everywhere()
        async with Load(senders) as load:
            for name, sender in (("m4", senders[3]), ("m1", senders[0])):  # m1 began: it leads
                await settled(sender, 20)
                load.leave(sender)
                await asyncio.to_thread(world.cluster.stop_gracefully, name)
                await settled(senders[1], 50)
            await world.wait_settled()
            await settled(senders[2], 50)
        expect_no_failure(world)


async def test_a_rolling_restart_fails_nothing(tmp_path: Path) -> None:
    async with running_world(tmp_path, 3) as world:
        senders = await world.senders_everywhere(retry=True)
        async with Load(senders):
            for name in ("m3", "m2", "m1"):
                await asyncio.to_thread(world.cluster.restart, name)
                await world.wait_settled()
                await settled(senders[0], 50)
        assert world.judge().changes_of_epoch > 2 * PARTITIONS
        expect_no_failure(world)


async def test_a_member_is_removed_under_load(tmp_path: Path) -> None:
    async with running_world(tmp_path, 3) as world:
        senders = await world.senders_everywhere()
        async with Load(senders[:2]):
            await asyncio.to_thread(world.cluster.remove, "m3")
            await settled(senders[0], 50)
            assert "m3" not in await world.members("m1")
        expect_no_failure(world)


async def test_a_member_prepares_to_stop_under_load(tmp_path: Path) -> None:
    """As the preStop hook of a container asks for: the application beside it goes on sending."""
    async with running_world(tmp_path, 3) as world:
        await wait_voters(world, "m1", 3)
        leader = await world.leader("m1")
        other = "m2" if leader == "m1" else "m1"
        senders = await world.senders_everywhere()
        async with Load(senders) as load:
            await settled(senders[0], 20)
            arguments = ["--addr", world.cluster.addresses(leader).admin, "--wait", "20s"]
            await asyncio.to_thread(run_cli, "prepare-to-stop", *arguments)
            status = await world.status(leader)
            assert (status.state, status.drained) == ("draining", True)
            assert status.leader not in (0, status.member_id)
            assert await world.owned(leader, other) == []
            assert await asyncio.to_thread(probe, world, leader, "readyz") == 503
            assert await asyncio.to_thread(probe, world, leader, "healthz") == 200
            index = world.cluster.running().index(leader)
            await settled(senders[index], 50)  # it forwards for its application
            load.leave(senders[index])
            started = time.monotonic()
            await asyncio.to_thread(world.cluster.stop_gracefully, leader)
            assert time.monotonic() - started < 5
            await settled(senders[index - 1], 20)
        expect_no_failure(world)


def run_cli(*arguments: str) -> None:
    command = [sys.executable, "-m", "parti_cli.main", *arguments]
    subprocess.run(command, env=import_path_environment(), check=True, timeout=30)


def probe(world: World, member: str, path: str) -> int:
    try:
        url = f"http://{world.cluster.addresses(member).http}/{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            status: int = answer.status
    except urllib.error.HTTPError as error:
        with error:
            status = error.code
    return status


async def wait_voters(world: World, asked: str, count: int) -> None:
    deadline = time.monotonic() + WAIT_S
    while sum(each.role == "voter" for each in (await world.members(asked)).values()) < count:
        assert time.monotonic() < deadline, "too few voters"
        await asyncio.sleep(0.05)
