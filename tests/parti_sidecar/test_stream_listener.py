"""Streams of other members: handshakes, frames, forwards, replacement, strangers, the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from parti_proto import peer_pb2
from parti_shard.errors import Executed, Failure, MalformedFrameError, Reason
from parti_shard.ids import MemberId
from parti_sidecar import stream_listener
from parti_sidecar.servers import ApiServers, ApiSettings
from parti_sidecar.status import INTERNAL_TEXT, failure_from
from parti_sidecar.transport import BindError
from tests.parti_sidecar.api_clients import until
from tests.parti_sidecar.fake_host import ANY_PORTS, CLUSTER, FakeCluster, FakeHost, Node
from tests.parti_sidecar.raw_streams import (
    ACCEPTED,
    DATA,
    DONE,
    END,
    HELLO,
    PING,
    PONG,
    RawStream,
    frame,
    hello,
)

TWO = MemberId(2)
FRAMES, FORWARD = peer_pb2.STREAM_KIND_FRAMES, peer_pb2.STREAM_KIND_FORWARD
NAMES = {FRAMES: "Peer.Frames", FORWARD: "Peer.Forward"}
BOTH_KINDS = pytest.mark.parametrize("kind", [FRAMES, FORWARD], ids=["frames", "forward"])


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    made = FakeCluster(count=2)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def node(cluster: FakeCluster) -> Node:
    return cluster.nodes[0]


@pytest.fixture
def host(node: Node) -> FakeHost:
    return node.host


@pytest.fixture
async def stream(node: Node) -> AsyncIterator[RawStream]:
    async with RawStream(node.bound.peer_streams) as made:
        yield made


def _handshake(*, version: int = 1, cluster_id: str = CLUSTER) -> peer_pb2.Handshake:
    return peer_pb2.Handshake(
        protocol_version=version,
        cluster_id=cluster_id,
        from_member=2,
        to_member=1,
        from_address="10.0.0.2:5101",
    )


def _data(message: peer_pb2.PeerFrame | peer_pb2.ForwardFrame) -> bytes:
    return frame(DATA, message.SerializeToString())


@BOTH_KINDS
@pytest.mark.parametrize(
    ("handshake", "reason"),
    [
        (_handshake(version=2), Reason.PROTOCOL_VERSION),
        (_handshake(cluster_id="other"), Reason.WRONG_CLUSTER),
        (None, Reason.MALFORMED_FRAME),
    ],
    ids=["version", "cluster", "none"],
)
async def test_a_wrong_handshake_is_refused_before_anything_is_used(
    node: Node,
    host: FakeHost,
    stream: RawStream,
    kind: peer_pb2.StreamKind,
    handshake: peer_pb2.Handshake | None,
    reason: Reason,
) -> None:
    await stream.send(hello(handshake, kind), _data(peer_pb2.PeerFrame(raft=[b"r"])))
    failure = await stream.ends_with()
    assert (failure.reason, failure.executed) == (reason, Executed.NO)
    assert not host.heard
    assert not host.peer_frames
    assert not host.writers()
    assert node.meter.requests[NAMES[kind]] == 1
    assert node.meter.errors[NAMES[kind], reason.name] == 1


MALFORMED_BEGINNINGS = {
    "data": frame(DATA),
    "accepted": frame(ACCEPTED),
    "done": frame(DONE),
    "garbage in the hello": frame(HELLO, b"\xff\xff"),
    "no kind": hello(_handshake(), peer_pb2.STREAM_KIND_UNSPECIFIED),
    "a kind of tomorrow": frame(
        HELLO, peer_pb2.StreamHello(handshake=_handshake()).SerializeToString() + b"\x10\x63"
    ),
    "no kind of frame": frame(99),
}


@pytest.mark.parametrize(
    "beginning", MALFORMED_BEGINNINGS.values(), ids=MALFORMED_BEGINNINGS.keys()
)
async def test_a_malformed_beginning_is_refused(
    node: Node, stream: RawStream, beginning: bytes
) -> None:
    await stream.send(beginning)
    assert (await stream.ends_with()).reason is Reason.MALFORMED_FRAME
    assert node.meter.errors["Peer.Stream", "MALFORMED_FRAME"] == 1
    assert node.meter.requests["Peer.Stream"] == 1
    assert not node.meter.bugs


@pytest.mark.parametrize(
    "stranger",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"PRI * HTTP/2.0\r\n\r\n"],
    ids=["http", "tls", "http2"],
)
async def test_a_stranger_is_refused_by_the_length_it_seems_to_say(
    node: Node, stream: RawStream, stranger: bytes
) -> None:
    await stream.send(stranger)
    assert (await stream.ends_with()).reason is Reason.PAYLOAD_TOO_LARGE
    assert node.meter.errors["Peer.Stream", "PAYLOAD_TOO_LARGE"] == 1


async def test_a_hello_has_a_limit_of_its_own(stream: RawStream) -> None:
    handshake = _handshake(cluster_id="c" * stream_listener.HELLO_BYTES_MAX)
    await stream.send(hello(handshake, FRAMES))
    assert (await stream.ends_with()).reason is Reason.PAYLOAD_TOO_LARGE


async def test_an_oversized_frame_ends_the_stream_by_its_header(
    node: Node, stream: RawStream
) -> None:
    await stream.introduce(hello(_handshake(), FRAMES))
    await stream.send(((16 << 20) + 1).to_bytes(4, "big"), bytes([DATA]))
    failure = await stream.ends_with()
    assert (failure.reason, failure.executed) == (Reason.PAYLOAD_TOO_LARGE, Executed.NO)
    assert node.meter.errors["Peer.Frames", "PAYLOAD_TOO_LARGE"] == 1


async def test_a_silent_stream_is_sent_away(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_listener, "FIRST_FRAME_MS", 50)
    async with RawStream(node.bound.peer_streams) as stream:
        await stream.send(frame(PING))
        assert (await stream.read())[0] == PONG
        failure = await stream.ends_with()
    assert failure.reason is Reason.MALFORMED_FRAME
    assert "no first frame within 50 ms" in failure.message
    assert node.meter.errors["Peer.Stream", "MALFORMED_FRAME"] == 1


async def test_an_accepted_stream_may_be_silent(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_listener, "FIRST_FRAME_MS", 50)
    async with (
        RawStream(node.bound.peer_streams) as stream,
        RawStream(node.bound.peer_streams) as silent,
    ):
        await stream.introduce(hello(_handshake(), FRAMES))
        await silent.ends_with()
        await stream.send(frame(PING))
        assert (await stream.read())[0] == PONG


async def test_more_streams_than_the_limit_are_refused(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_listener, "STREAMS_MAX", 1)
    async with RawStream(node.bound.peer_streams) as first:
        await first.introduce(hello(_handshake(), FRAMES))
        async with RawStream(node.bound.peer_streams) as second:
            assert (await second.ends_with()).reason is Reason.OVERLOADED
        assert node.meter.errors["Peer.Stream", "OVERLOADED"] == 1
        await first.send(frame(PING))
        assert (await first.read())[0] == PONG
    await until(lambda: node.meter.seconds["Peer.Frames"].sum_seconds, "the end of the first")
    async with RawStream(node.bound.peer_streams) as third:
        await third.introduce(hello(_handshake(), FRAMES))


async def test_frames_reach_the_host_in_order(
    node: Node, host: FakeHost, stream: RawStream
) -> None:
    await stream.introduce(hello(_handshake(), FRAMES))
    for number in range(3):
        await stream.send(_data(peer_pb2.PeerFrame(raft=[b"r%d" % number], session=[b"s", b"t"])))
    await until(lambda: len(host.peer_frames) == 3, "the frames")
    assert host.peer_frames == [(TWO, [b"r%d" % n], [b"s", b"t"]) for n in range(3)]
    assert host.heard[0].from_address == "10.0.0.2:5101"
    assert node.meter.frames["Peer.Frames", "in"] == 3
    assert node.meter.messages["Peer.Frames", "in"] == 9
    stream.stop_sending()
    await stream.ends()
    await until(lambda: node.meter.seconds["Peer.Frames"].sum_seconds, "the end")
    assert not node.meter.errors, "the end of a stream says nothing"


async def test_frames_in_the_packet_of_the_hello_are_taken(
    host: FakeHost, stream: RawStream
) -> None:
    await stream.send(hello(_handshake(), FRAMES), _data(peer_pb2.PeerFrame(raft=[bytes(1 << 20)])))
    await until(lambda: host.peer_frames, "the frame")


@pytest.mark.parametrize("late", [hello(_handshake(), FRAMES), frame(DONE)], ids=["hello", "done"])
@BOTH_KINDS
async def test_a_second_hello_and_what_only_applications_say_are_out_of_turn(
    stream: RawStream, kind: peer_pb2.StreamKind, late: bytes
) -> None:
    await stream.introduce(hello(_handshake(), kind))
    await stream.send(late)
    failure = await stream.ends_with()
    assert failure.reason is Reason.MALFORMED_FRAME
    assert "out of turn" in failure.message


@BOTH_KINDS
async def test_garbage_in_a_frame_ends_the_stream(
    node: Node, stream: RawStream, kind: peer_pb2.StreamKind
) -> None:
    await stream.introduce(hello(_handshake(), kind))
    await stream.send(frame(DATA, b"\xff\xfe garbage"))
    assert (await stream.ends_with()).reason is Reason.MALFORMED_FRAME
    assert node.meter.errors[NAMES[kind], "MALFORMED_FRAME"] == 1


async def test_a_malformed_peer_frame_ends_the_stream_and_the_listener_goes_on(
    node: Node, host: FakeHost, stream: RawStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_frame: object) -> None:
        raise MalformedFrameError("not a raft message")

    monkeypatch.setattr(host, "peer_frame", refuse)
    await stream.introduce(hello(_handshake(), FRAMES))
    await stream.send(_data(peer_pb2.PeerFrame(raft=[b"junk"])))
    failure = await stream.ends_with()
    assert (failure.reason, failure.message) == (Reason.MALFORMED_FRAME, "not a raft message")
    monkeypatch.undo()
    async with RawStream(node.bound.peer_streams) as again:
        await again.introduce(hello(_handshake(), FRAMES))
        await again.send(_data(peer_pb2.PeerFrame(raft=[b"good"])))
        await until(lambda: host.peer_frames, "a frame after the bad one")


@BOTH_KINDS
async def test_a_second_stream_of_a_member_replaces_the_first(
    node: Node, host: FakeHost, stream: RawStream, kind: peer_pb2.StreamKind
) -> None:
    await stream.introduce(hello(_handshake(), kind))
    async with RawStream(node.bound.peer_streams) as second:
        await second.introduce(hello(_handshake(), kind))
        failure = await stream.ends_with()
        assert failure.reason is Reason.CONFLICT
        assert "newer stream" in failure.message
        assert len(host.writers()) == (kind == FORWARD)
        await second.send(frame(PING))
        assert (await second.read())[0] == PONG
        async with RawStream(node.bound.peer_streams) as third:
            await third.introduce(hello(_handshake(), kind))
            assert (await second.ends_with()).reason is Reason.CONFLICT


async def test_kinds_do_not_replace_each_other(node: Node, stream: RawStream) -> None:
    await stream.introduce(hello(_handshake(), FRAMES))
    async with RawStream(node.bound.peer_streams) as other:
        await other.introduce(hello(_handshake(), FORWARD))
        await stream.send(frame(PING))
        assert (await stream.read())[0] == PONG


async def test_a_forward_stream_answers_what_it_cannot_admit(
    cluster: FakeCluster, node: Node, stream: RawStream
) -> None:
    """Another member owns the partition: the gate refuses."""
    cluster.grant(3, cluster.nodes[1].host)
    await stream.introduce(hello(_handshake(), FORWARD))
    await stream.send(
        _data(peer_pb2.ForwardFrame(id=[1], partition=[3], epoch=[1], payload=[b"p"]))
    )
    kind, body = await stream.read()
    assert kind == DATA
    results = peer_pb2.ForwardResults.FromString(body)
    assert list(results.id) == [1]
    assert failure_from(results.errors[0].detail).reason is Reason.NOT_OWNER
    assert node.meter.messages["Peer.Forward", "in"] == 1
    assert node.meter.messages["Peer.Forward", "out"] == 1


async def test_a_malformed_forward_frame_ends_the_stream(stream: RawStream) -> None:
    await stream.introduce(hello(_handshake(), FORWARD))
    await stream.send(_data(peer_pb2.ForwardFrame(id=[1, 2], partition=[3])))
    failure = await stream.ends_with()
    assert failure.reason is Reason.MALFORMED_FRAME
    assert "partition has 1 elements for 2 items" in failure.message


async def test_a_stream_that_ends_takes_its_writer_along(
    node: Node, host: FakeHost, stream: RawStream
) -> None:
    await stream.introduce(hello(_handshake(), FORWARD))
    assert host.writers()
    stream.reset()
    await until(lambda: not host.writers(), "the end of the writer")
    assert node.meter.errors["Peer.Forward", "CONNECTION_LOST"] == 1


async def test_before_there_is_a_member_streams_are_not_ready() -> None:
    node = Node(FakeHost(MemberId(1), None))
    await node.start()
    async with RawStream(node.bound.peer_streams) as stream:
        await stream.send(hello(_handshake(), FORWARD))
        assert (await stream.ends_with()).reason is Reason.NOT_READY
    await node.stop()


async def test_a_bug_is_counted_and_its_words_stay_inside(
    node: Node,
    host: FakeHost,
    stream: RawStream,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def break_down(*_frame: object) -> None:
        raise ValueError("secret words")

    monkeypatch.setattr(host, "peer_frame", break_down)
    await stream.introduce(hello(_handshake(), FRAMES))
    await stream.send(_data(peer_pb2.PeerFrame(raft=[b"r"])))
    failure = await stream.ends_with()
    assert (failure.reason, failure.message) == (Reason.INTERNAL, INTERNAL_TEXT)
    assert node.meter.bugs == 1
    assert node.meter.errors["Peer.Frames", "INTERNAL"] == 1
    assert "secret words" in caplog.text


async def test_a_bug_in_the_end_of_a_stream_is_counted_too(
    node: Node,
    host: FakeHost,
    stream: RawStream,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await stream.introduce(hello(_handshake(), FORWARD))

    def break_down(*_any: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(host, "remove_writer", break_down)
    stream.stop_sending()
    await stream.ends()
    await until(lambda: node.meter.bugs, "the bug")
    assert "ZeroDivisionError" in caplog.text


async def test_the_end_of_the_process_is_told(node: Node, stream: RawStream) -> None:
    await stream.introduce(hello(_handshake(), FRAMES))
    ending = asyncio.create_task(node.stop())
    failure = await stream.ends_with()
    assert (failure.reason, failure.executed) == (Reason.DRAINING, Executed.UNKNOWN)
    stream.stop_sending()
    await ending
    with pytest.raises(ConnectionRefusedError):
        async with RawStream(node.bound.peer_streams):
            pass


async def test_one_who_does_not_hang_up_does_not_hold_the_process(
    node: Node, stream: RawStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parti_wire.frame_stream.LINGER_MS", 50)
    await stream.introduce(hello(_handshake(), FRAMES))
    async with asyncio.timeout(5):
        await node.stop()
    assert (await stream.read())[0] == END


async def test_a_taken_port_is_named_and_leaves_nothing_running(node: Node) -> None:
    taken = replace(ANY_PORTS, peer_streams=node.bound.peer_streams)
    with pytest.raises(BindError, match=node.bound.peer_streams):
        await ApiServers.start(node.host, taken, ApiSettings(), node.meter)


async def test_what_the_host_refuses_is_refused_here(host: FakeHost, stream: RawStream) -> None:
    host.refusal = Failure(Reason.UNKNOWN_MEMBER, message="who are you")
    await stream.send(hello(_handshake(), FRAMES))
    assert await stream.ends_with() == host.refusal
