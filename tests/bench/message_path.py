"""(b), (c) Messages from a client on sidecar A to a worker on sidecar B, in a cluster of three."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

import parti
from parti_cli.devcluster import DevCluster
from parti_proto import app_pb2, app_pb2_grpc
from tests.bench.stats import Load

PARTITIONS = 64
PAYLOAD = b"x" * 256
ECHO = [sys.executable, "-m", "tests.bench.echo_worker"]
_WARM_UP = 200


@contextmanager
def one_worker_cluster() -> Iterator[str]:
    """Three sidecars, a worker only at the second; gives the first one's app address."""
    with (
        tempfile.TemporaryDirectory(prefix="parti-bench-") as scratch,
        DevCluster(Path(scratch)) as cluster,
    ):
        cluster.up(3, partitions=PARTITIONS)
        first, second = (cluster.addresses(member.name) for member in cluster.members()[:2])
        worker = subprocess.Popen(ECHO, env={**os.environ, "PARTI_ADDRESS": second.app})
        try:
            cluster.wait_settled()
            yield first.app
        finally:
            worker.kill()
            worker.wait()


async def through_sdk(address: str, in_flight: int, seconds: float) -> Load:
    """Closed loops of `Client.send`."""
    latencies: list[float] = []
    async with parti.Client(address) as client:
        await client.ready(timeout=10)
        for number in range(_WARM_UP):
            await client.send(partition=number % PARTITIONS, payload=PAYLOAD)
        begun = time.perf_counter()
        end = begun + seconds

        async def caller(partition: int) -> None:
            now = time.perf_counter()
            while now < end:
                await client.send(partition=partition, payload=PAYLOAD)
                after = time.perf_counter()
                latencies.append(after - now)
                now = after
                partition = (partition + 1) % PARTITIONS

        await asyncio.gather(*(caller(number % PARTITIONS) for number in range(in_flight)))
        return Load.of(time.perf_counter() - begun, latencies)


async def through_unary(address: str, in_flight: int, seconds: float) -> Load:
    """Closed loops of the unary `Send`, as any gRPC client would."""
    latencies: list[float] = []
    async with grpc.aio.insecure_channel(address) as channel:
        router = app_pb2_grpc.RouterStub(channel)  # type: ignore[no-untyped-call]
        for number in range(_WARM_UP):
            request = app_pb2.SendRequest(partition=number % PARTITIONS, payload=PAYLOAD)
            await router.Send(request, timeout=10)
        begun = time.perf_counter()
        end = begun + seconds

        async def caller(partition: int) -> None:
            now = time.perf_counter()
            while now < end:
                request = app_pb2.SendRequest(partition=partition, payload=PAYLOAD)
                await router.Send(request, timeout=30)
                after = time.perf_counter()
                latencies.append(after - now)
                now = after
                partition = (partition + 1) % PARTITIONS

        await asyncio.gather(*(caller(number % PARTITIONS) for number in range(in_flight)))
        return Load.of(time.perf_counter() - begun, latencies)
