"""The store on real processes: retried writes count once, whoever dies."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

import parti
from parti_cli.devcluster import DevCluster, Part

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

# The large run that a release rests on: PARTI_KV_WRITES=100000.
WRITES = int(os.environ.get("PARTI_KV_WRITES", "3000"))
WRITERS = 64
WAIT_S = 60.0


async def _leader_of_three_voters(cluster: DevCluster) -> str:
    """Wait until a majority is left when one is killed."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        names = cluster.running()
        statuses = [await asyncio.to_thread(cluster.status, name) for name in names]
        roles = [status.raft_role for status in statuses]
        if sorted(roles) == ["follower", "follower", "leader"]:
            return names[roles.index("leader")]
        await asyncio.sleep(0.05)
    raise TimeoutError("no three voters with a leader")


async def test_every_write_counts_once_while_leaders_are_killed(tmp_path: Path) -> None:
    with DevCluster(tmp_path / "cluster") as cluster:
        await asyncio.to_thread(cluster.up, 3, partitions=8)
        leader = await _leader_of_three_voters(cluster)
        other = next(name for name in cluster.running() if name != leader)
        async with parti.Client(cluster.addresses(other).app) as client:
            done = 0

            async def write(writer: int) -> None:
                nonlocal done
                for number in range(WRITES // WRITERS):
                    # Done twice, it would find its own key and say so.
                    result = await client.kv.cas(f"{writer}/{number}", "x", expect=0, timeout=60)
                    assert result.ok, f"{writer}/{number} was done before, at {result.revision}"
                    done += 1

            writing = asyncio.gather(*(write(writer) for writer in range(WRITERS)))
            while done < WRITES // 4 and not writing.done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await asyncio.to_thread(cluster.kill, leader, Part.SIDECAR)
            await writing
            page = await client.kv.page(limit=1)
        assert page.revision == done == WRITES // WRITERS * WRITERS
