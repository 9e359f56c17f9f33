"""Accepts streams of frames, of other members or of applications.

Nothing of a stream is used before its hello is accepted; who is accepted, and for what, is decided
by the reception. Streams are metered like calls; one that ends before it has said what it is counts
as a call of its own.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from parti_shard.errors import Executed, Failure, MalformedFrameError, PartiError, Reason, refuse
from parti_sidecar.logs import event
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.streams import FIRST_FRAME_MS
from parti_sidecar.transport import MESSAGE_BYTES_MAX, UnixSocket, listen_for_streams
from parti_wire.errors import BadFrameError, Side
from parti_wire.frame_stream import FrameStream
from parti_wire.framing import FrameKind

log = logging.getLogger(__name__)

STREAMS_MAX = 1_024  # connections, of strangers too
HELLO_BYTES_MAX = 4 << 10

_LEAVING = Failure(Reason.DRAINING, Executed.UNKNOWN, "this member ends")


class InboundStream(Protocol):
    """One stream that was accepted."""

    def greeting(self) -> bytes:
        """What is said with the acceptance."""
        ...

    def received(self, body: bytes) -> None:
        """Take a frame. Raises PartiError: the stream must end."""
        ...

    def done(self) -> None:
        """The other side sends nothing more."""
        ...

    def take(self) -> bytes | None:
        """Give the next frame of answers; None for nothing now."""
        ...

    def close(self) -> None:
        """Put things in order: the stream is over."""
        ...


class Introduction(Protocol):
    """What a stream said first."""

    @property
    def rpc(self) -> str:
        """What it counts as."""
        ...

    def accept(self, stream: FrameStream) -> InboundStream:
        """Judge it. Raises PartiError when it must be refused."""
        ...


class Reception(Protocol):
    """Decides who is accepted, and for what."""

    unnamed: str  # in the meter: a stream that has not said what it is
    side: Side

    def introduced(self, hello: bytes) -> Introduction:
        """Read a hello. Raises MalformedFrameError."""
        ...


class StreamListener:
    """The sockets that streams are dialled at, and all streams that came in there."""

    def __init__(self, reception: Reception, meter: RpcMeter) -> None:
        self.reception = reception
        self.meter = meter
        self._servers: list[asyncio.Server] = []
        self._streams: set[FrameStream] = set()

    async def start(self, address: str) -> str:
        """Listen; gives the address with the port that was bound. Raises BindError."""
        server, bound = await listen_for_streams(address, self._make)
        self._servers.append(server)
        return bound

    async def start_unix(self, held: UnixSocket) -> None:
        """Listen on a unix socket, too. Raises BindError."""
        self._servers.append(await held.listen_for_streams(self._make))

    async def stop(self) -> None:
        """Close the sockets, end the streams, and wait until nothing of them is left."""
        for server in self._servers:
            server.close()
        for stream in self._streams:
            stream.end(PartiError(_LEAVING))
        if self._streams:
            await asyncio.wait([stream.closed for stream in self._streams])
        for server in self._servers:
            await server.wait_closed()

    def add(self, stream: FrameStream) -> None:
        """Keep a stream in mind until it is closed. Raises PartiError when there are too many."""
        self._streams.add(stream)
        stream.closed.add_done_callback(lambda _: self._streams.discard(stream))
        if len(self._streams) > STREAMS_MAX:
            text = f"{STREAMS_MAX} streams, no more are taken"
            refuse(Reason.OVERLOADED, text)

    def _make(self) -> FrameStream:
        return FrameStream(AcceptedStream(self), self.reception.side, bytes_max=HELLO_BYTES_MAX)


class AcceptedStream:
    """The side of one stream that was dialled."""

    def __init__(self, listener: StreamListener) -> None:
        self._listener = listener
        self._meter = listener.meter
        self._stream: FrameStream | None = None
        self._inbound: InboundStream | None = None
        self._rpc = listener.reception.unnamed
        self._begun = 0.0
        self._late: asyncio.TimerHandle | None = None

    def connected(self, stream: FrameStream) -> None:
        self._stream = stream
        self._listener.add(stream)
        loop = asyncio.get_running_loop()
        self._late = loop.call_later(FIRST_FRAME_MS / 1000, self._too_late)

    def said(self, kind: FrameKind, body: bytes) -> None:
        if kind is FrameKind.HELLO and self._inbound is None:
            introduction = self._listener.reception.introduced(body)
            self._begin(introduction.rpc)
            self._accept(introduction)
        elif kind is FrameKind.DONE and self._inbound is not None:
            self._inbound.done()
        else:
            raise BadFrameError(f"a frame {kind.name} out of turn")

    def received(self, body: bytes) -> None:
        if self._inbound is None:
            raise MalformedFrameError("the first frame of a stream must be a hello")
        self._inbound.received(body)

    def take(self) -> bytes | None:
        return self._inbound.take() if self._inbound is not None else None

    def ended(self, error: Exception) -> None:
        self._disarm()
        silently = self._stream is not None and self._stream.ended_silently
        if self._inbound is not None:
            try:
                self._inbound.close()
            except Exception as bug:  # noqa: BLE001  # told below
                error, silently = bug, False
        if not self._begun:
            self._begin(self._rpc)
        if not isinstance(error, PartiError):
            self._meter.bugs += 1
            event(log, "stream failed", level=logging.ERROR, error=error, rpc=self._rpc)
        # The end without a word is how streams end.
        self._meter.finish(self._rpc, self._begun, "" if silently else _outcome(error))

    def _begin(self, rpc: str) -> None:
        self._rpc = rpc
        self._begun = self._meter.begin(rpc)

    def _accept(self, introduction: Introduction) -> None:
        stream = self._stream
        assert stream is not None
        inbound = introduction.accept(stream)
        self._disarm()
        stream.accept_frames_of(MESSAGE_BYTES_MAX)
        stream.say(FrameKind.ACCEPTED, inbound.greeting())
        self._inbound = inbound
        stream.wake()  # what came up meanwhile

    def _too_late(self) -> None:
        assert self._stream is not None
        text = f"no first frame within {FIRST_FRAME_MS} ms"
        self._stream.end(PartiError(Failure(Reason.MALFORMED_FRAME, Executed.NO, text)))

    def _disarm(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def _outcome(error: Exception) -> str:
    """What the meter counts."""
    return error.failure.reason.name if isinstance(error, PartiError) else Reason.INTERNAL.name
