"""The Peer API over real gRPC: handshakes, the port of the streams, joins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from parti_proto import peer_pb2
from parti_shard.errors import Executed, Failure, PartiError, Reason
from parti_shard.ids import NO_MEMBER, MemberId
from parti_sidecar import streams
from parti_sidecar.leader_calls import LeaderCalls
from parti_sidecar.peer_service import PeerService
from parti_sidecar.rpc_meter import RpcMeter
from tests.parti_sidecar.api_clients import Client, ends_with
from tests.parti_sidecar.fake_host import CLUSTER, FakeCluster, FakeHost

TWO = MemberId(2)


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    made = FakeCluster(count=2)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def host(cluster: FakeCluster) -> FakeHost:
    return cluster.nodes[0].host


@pytest.fixture
async def client(cluster: FakeCluster) -> AsyncIterator[Client]:
    async with Client(cluster.nodes[0].bound.peer) as made:
        yield made


def _handshake(*, version: int = 1, cluster_id: str = CLUSTER) -> peer_pb2.Handshake:
    return peer_pb2.Handshake(
        protocol_version=version,
        cluster_id=cluster_id,
        from_member=2,
        to_member=1,
        from_address="10.0.0.2:5101",
    )


@pytest.mark.parametrize(
    ("handshake", "reason"),
    [
        (_handshake(version=2), Reason.PROTOCOL_VERSION),
        (_handshake(cluster_id="other"), Reason.WRONG_CLUSTER),
    ],
)
async def test_a_wrong_handshake_is_refused_before_anything_is_used(
    client: Client, host: FakeHost, handshake: peer_pb2.Handshake, reason: Reason
) -> None:
    request = peer_pb2.StreamPortRequest(handshake=handshake)
    failure = await client.fails("Peer.StreamPort", request)
    assert (failure.reason, failure.executed) == (reason, Executed.NO)
    call = client.open("Peer.Snapshot")
    await call.write(peer_pb2.SnapshotChunk(handshake=handshake))
    assert (await ends_with(call)).reason is reason
    assert not host.heard


async def test_a_call_without_a_handshake_is_refused(client: Client) -> None:
    failure = await client.fails("Peer.StreamPort", peer_pb2.StreamPortRequest())
    assert failure.reason is Reason.MALFORMED_FRAME
    assert "handshake" in failure.message
    call = client.open("Peer.Snapshot")
    await call.write(peer_pb2.SnapshotChunk())
    assert (await ends_with(call)).reason is Reason.MALFORMED_FRAME


async def test_a_silent_stream_is_sent_away(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "FIRST_FRAME_MS", 50)
    assert (await ends_with(client.open("Peer.Snapshot"))).reason is Reason.MALFORMED_FRAME


async def test_the_port_of_the_streams_is_told(
    cluster: FakeCluster, client: Client, host: FakeHost
) -> None:
    request = peer_pb2.StreamPortRequest(handshake=_handshake())
    reply = await client.open("Peer.StreamPort", request)
    assert f"127.0.0.1:{reply.port}" == cluster.nodes[0].bound.peer_streams
    assert host.heard[0].from_address == "10.0.0.2:5101"


_JOIN = peer_pb2.JoinRequest(
    protocol_version=1, cluster_id=CLUSTER, member_id=7, name="m7", address="10.0.0.7:5101"
)


async def test_a_join_at_the_leader_is_answered(client: Client) -> None:
    reply = await client.open("Peer.Join", _JOIN)
    assert reply.cluster_id == CLUSTER
    assert {each.member_id: each.address for each in reply.peers}[7] == "10.0.0.7:5101"


async def test_a_join_elsewhere_is_carried_to_the_leader(cluster: FakeCluster) -> None:
    async with Client(cluster.nodes[1].bound.peer) as client:
        reply = await client.open("Peer.Join", _JOIN)
    assert {each.member_id for each in reply.peers} == {1, 7}


async def test_a_join_without_a_leader_says_so(client: Client, host: FakeHost) -> None:
    host.leader_is = NO_MEMBER
    failure = await client.fails("Peer.Join", _JOIN)
    assert (failure.reason, failure.executed) == (Reason.NO_LEADER, Executed.NO)
    assert failure.retry_after_ms > 0


async def test_a_leader_whose_state_is_not_complete_does_not_ask_itself(
    cluster: FakeCluster, client: Client, host: FakeHost
) -> None:
    host.complete = False
    failure = await client.fails("Peer.Join", _JOIN)
    assert failure.reason is Reason.NO_LEADER
    assert "has not caught up" in failure.message
    assert cluster.nodes[0].meter.requests["Peer.Join"] == 1


async def test_a_carried_call_is_never_carried_twice(cluster: FakeCluster) -> None:
    """Both believe that the other leads."""
    one, two = (node.host for node in cluster.nodes)
    one.leader_is, two.leader_is = TWO, MemberId(1)
    async with Client(cluster.nodes[0].bound.peer) as client:
        failure = await client.fails("Peer.Join", _JOIN)
    assert failure.reason is Reason.NO_LEADER
    assert sum(node.meter.requests["Peer.Join"] for node in cluster.nodes) == 2


async def test_what_the_leader_says_comes_back_unchanged(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Failure(Reason.CONFLICT, Executed.NO, "its name is taken")

    async def refuse(_applicant: object) -> None:
        raise PartiError(said)

    monkeypatch.setattr(cluster.nodes[0].host, "admit", refuse)
    async with Client(cluster.nodes[1].bound.peer) as client:
        assert await client.fails("Peer.Join", _JOIN) == said


async def test_a_snapshot_stream_may_outlast_the_one_that_took_its_place(host: FakeHost) -> None:
    """It is cancelled and needs a while to end; the newer one has come and gone by then."""
    service = PeerService(host, RpcMeter(), cast("LeaderCalls", None), 0)
    begun, newer_ended = asyncio.Event(), asyncio.Event()

    async def older() -> None:
        try:
            begun.set()
            await asyncio.get_running_loop().create_future()
        finally:
            await newer_ended.wait()

    async def newer() -> None:
        pass

    first = asyncio.create_task(service._as_newest(TWO, older()))
    await begun.wait()
    await service._as_newest(TWO, newer())
    newer_ended.set()
    with pytest.raises(PartiError) as replaced:
        await first
    assert replaced.value.failure.reason is Reason.CONFLICT
    assert service._newest == {}
