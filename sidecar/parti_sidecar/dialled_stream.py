"""The side of a stream that dialled: asks for the port, connects, says who it is, is accepted.

Everything before the acceptance shares one time limit: a frozen process still accepts connections.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import grpc.aio

from parti_proto import peer_pb2
from parti_shard.errors import MalformedFrameError, PartiError
from parti_sidecar.config_kinds import split_address
from parti_sidecar.frame_stream import FrameStream
from parti_sidecar.framing import FrameKind
from parti_sidecar.status import failure_of
from parti_sidecar.streams import StreamBrokenError
from parti_sidecar.transport import MESSAGE_BYTES_MAX, Purpose, dial_stream, open_channel

HANDSHAKE_MS = 2_000
STREAM_PORT_METHOD = "/parti.v1.Peer/StreamPort"


class StreamOwner(Protocol):
    """What runs on a stream once it is accepted; `closed` follows `opened` in any case."""

    def opened(self, stream: FrameStream) -> None:
        """The other side has accepted."""
        ...

    def received(self, body: bytes) -> None:
        """A frame came."""
        ...

    def take(self) -> bytes | None:
        """Give the next frame; None for nothing now."""
        ...

    def closed(self) -> None:
        """The stream is over."""
        ...


class DialledStream:
    """One attempt and the stream that came of it."""

    def __init__(self, owner: StreamOwner, hello: peer_pb2.StreamHello) -> None:
        loop = asyncio.get_running_loop()
        self._owner = owner
        self._hello = hello
        self._stream: FrameStream | None = None
        self._is_open = False  # the futures may be cancelled by those who wait for them
        self._accepted: asyncio.Future[None] = loop.create_future()
        self._over: asyncio.Future[None] = loop.create_future()

    async def run(self, address: str) -> None:
        """Open the stream to the member whose peer API listens there, and wait for its end.

        Raises PartiError with the reason, or the bug of its owner.
        """
        try:
            await self._open(address)
            await self._over
        finally:
            if self._stream is not None:
                self._stream.close()
                await self._stream.closed

    async def _open(self, address: str) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_MS / 1000):
                await self._dial(address)
                await self._accepted
        except TimeoutError as error:
            text = f"no answer to the handshake within {HANDSHAKE_MS} ms"
            raise StreamBrokenError(text) from error

    async def _dial(self, address: str) -> None:
        port = await ask_port(address, self._hello.handshake)
        host, _ = split_address(address)
        try:
            await dial_stream(host, port, lambda: FrameStream(self, bytes_max=MESSAGE_BYTES_MAX))
        except OSError as error:
            raise StreamBrokenError(f"cannot connect to port {port} of {host}: {error}") from error

    # -- what the stream tells

    def connected(self, stream: FrameStream) -> None:
        self._stream = stream
        stream.say(FrameKind.HELLO, self._hello.SerializeToString())

    def introduced(self, kind: FrameKind, body: bytes) -> None:
        if kind is not FrameKind.ACCEPTED or body or self._is_open:
            raise MalformedFrameError(f"a frame {kind.name} out of turn")
        assert self._stream is not None
        self._is_open = True
        if not self._accepted.done():
            self._accepted.set_result(None)
        self._owner.opened(self._stream)

    def received(self, body: bytes) -> None:
        if not self._is_open:
            raise MalformedFrameError("a frame before the stream was accepted")
        self._owner.received(body)

    def take(self) -> bytes | None:
        return self._owner.take()

    def ended(self, error: Exception) -> None:
        if self._is_open:
            try:
                self._owner.closed()
            except Exception as bug:  # noqa: BLE001  # `run` raises it
                error = bug
        for waiting in (self._accepted, self._over):
            if not waiting.done():
                waiting.set_exception(error)
                waiting.exception()  # at most one of them is waited for


async def ask_port(address: str, handshake: peer_pb2.Handshake) -> int:
    """Ask a member where its streams are dialled; its refusal is raised as PartiError."""
    async with open_channel(address, Purpose.CALLS) as channel:
        ask = channel.unary_unary(
            STREAM_PORT_METHOD,
            request_serializer=peer_pb2.StreamPortRequest.SerializeToString,
            response_deserializer=peer_pb2.StreamPortReply.FromString,
        )
        request = peer_pb2.StreamPortRequest(handshake=handshake)
        try:
            reply = await ask(request, timeout=HANDSHAKE_MS / 1000)
        except grpc.aio.AioRpcError as error:
            raise PartiError(failure_of(error)) from error
    port: int = reply.port
    return port
