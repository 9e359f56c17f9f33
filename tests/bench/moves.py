"""(e) How long a partition pauses: graceful moves, and after kill -9 of its owner.

Every partition is sent to in a steady loop through a member that stays; the pause of a move is the
longest time between two answers of the moved partition around it, less the ordinary time between
answers.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import uvloop

import parti
from parti_cli.devcluster import DevCluster
from parti_proto import admin_pb2

PARTITIONS = 96
_STEADY_S = 0.004
ECHO = [sys.executable, "-m", "tests.bench.echo_worker"]


class Probe:
    """Sends to every partition without end and remembers when answers came."""

    def __init__(self, client: parti.Client) -> None:
        self._client = client
        self.answers: dict[int, list[float]] = defaultdict(list)
        self.failed = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._loop(p)) for p in range(PARTITIONS)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _loop(self, partition: int) -> None:
        while True:
            try:
                await self._client.send(
                    partition=partition, payload=b"probe", timeout=20, idempotent=True
                )
            except parti.PartiError:
                self.failed += 1
            else:
                self.answers[partition].append(time.perf_counter())
            await asyncio.sleep(_STEADY_S)

    def pause_ms(self, partition: int, since: float) -> float:
        """The longest time without an answer after `since`, less the pace of the loop."""
        times = [since, *(t for t in self.answers[partition] if t >= since)]
        longest = max((b - a for a, b in pairwise(times)), default=0.0)
        return max(0.0, longest - _STEADY_S) * 1000


async def graceful_pauses(cluster: DevCluster, moves: int) -> tuple[list[float], int]:
    """Move partitions one after the other by pinning them; gives the pauses and failures."""
    names = [member.name for member in cluster.members()]
    ids = {name: cluster.status(name).member_id for name in names}
    pauses: list[float] = []
    async with parti.Client(cluster.addresses(names[0]).app) as client:
        probe = Probe(client)
        probe.start()
        await asyncio.sleep(1)
        for number in range(moves):
            partition = number % PARTITIONS
            owner = (await client.locate(partition=partition)).owner
            target = next(i for i in ids.values() if i != owner)
            since = time.perf_counter()
            await asyncio.to_thread(_move, cluster, names[0], partition, target)
            await _until_owned(client, partition, target)
            await asyncio.sleep(0.05)
            pauses.append(probe.pause_ms(partition, since))
        await probe.stop()
        return pauses, probe.failed


def _move(cluster: DevCluster, at: str, partition: int, target: int) -> None:
    with cluster.admin(at) as admin:
        admin.call(admin.stub.Move, admin_pb2.MoveRequest(partition=partition, to_member=target))


async def _until_owned(client: parti.Client, partition: int, owner: int) -> None:
    deadline = time.perf_counter() + 10
    while (await client.locate(partition=partition)).owner != owner:
        assert time.perf_counter() < deadline, f"partition {partition} did not move"
        await asyncio.sleep(0.01)


async def crash_pauses(cluster: DevCluster, victim: str, entry: str) -> list[float]:
    """Kill a member's processes; gives the pause of each partition it owned."""
    victim_id = cluster.status(victim).member_id
    async with parti.Client(cluster.addresses(entry).app) as client:
        probe = Probe(client)
        probe.start()
        await asyncio.sleep(1)
        owned = [p.partition for p in cluster.partitions(entry) if p.owner == victim_id]
        since = time.perf_counter()
        await asyncio.to_thread(cluster.kill, victim)
        killed = time.perf_counter()
        while any(probe.answers[p][-1] < killed + 0.3 for p in owned):
            assert time.perf_counter() < since + 15, "the partitions are not served again"
            await asyncio.sleep(0.05)
        await probe.stop()
        return [probe.pause_ms(p, since) for p in owned]


def measure_crashes(cluster: DevCluster, rounds: int, *, leader: bool) -> list[float]:
    """Kill the leader, or a member that only owns partitions, and start it again; repeat."""
    pauses: list[float] = []
    for _ in range(rounds):
        statuses = {member.name: cluster.status(member.name) for member in cluster.members()}
        victim = next(
            name
            for name, status in statuses.items()
            if (status.member_id == status.leader) is leader
        )
        entry = next(name for name in statuses if name != victim)
        pauses += uvloop.run(crash_pauses(cluster, victim, entry))
        cluster.restart(victim)
        cluster.wait_settled()
    return pauses


@contextmanager
def moving_cluster() -> Iterator[DevCluster]:
    """Three members with workers."""
    with (
        tempfile.TemporaryDirectory(prefix="parti-bench-") as scratch,
        DevCluster(Path(scratch)) as cluster,
    ):
        cluster.up(3, partitions=PARTITIONS, worker=ECHO)
        cluster.wait_settled()
        yield cluster
