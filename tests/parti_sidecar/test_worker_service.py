"""The Worker API over real gRPC: attaching, being replaced, going away, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from parti_proto import app_pb2
from parti_shard.errors import Executed, Reason
from parti_sidecar import streams
from parti_sidecar.servers import ApiSettings
from parti_sidecar.worker_service import CREDITS_MAX
from tests.parti_sidecar.api_clients import Client, EchoWorker, ends_with, until
from tests.parti_sidecar.fake_host import CLUSTER, FakeCluster


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    made = FakeCluster()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def client(cluster: FakeCluster) -> AsyncIterator[Client]:
    async with Client(cluster.nodes[0].bound.app) as made:
        yield made


def _hello(
    *, version: int = 1, credits_: int = 8, of_one: int = 8, name: str = "w"
) -> app_pb2.WorkerFrame:
    hello = app_pb2.Hello(
        protocol_version=version, name=name, credits=credits_, partition_credits=of_one
    )
    return app_pb2.WorkerFrame(hello=hello)


async def test_a_worker_is_welcomed_told_its_lease_and_assigned(
    cluster: FakeCluster, client: Client
) -> None:
    host = cluster.nodes[0].host
    call = client.open("Worker.Attach")
    await call.write(_hello())
    welcome = (await call.read()).welcome
    assert (welcome.cluster_id, welcome.protocol_version) == (CLUSTER, 1)
    assert host.router is not None
    await until(lambda: host.router and host.router.worker_ready, "the worker")
    cluster.grant(3, host)
    told = app_pb2.SidecarFrame()
    while not told.assign:
        told.MergeFrom(await asyncio.wait_for(call.read(), 5))
    assert told.lease.until_boottime_ms > host.now_ms()
    assert (told.assign[0].partition, told.assign[0].epoch) == (3, 1)
    call.cancel()


@pytest.mark.parametrize(
    ("frame", "reason", "says"),
    [
        (app_pb2.WorkerFrame(), Reason.MALFORMED_FRAME, "must hold hello"),
        (_hello(version=2), Reason.PROTOCOL_VERSION, "this sidecar speaks 1"),
        (_hello(credits_=0), Reason.INVALID_ARGUMENT, "credits is 0"),
        (_hello(credits_=CREDITS_MAX + 1), Reason.INVALID_ARGUMENT, "must be 1..65536"),
        (_hello(of_one=0), Reason.INVALID_ARGUMENT, "partition_credits is 0"),
        (_hello(of_one=9), Reason.INVALID_ARGUMENT, "above credits"),
        (_hello(name="x" * 300), Reason.INVALID_ARGUMENT, "longer than 256"),
    ],
)
async def test_a_wrong_hello_is_refused_by_name(
    client: Client, frame: app_pb2.WorkerFrame, reason: Reason, says: str
) -> None:
    call = client.open("Worker.Attach")
    await call.write(frame)
    failure = await ends_with(call)
    assert (failure.reason, failure.executed) == (reason, Executed.NO)
    assert says in failure.message


async def test_a_worker_that_says_nothing_is_sent_away(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "FIRST_FRAME_MS", 50)
    call = client.open("Worker.Attach")
    failure = await ends_with(call)
    assert failure.reason is Reason.MALFORMED_FRAME
    assert "no first frame within 50 ms" in failure.message


async def test_a_worker_that_ends_before_hello_is_told_so(client: Client) -> None:
    call = client.open("Worker.Attach")
    await call.done_writing()
    assert "ended before its first frame" in (await ends_with(call)).message


async def test_a_newer_worker_takes_the_place_of_the_older(
    cluster: FakeCluster, client: Client
) -> None:
    older = EchoWorker(client, name="older")
    await until(lambda: older.welcome, "the first welcome")
    newer = EchoWorker(client, name="newer")
    await older.ended()
    assert older.closed, "the last frame says why"
    assert await older.call.code() is grpc.StatusCode.OK
    await until(lambda: newer.welcome, "the second welcome")
    assert not newer.call.done()
    await newer.stop()


async def test_a_worker_that_goes_away_is_detached(cluster: FakeCluster, client: Client) -> None:
    host = cluster.nodes[0].host
    worker = EchoWorker(client)
    await until(host.writers, "the worker's writer")
    await worker.stop()
    await until(lambda: not host.writers(), "the end of the writer")
    assert host.router is not None
    assert host.router.stats.workers_lost == 1


async def test_a_malformed_frame_ends_the_worker_and_the_next_may_attach(
    cluster: FakeCluster, client: Client
) -> None:
    call = client.open("Worker.Attach")
    await call.write(_hello())
    await call.read()
    await call.write(_hello())
    failure = await ends_with(call)
    assert failure.reason is Reason.MALFORMED_FRAME
    again = EchoWorker(client)
    await until(lambda: again.welcome, "the next welcome")
    await again.stop()
    assert cluster.nodes[0].meter.bugs == 0


async def test_a_sidecar_that_only_routes_says_so() -> None:
    cluster = FakeCluster()
    await cluster.start(ApiSettings(workers_refused_because="this sidecar only routes"))
    async with Client(cluster.nodes[0].bound.app) as client:
        call = client.open("Worker.Attach")
        await call.write(_hello())
        failure = await ends_with(call)
        assert (failure.reason, failure.message) == (Reason.CONFLICT, "this sidecar only routes")
    await cluster.stop()
