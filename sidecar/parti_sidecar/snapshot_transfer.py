"""Snapshots between members: in chunks, checked as a whole, resumed after a cut.

A snapshot travels on a connection of its own and at a bounded rate, so that heartbeats never wait
behind it. The receiver keeps what it got of one snapshot per sender; a sender asks how much that is
before each attempt. A checksum over the whole decides at the end: a snapshot that does not match is
dropped and begins anew.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import google_crc32c
import grpc
import grpc.aio

from parti_proto import peer_pb2
from parti_raft.codec import decode_message
from parti_shard.errors import MalformedFrameError, PartiError, Reason, refuse
from parti_shard.ids import MemberId
from parti_sidecar.handshakes import LocalPeer
from parti_sidecar.host import Host
from parti_sidecar.logs import event
from parti_sidecar.status import failure_of, failure_of_call
from parti_sidecar.streams import StreamBrokenError, StreamWriter
from parti_sidecar.transport import Purpose, open_channel

log = logging.getLogger(__name__)

CHUNK_BYTES = 128 << 10
SNAPSHOT_BYTES_MAX = 256 << 20
BYTES_PER_SECOND_MAX = 64 << 20
OFFSET_TIMEOUT_MS = 3_000
REPLY_TIMEOUT_MS = 30_000  # the receiver checks the whole before it answers
ATTEMPTS_MAX = 5
RETRY_FIRST_MS = 200

SNAPSHOT_METHOD = "/parti.v1.Peer/Snapshot"
OFFSET_METHOD = "/parti.v1.Peer/SnapshotOffset"


@dataclass(frozen=True, slots=True)
class SnapshotKey:
    """What makes two transfers the same snapshot."""

    index: int
    term: int
    size_bytes: int
    crc32c: int


@dataclass(slots=True)
class _Partial:
    key: SnapshotKey
    data: bytearray = field(default_factory=bytearray)
    crc32c: int = 0


class SnapshotReceiver:
    """The snapshots that are arriving; at most one per sender."""

    def __init__(self) -> None:
        self._partials: dict[MemberId, _Partial] = {}

    def offset(self, sender: MemberId, key: SnapshotKey) -> int:
        """How much of this snapshot is here; another one of this sender is dropped."""
        if key.size_bytes > SNAPSHOT_BYTES_MAX:
            text = f"snapshot of {key.size_bytes} bytes, limit {SNAPSHOT_BYTES_MAX}"
            refuse(Reason.PAYLOAD_TOO_LARGE, text)
        partial = self._partials.get(sender)
        if partial is None or partial.key != key:
            self._partials[sender] = partial = _Partial(key)
        return len(partial.data)

    def begin(self, sender: MemberId, chunk: peer_pb2.SnapshotChunk) -> None:
        """Match a stream's first chunk with what the offset was asked for."""
        partial = self._partials.get(sender)
        if partial is None:
            raise MalformedFrameError("a snapshot begins by asking for its offset")
        if (chunk.size_bytes, chunk.crc32c) != (partial.key.size_bytes, partial.key.crc32c):
            raise MalformedFrameError("the snapshot is not the one whose offset was asked for")

    def add(self, sender: MemberId, chunk: peer_pb2.SnapshotChunk) -> bool:
        """Take a chunk; says whether the snapshot is whole."""
        partial = self._partials.get(sender)
        if partial is None or chunk.offset != len(partial.data):
            raise MalformedFrameError(f"offset {chunk.offset} is not where the snapshot goes on")
        data = chunk.data
        if len(partial.data) + len(data) > partial.key.size_bytes:
            raise MalformedFrameError("more data than size_bytes says")
        partial.data += data
        partial.crc32c = google_crc32c.extend(partial.crc32c, data)
        return len(partial.data) == partial.key.size_bytes

    def finish(self, sender: MemberId) -> bytes:
        """Take the whole data out. Raises MalformedFrameError when the checksum does not match.

        What other senders have sent in part is dropped: state moves on past it.
        """
        partial = self._partials.pop(sender)
        if partial.crc32c != partial.key.crc32c:
            raise MalformedFrameError("the checksum of the snapshot does not match")
        self._partials.clear()
        return bytes(partial.data)


class SnapshotSender:
    """Sends one snapshot to one member, with a bounded number of attempts."""

    def __init__(self, host: Host, local: LocalPeer, to: MemberId) -> None:
        self._host = host
        self._local = local
        self._to = to
        self.attempts = 0

    async def send(self, message: bytes, data: bytes) -> bool:
        """Send until it has arrived or the attempts are used up; says whether it has."""
        snapshot = decode_message(message).snapshot
        assert snapshot is not None, "only a message with a snapshot is sent this way"
        key = SnapshotKey(snapshot.index, snapshot.term, len(data), google_crc32c.value(data))
        while self.attempts < ATTEMPTS_MAX:
            self.attempts += 1
            try:
                await self._attempt(key, message, data)
            except PartiError as error:
                reason = error.failure.reason.name
                event(
                    log,
                    "snapshot transfer failed",
                    level=logging.WARNING,
                    to_member=self._to,
                    reason=reason,
                    why=str(error),
                )
                await asyncio.sleep(_retry_s(self.attempts))
            else:
                return True
        return False

    async def _attempt(self, key: SnapshotKey, message: bytes, data: bytes) -> None:
        address = self._host.address_of(self._to)
        if not address:
            raise StreamBrokenError("the address of the receiver is not known")
        async with open_channel(address, Purpose.SNAPSHOT) as channel:
            offset = await self._ask_offset(channel, key)
            call = channel.stream_unary(
                SNAPSHOT_METHOD,
                request_serializer=peer_pb2.SnapshotChunk.SerializeToString,
                response_deserializer=peer_pb2.SnapshotReply.FromString,
            )()
            try:
                await self._stream(call, self._chunks(key, message, data, offset))
            except StreamBrokenError as error:
                if call.done():
                    raise PartiError(await failure_of_call(call)) from error
                raise
            finally:
                call.cancel()

    async def _ask_offset(self, channel: grpc.aio.Channel, key: SnapshotKey) -> int:
        ask = channel.unary_unary(
            OFFSET_METHOD,
            request_serializer=peer_pb2.SnapshotOffsetRequest.SerializeToString,
            response_deserializer=peer_pb2.SnapshotOffsetReply.FromString,
        )
        request = peer_pb2.SnapshotOffsetRequest(
            handshake=self._local.handshake(self._to),
            index=key.index,
            term=key.term,
            size_bytes=key.size_bytes,
            crc32c=key.crc32c,
        )
        try:
            reply = await ask(request, timeout=OFFSET_TIMEOUT_MS / 1000)
        except grpc.aio.AioRpcError as error:
            raise PartiError(failure_of(error)) from error
        offset: int = reply.offset
        return offset

    def _chunks(
        self, key: SnapshotKey, message: bytes, data: bytes, offset: int
    ) -> Iterator[peer_pb2.SnapshotChunk]:
        """Give the chunks from `offset`; there is always a first one, even without data."""
        chunk = peer_pb2.SnapshotChunk(
            handshake=self._local.handshake(self._to),
            message=message,
            size_bytes=key.size_bytes,
            crc32c=key.crc32c,
        )
        while True:
            chunk.offset = offset
            chunk.data = data[offset : offset + CHUNK_BYTES]
            yield chunk
            offset += CHUNK_BYTES
            if offset >= len(data):
                return
            chunk = peer_pb2.SnapshotChunk()

    async def _stream(
        self, call: grpc.aio.StreamUnaryCall, chunks: Iterator[peer_pb2.SnapshotChunk]
    ) -> None:
        loop = asyncio.get_running_loop()
        free_at = loop.time()

        async def paced_write(chunk: peer_pb2.SnapshotChunk) -> None:
            nonlocal free_at
            await call.write(chunk)
            free_at = max(free_at, loop.time()) + len(chunk.data) / BYTES_PER_SECOND_MAX
            await asyncio.sleep(free_at - loop.time())

        writer = StreamWriter(paced_write, lambda: next(chunks, None))
        writer.end()
        await writer.run()
        await call.done_writing()
        replying = asyncio.ensure_future(call.code())
        done, _ = await asyncio.wait({replying}, timeout=REPLY_TIMEOUT_MS / 1000)
        if not done:
            replying.cancel()
            raise StreamBrokenError(f"no reply to a snapshot within {REPLY_TIMEOUT_MS} ms")
        if replying.result() is not grpc.StatusCode.OK:
            raise PartiError(await failure_of_call(call))


def _retry_s(attempt: int) -> float:
    """Wait longer after each attempt, by a random share, so that senders do not march in step."""
    return (RETRY_FIRST_MS << attempt) * random.uniform(0.8, 1.2) / 1000  # noqa: S311  # no secret
