"""Accepts the streams of other members.

Nothing of a stream is used before its handshake is accepted. A newer stream of the same member and
kind takes the place of an older one, which may belong to a connection that died unnoticed. Streams
are metered like calls; one that ends before it has said what it is counts as a call of its own.
"""

from __future__ import annotations

import asyncio
import logging

from parti_proto import peer_pb2
from parti_shard.errors import Executed, Failure, MalformedFrameError, PartiError, Reason
from parti_shard.ids import MemberId
from parti_sidecar.frame_stream import FrameStream, StreamEndedError
from parti_sidecar.framing import FrameKind
from parti_sidecar.handshakes import accept_handshake
from parti_sidecar.host import Host
from parti_sidecar.inbound_streams import RPC_OF_KIND, InboundStream, open_inbound
from parti_sidecar.logs import event
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.streams import FIRST_FRAME_MS, decoded
from parti_sidecar.transport import MESSAGE_BYTES_MAX, listen_for_streams

log = logging.getLogger(__name__)

STREAMS_MAX = 1_024  # connections, of strangers too
HELLO_BYTES_MAX = 4 << 10
UNNAMED = "Peer.Stream"  # in the meter: a stream that has not said what it is

_REPLACED = Failure(
    Reason.CONFLICT,
    Executed.UNKNOWN,
    "a newer stream of the same member took the place of this one",
)
_LEAVING = Failure(Reason.DRAINING, Executed.UNKNOWN, "this member ends")


class StreamListener:
    """The port that streams are dialled at, and all streams that came in there."""

    def __init__(self, host: Host, meter: RpcMeter) -> None:
        self.host = host
        self.meter = meter
        self._server: asyncio.Server | None = None
        self._streams: set[FrameStream] = set()
        self._newest: dict[tuple[int, MemberId], FrameStream] = {}

    async def start(self, address: str) -> str:
        """Listen; gives the address with the port that was bound. Raises BindError."""
        self._server, bound = await listen_for_streams(address, self._make)
        return bound

    async def stop(self) -> None:
        """Close the port, end the streams, and wait until nothing of them is left."""
        if self._server is None:
            return
        self._server.close()
        for stream in self._streams:
            stream.end(_LEAVING)
        if self._streams:
            await asyncio.wait([stream.closed for stream in self._streams])
        await self._server.wait_closed()

    def add(self, stream: FrameStream) -> None:
        """Keep a stream in mind until it is closed. Raises PartiError when there are too many."""
        self._streams.add(stream)
        stream.closed.add_done_callback(lambda _: self._streams.discard(stream))
        if len(self._streams) > STREAMS_MAX:
            text = f"{STREAMS_MAX} streams, no more are taken"
            raise PartiError(Failure(Reason.OVERLOADED, Executed.NO, text))

    def prefer(self, kind: int, member: MemberId, stream: FrameStream) -> None:
        """Let a stream take the place of an older one."""
        older = self._newest.pop((kind, member), None)
        if older is not None:
            older.end(_REPLACED)
        self._newest[kind, member] = stream

    def forget(self, kind: int, member: MemberId, stream: FrameStream) -> None:
        """A stream is over; a newer one stays."""
        if self._newest.get((kind, member)) is stream:
            del self._newest[kind, member]

    def _make(self) -> FrameStream:
        return FrameStream(AcceptedStream(self), bytes_max=HELLO_BYTES_MAX)


class AcceptedStream:
    """The side of one stream that was dialled."""

    def __init__(self, listener: StreamListener) -> None:
        self._listener = listener
        self._meter = listener.meter
        self._stream: FrameStream | None = None
        self._inbound: InboundStream | None = None
        self._kind = peer_pb2.STREAM_KIND_UNSPECIFIED
        self._sender = MemberId(0)
        self._rpc = UNNAMED
        self._begun = 0.0
        self._late: asyncio.TimerHandle | None = None

    def connected(self, stream: FrameStream) -> None:
        self._stream = stream
        self._listener.add(stream)
        loop = asyncio.get_running_loop()
        self._late = loop.call_later(FIRST_FRAME_MS / 1000, self._too_late)

    def introduced(self, kind: FrameKind, body: bytes) -> None:
        if kind is not FrameKind.HELLO or self._inbound is not None:
            raise MalformedFrameError(f"a frame {kind.name} out of turn")
        hello = decoded(peer_pb2.StreamHello, body)
        self._begin(hello.kind)
        self._sender = accept_handshake(self._listener.host, hello).from_member
        self._accept()

    def received(self, body: bytes) -> None:
        if self._inbound is None:
            raise MalformedFrameError("the first frame of a peer must hold a handshake")
        self._inbound.received(body)

    def take(self) -> bytes | None:
        return self._inbound.take() if self._inbound is not None else None

    def ended(self, error: Exception) -> None:
        self._disarm()
        if self._stream is not None:
            self._listener.forget(self._kind, self._sender, self._stream)
        if self._inbound is not None:
            try:
                self._inbound.close()
            except Exception as bug:  # noqa: BLE001  # told below
                error = bug
        if not self._begun:
            self._begin(self._kind)
        if not isinstance(error, PartiError):
            self._meter.bugs += 1
            event(log, "stream failed", level=logging.ERROR, error=error, rpc=self._rpc)
        self._meter.finish(self._rpc, self._begun, _outcome(error))

    def _begin(self, kind: peer_pb2.StreamKind) -> None:
        self._kind = kind
        self._rpc = RPC_OF_KIND.get(kind, UNNAMED)
        self._begun = self._meter.begin(self._rpc)

    def _accept(self) -> None:
        stream, listener = self._stream, self._listener
        assert stream is not None
        listener.prefer(self._kind, self._sender, stream)
        self._inbound = open_inbound(
            self._kind, listener.host, self._meter, self._sender, stream.wake
        )
        self._disarm()
        stream.accept_frames_of(MESSAGE_BYTES_MAX)
        stream.say(FrameKind.ACCEPTED)

    def _too_late(self) -> None:
        assert self._stream is not None
        text = f"no first frame within {FIRST_FRAME_MS} ms"
        self._stream.end(Failure(Reason.MALFORMED_FRAME, Executed.NO, text))

    def _disarm(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def _outcome(error: Exception) -> str:
    """What the meter counts; the end without a word is how streams end."""
    if isinstance(error, StreamEndedError):
        return ""
    return error.failure.reason.name if isinstance(error, PartiError) else Reason.INTERNAL.name
