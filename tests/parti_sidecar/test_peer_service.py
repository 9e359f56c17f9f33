"""The Peer API over real gRPC: handshakes, frames, forwards, joins, streams that are replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from parti_proto import peer_pb2
from parti_shard.errors import Executed, Failure, MalformedFrameError, PartiError, Reason
from parti_shard.ids import NO_MEMBER, MemberId
from parti_sidecar import streams
from tests.parti_sidecar.api_clients import LIMIT_S, Client, ends_with, until
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


_FIRST_FRAMES = {"Peer.Frames": peer_pb2.PeerFrame, "Peer.Forward": peer_pb2.ForwardFrame}
_STREAMS = pytest.mark.parametrize("name", list(_FIRST_FRAMES))


@_STREAMS
@pytest.mark.parametrize(
    ("handshake", "reason"),
    [
        (_handshake(version=2), Reason.PROTOCOL_VERSION),
        (_handshake(cluster_id="other"), Reason.WRONG_CLUSTER),
    ],
)
async def test_a_wrong_handshake_is_refused_before_anything_is_used(
    client: Client, host: FakeHost, name: str, handshake: peer_pb2.Handshake, reason: Reason
) -> None:
    call = client.open(name)
    await call.write(_FIRST_FRAMES[name](handshake=handshake))
    failure = await ends_with(call)
    assert (failure.reason, failure.executed) == (reason, Executed.NO)
    assert not host.heard
    assert not host.peer_frames


@_STREAMS
async def test_a_stream_without_a_handshake_is_refused(client: Client, name: str) -> None:
    call = client.open(name)
    await call.write(_FIRST_FRAMES[name]())
    failure = await ends_with(call)
    assert failure.reason is Reason.MALFORMED_FRAME
    assert "handshake" in failure.message


async def test_a_silent_stream_is_sent_away(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "FIRST_FRAME_MS", 50)
    assert (await ends_with(client.open("Peer.Frames"))).reason is Reason.MALFORMED_FRAME


async def test_frames_reach_the_host_in_order(client: Client, host: FakeHost) -> None:
    call = client.open("Peer.Frames")
    await call.write(peer_pb2.PeerFrame(handshake=_handshake()))
    await call.initial_metadata()
    for number in range(3):
        await call.write(peer_pb2.PeerFrame(raft=[b"r%d" % number], session=[b"s", b"t"]))
    await until(lambda: len(host.peer_frames) == 3, "the frames")
    assert host.peer_frames == [(TWO, [b"r%d" % n], [b"s", b"t"]) for n in range(3)]
    assert host.heard[0].from_address == "10.0.0.2:5101"
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK


async def test_a_malformed_peer_frame_ends_the_stream_and_the_server_goes_on(
    client: Client, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_frame: object) -> None:
        raise MalformedFrameError("not a raft message")

    monkeypatch.setattr(host, "peer_frame", refuse)
    call = client.open("Peer.Frames")
    await call.write(peer_pb2.PeerFrame(handshake=_handshake()))
    await call.write(peer_pb2.PeerFrame(raft=[b"junk"]))
    failure = await ends_with(call)
    assert (failure.reason, failure.message) == (Reason.MALFORMED_FRAME, "not a raft message")
    monkeypatch.undo()
    again = client.open("Peer.Frames")
    await again.write(peer_pb2.PeerFrame(handshake=_handshake()))
    await again.write(peer_pb2.PeerFrame(raft=[b"good"]))
    await until(lambda: host.peer_frames, "a frame after the bad one")
    again.cancel()


@_STREAMS
async def test_a_second_stream_of_a_member_replaces_the_first(client: Client, name: str) -> None:
    first = client.open(name)
    await first.write(_FIRST_FRAMES[name](handshake=_handshake()))
    await first.initial_metadata()
    second = client.open(name)
    await second.write(_FIRST_FRAMES[name](handshake=_handshake()))
    await second.initial_metadata()
    failure = await ends_with(first)
    assert failure.reason is Reason.CONFLICT
    assert "newer stream" in failure.message
    assert not second.done()
    second.cancel()


async def test_a_forward_stream_answers_what_it_cannot_admit(
    cluster: FakeCluster, client: Client
) -> None:
    """Another member owns the partition: the gate refuses."""
    cluster.grant(3, cluster.nodes[1].host)
    call = client.open("Peer.Forward")
    await call.write(peer_pb2.ForwardFrame(handshake=_handshake()))
    frame = peer_pb2.ForwardFrame(id=[1], partition=[3], epoch=[1], payload=[b"p"])
    await call.write(frame)
    results = await asyncio.wait_for(call.read(), LIMIT_S)
    assert list(results.id) == [1]
    assert results.errors[0].detail.reason == Reason.NOT_OWNER
    call.cancel()


async def test_a_malformed_forward_frame_ends_the_stream(client: Client) -> None:
    call = client.open("Peer.Forward")
    await call.write(peer_pb2.ForwardFrame(handshake=_handshake()))
    await call.write(peer_pb2.ForwardFrame(id=[1, 2], partition=[3]))
    failure = await ends_with(call)
    assert failure.reason is Reason.MALFORMED_FRAME
    assert "partition has 1 elements for 2 items" in failure.message


async def test_a_stream_that_ends_takes_its_writer_along(client: Client, host: FakeHost) -> None:
    call = client.open("Peer.Forward")
    await call.write(peer_pb2.ForwardFrame(handshake=_handshake()))
    await until(host.writers, "the writer")
    call.cancel()
    await until(lambda: not host.writers(), "the end of the writer")


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
