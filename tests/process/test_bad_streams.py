"""Wrong bytes on the streams between members end their stream, with an error of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from parti_cli.devcluster import DevCluster
from parti_proto import peer_pb2
from parti_shard.errors import Reason
from parti_sidecar.status import failure_from
from tests.parti_sidecar.api_clients import Client
from tests.parti_sidecar.raw_streams import DATA, HELLO, RawStream, frame, hello
from tests.process.bad_input import (
    GARBAGE,
    PARTITIONS,
    TWICE,
    WRONG_PEERS,
    handshake,
    refused,
    serves,
    serving_cluster,
)

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    with serving_cluster(tmp_path_factory.mktemp("bad-streams")) as running:
        yield running


async def stream_address(cluster: DevCluster) -> str:
    """Where the streams of the first member are dialled."""
    async with Client(cluster.addresses("m1").peer) as peer:
        request = peer_pb2.StreamPortRequest(handshake=await handshake(cluster))
        reply = await peer.open("Peer.StreamPort", request)
    return f"127.0.0.1:{reply.port}"


@pytest.fixture
async def stream(cluster: DevCluster) -> AsyncIterator[RawStream]:
    """A connection that has said nothing yet; after it another one works, and everything serves."""
    address = await stream_address(cluster)
    async with RawStream(address) as made:
        yield made
    async with RawStream(address) as again:
        await again.introduce(hello(await handshake(cluster), STREAM_KINDS["forward"]))
        asked = peer_pb2.ForwardFrame(id=[1], partition=[PARTITIONS], epoch=[1], payload=[TWICE])
        await again.send(data(asked))
        assert (await again.read())[0] == DATA
    async with Client(cluster.addresses("m1").app) as app:
        await serves(app)


def data(message: Message) -> bytes:
    return frame(DATA, message.SerializeToString())


STREAM_KINDS = {
    "frames": peer_pb2.STREAM_KIND_FRAMES,
    "forward": peer_pb2.STREAM_KIND_FORWARD,
}


@pytest.mark.parametrize(("changes", "reason"), WRONG_PEERS)
@pytest.mark.parametrize("kind", STREAM_KINDS)
async def test_wrong_handshakes_of_streams(
    cluster: DevCluster, stream: RawStream, kind: str, changes: dict[str, Any], reason: Reason
) -> None:
    await stream.send(hello(await handshake(cluster, **changes), STREAM_KINDS[kind]))
    refused(await stream.ends_with(), reason)


BAD_BEGINNINGS = {
    "frames without a handshake": (
        hello(None, peer_pb2.STREAM_KIND_FRAMES),
        Reason.MALFORMED_FRAME,
    ),
    "forward without a handshake": (
        hello(None, peer_pb2.STREAM_KIND_FORWARD),
        Reason.MALFORMED_FRAME,
    ),
    "no hello": (frame(DATA, b""), Reason.MALFORMED_FRAME),
    "garbage in the hello": (frame(HELLO, GARBAGE), Reason.MALFORMED_FRAME),
    "no kind of frame": (frame(99, b""), Reason.MALFORMED_FRAME),
    "garbage": (GARBAGE, Reason.PAYLOAD_TOO_LARGE),
    "a large hello": (frame(HELLO, bytes(5_000)), Reason.PAYLOAD_TOO_LARGE),
}


@pytest.mark.parametrize(
    ("beginning", "reason"), BAD_BEGINNINGS.values(), ids=BAD_BEGINNINGS.keys()
)
async def test_bad_beginnings_of_streams(
    stream: RawStream, beginning: bytes, reason: Reason
) -> None:
    await stream.send(beginning)
    refused(await stream.ends_with(), reason)


async def test_a_stream_of_an_unknown_kind(cluster: DevCluster, stream: RawStream) -> None:
    await stream.send(hello(await handshake(cluster), peer_pb2.STREAM_KIND_UNSPECIFIED))
    refused(await stream.ends_with(), Reason.MALFORMED_FRAME)


async def test_a_silent_stream(stream: RawStream) -> None:
    """It has five seconds to say who it is."""
    refused(await stream.ends_with(limit_s=10), Reason.MALFORMED_FRAME)


@pytest.mark.parametrize("kind", STREAM_KINDS)
async def test_an_oversized_frame(cluster: DevCluster, stream: RawStream, kind: str) -> None:
    await stream.introduce(hello(await handshake(cluster), STREAM_KINDS[kind]))
    await stream.send(frame(DATA, bytes((16 << 20) + 1))[:1_000_000])
    refused(await stream.ends_with(), Reason.PAYLOAD_TOO_LARGE)


@pytest.mark.parametrize("kind", STREAM_KINDS)
async def test_a_frame_of_garbage(cluster: DevCluster, stream: RawStream, kind: str) -> None:
    await stream.introduce(hello(await handshake(cluster), STREAM_KINDS[kind]))
    await stream.send(frame(DATA, GARBAGE))
    refused(await stream.ends_with(), Reason.MALFORMED_FRAME)


BAD_PEER_FRAMES = {
    "raft": peer_pb2.PeerFrame(raft=[GARBAGE]),
    "no raft": peer_pb2.PeerFrame(raft=[b""]),
    "session": peer_pb2.PeerFrame(session=[GARBAGE]),
    "no session": peer_pb2.PeerFrame(session=[b""]),
}


@pytest.mark.parametrize("bad", BAD_PEER_FRAMES.values(), ids=BAD_PEER_FRAMES.keys())
async def test_malformed_peer_frames(
    cluster: DevCluster, stream: RawStream, bad: peer_pb2.PeerFrame
) -> None:
    await stream.introduce(hello(await handshake(cluster), STREAM_KINDS["frames"]))
    await stream.send(data(bad))
    refused(await stream.ends_with(), Reason.MALFORMED_FRAME)


BAD_FORWARDS = {
    "partitions": peer_pb2.ForwardFrame(id=[1, 2], partition=[0], payload=[TWICE, TWICE]),
    "epochs": peer_pb2.ForwardFrame(id=[1], partition=[0], epoch=[1, 1], payload=[TWICE]),
    "falling ids": peer_pb2.ForwardFrame(id=[2, 1], partition=[0, 0], payload=[TWICE, TWICE]),
    "ping at": peer_pb2.ForwardFrame(id=[1], partition=[0], payload=[TWICE], ping_at=[3]),
}


@pytest.mark.parametrize("bad", BAD_FORWARDS.values(), ids=BAD_FORWARDS.keys())
async def test_malformed_forwards(
    cluster: DevCluster, stream: RawStream, bad: peer_pb2.ForwardFrame
) -> None:
    await stream.introduce(hello(await handshake(cluster), STREAM_KINDS["forward"]))
    await stream.send(data(bad))
    refused(await stream.ends_with(), Reason.MALFORMED_FRAME)


async def test_a_forward_to_a_partition_that_does_not_exist(
    cluster: DevCluster, stream: RawStream
) -> None:
    await stream.introduce(hello(await handshake(cluster), STREAM_KINDS["forward"]))
    await stream.send(
        data(peer_pb2.ForwardFrame(id=[1], partition=[PARTITIONS], epoch=[1], payload=[TWICE]))
    )
    kind, body = await stream.read()
    assert kind == DATA
    (error,) = peer_pb2.ForwardResults.FromString(body).errors
    refused(failure_from(error.detail), Reason.BAD_PARTITION)


def test_nothing_of_this_was_a_bug(cluster: DevCluster) -> None:
    """Runs last: the sidecars log what they did not expect."""
    for name in ("m1", "m2"):
        log = Path(cluster.files.log(name, "sidecar")).read_text(encoding="utf-8")
        assert "Traceback" not in log, log
