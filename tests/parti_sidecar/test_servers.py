"""The three servers: what they offer, how they start and stop, how a bug looks from outside."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from parti_proto import app_pb2, peer_pb2
from parti_shard.errors import Executed, Reason
from parti_sidecar import servers
from parti_sidecar.rpc_guard import snake_case
from parti_sidecar.rpc_meter import BUCKET_BOUNDS_SECONDS, RpcMeter
from parti_sidecar.servers import ApiServers, ApiSettings
from parti_sidecar.status import INTERNAL_TEXT
from parti_sidecar.transport import BindError
from tests.parti_sidecar.api_clients import Client, ends_with, until
from tests.parti_sidecar.fake_host import ANY_PORTS, FakeCluster, Node


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    cluster = FakeCluster()
    await cluster.start()
    yield cluster.nodes[0]
    await cluster.stop()


async def _health(address: str, service: str = "") -> int:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        reply = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
        status: int = reply.status
        return status


async def _services(address: str) -> set[str]:
    async with grpc.aio.insecure_channel(address) as channel:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(timeout=5)
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        reply = await call.read()
        call.cancel()
        return {each.name for each in reply.list_services_response.service}


async def test_each_port_offers_its_services_health_and_reflection(node: Node) -> None:
    health, reflection = "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"
    offered = {
        node.bound.app: {"parti.v1.Router", "parti.v1.Worker", "parti.v1.KV"},
        node.bound.peer: {"parti.v1.Peer", "parti.v1.Admin"},
        node.bound.admin: {"parti.v1.Admin"},
    }
    for address, names in offered.items():
        assert await _services(address) == names | {health, reflection}
        for name in ("", *names):
            assert await _health(address, name) == health_pb2.HealthCheckResponse.SERVING


async def test_drain_says_not_serving_and_goes_on_serving(node: Node) -> None:
    assert node.servers is not None
    await node.servers.drain()
    for address in (node.bound.app, node.bound.peer, node.bound.admin):
        assert await _health(address) == health_pb2.HealthCheckResponse.NOT_SERVING
    async with Client(node.bound.app) as client:
        reply = await client.open("Router.Locate", app_pb2.LocateRequest(partition=0))
        assert reply.partition.partition == 0


async def test_the_unix_socket_serves_applications(tmp_path: Path) -> None:
    cluster = FakeCluster()
    path = str(tmp_path / "app.sock")
    await cluster.nodes[0].start(replace(ANY_PORTS, app_socket=path))
    async with Client(f"unix:{path}") as client:
        reply = await client.open("Router.Locate", app_pb2.LocateRequest(partition=0))
        assert reply.partition.partition == 0
    await cluster.nodes[0].stop()
    assert not os.path.exists(path)  # noqa: ASYNC240, PTH110  # a folder of this test


async def test_a_port_that_is_taken_leaves_nothing_running(node: Node) -> None:
    taken = replace(ANY_PORTS, admin=node.bound.admin)
    before = len(asyncio.all_tasks())
    with pytest.raises(BindError, match=node.bound.admin):
        await ApiServers.start(node.host, taken, ApiSettings(), RpcMeter())
    await until(lambda: len(asyncio.all_tasks()) <= before, "the end of all tasks")


async def test_a_bug_is_counted_and_its_words_stay_inside(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(*_frame: object) -> None:
        raise ValueError("secret words")

    monkeypatch.setattr(node.host, "peer_heard", break_down)
    async with Client(node.bound.peer) as client:
        handshake = peer_pb2.Handshake(protocol_version=1, cluster_id="test-cluster")
        call = client.open("Peer.StreamPort", peer_pb2.StreamPortRequest(handshake=handshake))
        failure = await ends_with(call)
    assert (failure.reason, failure.executed) == (Reason.INTERNAL, Executed.UNKNOWN)
    assert failure.message == INTERNAL_TEXT
    assert "secret" not in await call.details()
    assert node.meter.bugs == 1
    await until(lambda: node.meter.errors["Peer.StreamPort", "INTERNAL"] == 1)
    assert "secret words" in caplog.text


async def test_stop_waits_for_the_handlers_and_leaves_no_tasks() -> None:
    before = asyncio.all_tasks()
    cluster = FakeCluster()
    await cluster.start()
    node = cluster.nodes[0]
    client = Client(node.bound.app)
    call = client.open("Router.SendStream")
    await call.read()
    watch = client.open("Router.WatchTable", app_pb2.WatchTableRequest())
    await watch.read()
    await cluster.stop()
    assert not node.host.writers()
    assert not node.host._watchers
    assert node.meter.bugs == 0
    await client.channel.close()
    await until(lambda: asyncio.all_tasks() <= before, "the end of all tasks")


async def test_a_handler_that_does_not_end_is_cancelled(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(servers, "HANDLERS_END_MS", 20)
    never = asyncio.Event()

    async def stuck(*_any: object) -> None:
        try:
            await never.wait()
        except asyncio.CancelledError:
            cancelled.append("once")
            await never.wait()

    cancelled: list[str] = []
    monkeypatch.setattr(node.host, "admit", stuck)
    async with Client(node.bound.peer) as client:
        request = peer_pb2.JoinRequest(member_id=7, name="seven", address="10.0.0.7:5101")
        call = client.open("Peer.Join", request)
        await until(lambda: node.meter.requests["Peer.Join"], "the request")
        call.cancel()
        await until(lambda: cancelled, "the cancellation that was swallowed")
        assert node.servers is not None
        await node.servers.stop(grace_ms=0)
    assert "rpc handlers did not end in time" in caplog.text


def test_the_meter_counts() -> None:
    meter = RpcMeter()
    meter.finish("A.B", meter.begin("A.B"))
    meter.finish("A.B", meter.begin("A.B") - 100, "OVERLOADED")
    meter.frame_in("A.B", 3)
    meter.frame_out("A.B", 2)
    assert meter.requests == {"A.B": 2}
    assert meter.errors == {("A.B", "OVERLOADED"): 1}
    durations = meter.seconds["A.B"]
    assert len(durations.buckets) == len(BUCKET_BOUNDS_SECONDS) + 1
    assert (sum(durations.buckets), durations.buckets[-1]) == (2, 1)
    assert durations.sum_seconds > 100
    assert meter.frames == {("A.B", "in"): 1, ("A.B", "out"): 1}
    assert meter.messages == {("A.B", "in"): 3, ("A.B", "out"): 2}


@pytest.mark.parametrize(
    ("name", "expected"), [("Send", "send"), ("SnapshotOffset", "snapshot_offset")]
)
def test_rpc_names_become_method_names(name: str, expected: str) -> None:
    assert snake_case(name) == expected
