"""Everything planned: steady load, growth, shrinking, rolling restarts. Nothing may fail."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.process.history import Outcome
from tests.process.load import PARTITIONS, Load, settled
from tests.process.world import World, running_world

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
