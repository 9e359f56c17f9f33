"""Snapshots between members: whole, in pieces, cut and resumed, damaged, too large."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import google_crc32c
import pytest

from parti_proto import peer_pb2
from parti_raft.codec import encode_message
from parti_raft.types import LogIndex, Message, MessageType, Snapshot, Term
from parti_shard.errors import MalformedFrameError, PartiError, Reason
from parti_shard.ids import MemberId
from parti_sidecar import snapshot_transfer
from parti_sidecar.handshakes import LocalPeer
from parti_sidecar.peer_service import PeerService
from parti_sidecar.snapshot_transfer import (
    CHUNK_BYTES,
    SNAPSHOT_BYTES_MAX,
    SnapshotKey,
    SnapshotReceiver,
)
from tests.parti_sidecar.api_clients import Client, ends_with, until
from tests.parti_sidecar.fake_host import CLUSTER, FakeCluster, FakeHost, Node

ONE, TWO = MemberId(1), MemberId(2)


@pytest.fixture
async def cluster(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeCluster]:
    monkeypatch.setattr(snapshot_transfer, "RETRY_FIRST_MS", 1)
    made = FakeCluster(count=2)
    await made.start()
    yield made
    await made.stop()


def _message(index: int = 9) -> bytes:
    snapshot = Snapshot(index=LogIndex(index), term=Term(2))
    return encode_message(Message(MessageType.SNAP, to=TWO, sender=ONE, snapshot=snapshot))


def _data(size_bytes: int) -> bytes:
    return random.Random(size_bytes).randbytes(size_bytes)


def _key(data: bytes, index: int = 9) -> SnapshotKey:
    return SnapshotKey(index, 2, len(data), google_crc32c.value(data))


async def _sent(sender: FakeHost, data: bytes) -> bool:
    assert sender.links is not None
    sender.links.send_snapshot(TWO, _message(), data)
    await until(lambda: sender.snapshots_sent, "the end of the transfer")
    member, ok = sender.snapshots_sent.pop()
    assert member == TWO
    return ok


@pytest.mark.parametrize("size_bytes", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES])
async def test_a_snapshot_arrives_whole(cluster: FakeCluster, size_bytes: int) -> None:
    one, two = (node.host for node in cluster.nodes)
    data = _data(size_bytes)
    assert await _sent(one, data)
    assert two.peer_snapshots == [(ONE, _message(), data)]
    assert one.links is not None
    assert one.links.stats.snapshots_sent == 1


async def _cut_after(node: Node, data: bytes, sent_bytes: int) -> None:
    """Send the beginning of a snapshot, then break the stream."""
    handshake = LocalPeer(CLUSTER, ONE, "").handshake(TWO)
    key = _key(data)
    async with Client(node.bound.peer) as client:
        request = peer_pb2.SnapshotOffsetRequest(
            handshake=handshake, index=9, term=2, size_bytes=key.size_bytes, crc32c=key.crc32c
        )
        assert (await client.open("Peer.SnapshotOffset", request)).offset == 0
        call = client.open("Peer.Snapshot")
        first = peer_pb2.SnapshotChunk(
            handshake=handshake,
            message=_message(),
            size_bytes=key.size_bytes,
            crc32c=key.crc32c,
            data=data[:sent_bytes],
        )
        await call.write(first)
        await call.done_writing()
        failure = await ends_with(call)
        assert failure.reason is Reason.CONNECTION_LOST
        assert (await client.open("Peer.SnapshotOffset", request)).offset == sent_bytes


async def test_a_transfer_goes_on_where_it_was_cut(cluster: FakeCluster) -> None:
    one, two = cluster.nodes
    data = _data(3 * CHUNK_BYTES)
    await _cut_after(two, data, 2 * CHUNK_BYTES)
    before = two.meter.frames["Peer.Snapshot", "in"]
    assert await _sent(one.host, data)
    assert two.host.peer_snapshots == [(ONE, _message(), data)]
    assert two.meter.frames["Peer.Snapshot", "in"] - before == 1, "only the rest was sent"


async def test_a_damaged_beginning_is_noticed_and_sent_again(cluster: FakeCluster) -> None:
    one, two = cluster.nodes
    data = _data(3 * CHUNK_BYTES)
    damaged = bytes(CHUNK_BYTES) + data[CHUNK_BYTES:]
    key, real = _key(data), google_crc32c.value
    assert key.crc32c == real(data)
    handshake = LocalPeer(CLUSTER, ONE, "").handshake(TWO)
    async with Client(two.bound.peer) as client:
        request = peer_pb2.SnapshotOffsetRequest(
            handshake=handshake, index=9, term=2, size_bytes=key.size_bytes, crc32c=key.crc32c
        )
        await client.open("Peer.SnapshotOffset", request)
        call = client.open("Peer.Snapshot")
        await call.write(
            peer_pb2.SnapshotChunk(
                handshake=handshake,
                size_bytes=key.size_bytes,
                crc32c=key.crc32c,
                data=damaged[:CHUNK_BYTES],
            )
        )
        await call.done_writing()
        await ends_with(call)
    assert await _sent(one.host, data), "the second attempt begins anew"
    assert two.host.peer_snapshots == [(ONE, _message(), data)]


async def test_a_receiver_that_is_away_uses_up_the_attempts(cluster: FakeCluster) -> None:
    one = cluster.nodes[0].host
    one.addresses = {}
    assert not await _sent(one, b"data")
    assert one.links is not None
    assert one.links.stats.snapshots_failed == 1


async def test_the_rate_is_bounded(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_transfer, "BYTES_PER_SECOND_MAX", 20 * CHUNK_BYTES)
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert await _sent(cluster.nodes[0].host, _data(4 * CHUNK_BYTES))
    assert loop.time() - started >= 0.19


async def test_a_newer_snapshot_takes_the_place_of_the_older(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_transfer, "BYTES_PER_SECOND_MAX", 10 * CHUNK_BYTES)
    one, two = (node.host for node in cluster.nodes)
    assert one.links is not None
    one.links.send_snapshot(TWO, _message(8), _data(50 * CHUNK_BYTES))
    one.links.send_snapshot(TWO, _message(9), b"newer")
    await until(lambda: two.peer_snapshots, "the newer snapshot")
    await until(lambda: one.snapshots_sent, "its report")
    assert two.peer_snapshots == [(ONE, _message(9), b"newer")]
    assert one.snapshots_sent == [(TWO, True)]


def _chunk(data: bytes, offset: int, key: SnapshotKey) -> peer_pb2.SnapshotChunk:
    return peer_pb2.SnapshotChunk(
        size_bytes=key.size_bytes, crc32c=key.crc32c, offset=offset, data=data
    )


def test_the_receiver_refuses_what_does_not_fit() -> None:
    receiver, key = SnapshotReceiver(), _key(b"abcdef")
    with pytest.raises(MalformedFrameError, match="begins by asking"):
        receiver.begin(ONE, _chunk(b"", 0, key))
    receiver.offset(ONE, key)
    with pytest.raises(MalformedFrameError, match="not the one whose offset"):
        receiver.begin(ONE, _chunk(b"", 0, _key(b"other")))
    receiver.begin(ONE, _chunk(b"", 0, key))
    with pytest.raises(MalformedFrameError, match="offset 3 is not where"):
        receiver.add(ONE, _chunk(b"def", 3, key))
    with pytest.raises(MalformedFrameError, match="more data than"):
        receiver.add(ONE, _chunk(b"abcdefg", 0, key))
    assert receiver.add(ONE, _chunk(b"xxxxxx", 0, key))
    with pytest.raises(MalformedFrameError, match="checksum"):
        receiver.finish(ONE)
    assert receiver.offset(ONE, key) == 0, "a damaged snapshot is dropped"


def test_the_receiver_refuses_a_snapshot_beyond_the_limit() -> None:
    with pytest.raises(PartiError, match="limit") as caught:
        SnapshotReceiver().offset(ONE, SnapshotKey(1, 1, SNAPSHOT_BYTES_MAX + 1, 0))
    assert caught.value.failure.reason is Reason.PAYLOAD_TOO_LARGE


def test_the_receiver_keeps_one_snapshot_per_sender() -> None:
    receiver, key = SnapshotReceiver(), _key(b"abcdef")
    receiver.offset(ONE, key)
    receiver.add(ONE, _chunk(b"abc", 0, key))
    assert receiver.offset(ONE, key) == 3
    assert receiver.offset(ONE, _key(b"abcdef", index=10)) == 0
    assert receiver.offset(ONE, key) == 0


async def test_a_stream_that_breaks_in_the_middle_is_resumed(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver gives the first attempt up after some chunks; the second one goes on there."""
    one, two = (node.host for node in cluster.nodes)
    add = SnapshotReceiver.add
    seen: list[int] = []

    def failing_add(
        self: SnapshotReceiver, sender: MemberId, chunk: peer_pb2.SnapshotChunk
    ) -> bool:
        seen.append(chunk.offset)
        if len(seen) == 3:
            raise MalformedFrameError("cut")
        return add(self, sender, chunk)

    monkeypatch.setattr(SnapshotReceiver, "add", failing_add)
    data = _data(40 * CHUNK_BYTES)
    assert await _sent(one, data)
    assert two.peer_snapshots == [(ONE, _message(), data)]
    cut = 2 * CHUNK_BYTES
    assert seen == [0, CHUNK_BYTES, cut, *range(cut, len(data), CHUNK_BYTES)]


async def test_a_receiver_that_never_replies_is_given_up(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_transfer, "REPLY_TIMEOUT_MS", 20)
    monkeypatch.setattr(snapshot_transfer, "ATTEMPTS_MAX", 1)
    never = asyncio.Event()

    async def stuck(*_any: object) -> None:
        await never.wait()

    monkeypatch.setattr(PeerService, "_read_snapshot", stuck)
    assert not await _sent(cluster.nodes[0].host, b"data")


async def test_a_member_that_is_forgotten_gets_no_more_of_its_snapshot(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_transfer, "BYTES_PER_SECOND_MAX", CHUNK_BYTES)
    one, two = (node.host for node in cluster.nodes)
    assert one.links is not None
    one.links.send_snapshot(TWO, _message(), _data(50 * CHUNK_BYTES))
    meter = cluster.nodes[1].meter
    await until(lambda: meter.frames["Peer.Snapshot", "in"], "the first chunk")
    one.links.forget(TWO)
    await one.links.close()
    assert not two.peer_snapshots
    assert not one.snapshots_sent
