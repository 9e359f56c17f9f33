"""A stream between members, byte by byte, for tests of the other side.

It is written apart from the code that it tests: the layout of frames stands here a second time.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Self

from parti_proto import errors_pb2, peer_pb2
from parti_shard.errors import Failure
from parti_sidecar.status import failure_from

HELLO, ACCEPTED, DATA, END, PING, PONG, DONE = range(1, 8)
LIMIT_S = 5.0


def frame(kind: int, body: bytes = b"") -> bytes:
    """One frame as it stands on the wire."""
    return len(body).to_bytes(4, "big") + bytes([kind]) + body


def hello(handshake: peer_pb2.Handshake | None, kind: peer_pb2.StreamKind) -> bytes:
    """The first frame."""
    said = peer_pb2.StreamHello(handshake=handshake, kind=kind)
    return frame(HELLO, said.SerializeToString())


class RawStream:
    """One connection to a port of streams, or with `over` the other end of one."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    @classmethod
    def over(cls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Self:
        """Take a connection that was accepted."""
        stream = cls("accepted:0")
        stream._reader, stream._writer = reader, writer
        return stream

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._writer.close()

    async def introduce(self, first: bytes) -> None:
        """Say the first words and be accepted."""
        await self.send(first)
        kind, _ = await self.read()
        assert kind == ACCEPTED, kind

    async def send(self, *frames: bytes) -> None:
        """Write bytes."""
        self._writer.write(b"".join(frames))
        await self._writer.drain()

    def stop_sending(self) -> None:
        """Half-close."""
        self._writer.write_eof()

    def reset(self) -> None:
        """Break the connection off."""
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def read(self, limit_s: float = LIMIT_S) -> tuple[int, bytes]:
        """The next frame: kind and body. Raises EOFError when there is none."""
        async with asyncio.timeout(limit_s):
            size, kind = struct.unpack(">IB", await self._reader.readexactly(5))
            return kind, await self._reader.readexactly(size)

    async def ends(self) -> None:
        """The other side ends the connection, whatever it says before."""
        async with asyncio.timeout(LIMIT_S):
            while await self._reader.read(1 << 16):
                pass

    async def ends_with(self, limit_s: float = LIMIT_S) -> Failure:
        """The failure that ends the stream; frames before it are skipped."""
        while True:
            kind, body = await self.read(limit_s)
            if kind == END:
                await self.ends()
                return failure_from(errors_pb2.ErrorDetail.FromString(body))
