"""(h) The key-value store: puts and linearizable gets through the SDK, three durable sidecars.

Callers are closed loops on one client of one sidecar: the leader's, or another one's, whose writes
and reads go to the leader first. Keys are drawn from a fixed number, values have 64 bytes.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import parti
from parti_cli.devcluster import DevCluster
from tests.bench.stats import Load

KEYS = 10_000
VALUE = b"x" * 64
_WARM_UP = 200

Call = Callable[[parti.Client, bytes], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Addresses:
    """App addresses of the leader's sidecar and of another one."""

    leader: str
    follower: str


@contextmanager
def store_cluster() -> Iterator[Addresses]:
    """Three sidecars without workers."""
    with (
        tempfile.TemporaryDirectory(prefix="parti-bench-") as scratch,
        DevCluster(Path(scratch)) as cluster,
    ):
        cluster.up(3, partitions=8)
        names = cluster.running()
        leader = next(name for name in names if cluster.status(name).raft_role == "leader")
        follower = next(name for name in names if name != leader)
        yield Addresses(cluster.addresses(leader).app, cluster.addresses(follower).app)


async def put(client: parti.Client, key: bytes) -> object:
    """One write."""
    return await client.kv.put(key, VALUE)


async def get(client: parti.Client, key: bytes) -> object:
    """One linearizable read."""
    return await client.kv.get(key)


async def measure(address: str, call: Call, callers: int, seconds: float) -> Load:
    """Closed loops of one kind of call."""
    latencies: list[float] = []
    draw = random.Random(callers).randrange
    async with parti.Client(address) as client:
        await client.ready(timeout=10)
        for number in range(_WARM_UP):
            await client.kv.put(b"key-%08d" % number, VALUE)
        begun = time.perf_counter()
        end = begun + seconds

        async def caller() -> None:
            now = time.perf_counter()
            while now < end:
                await call(client, b"key-%08d" % draw(KEYS))
                after = time.perf_counter()
                latencies.append(after - now)
                now = after

        await asyncio.gather(*(caller() for _ in range(callers)))
        return Load.of(time.perf_counter() - begun, latencies)
