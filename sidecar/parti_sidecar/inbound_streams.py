"""What members send here on their streams, once a stream is accepted, and the answers to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from parti_proto import peer_pb2
from parti_shard.errors import MalformedFrameError, PartiError
from parti_shard.ids import MemberId
from parti_shard.streams import INBOUND, Destination
from parti_sidecar.frames import forward_batch, forward_results
from parti_sidecar.host import Host
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.streams import decoded
from parti_sidecar.unary_sends import NOT_READY

FRAMES = "Peer.Frames"
FORWARD = "Peer.Forward"
RPC_OF_KIND: dict[int, str] = {
    peer_pb2.STREAM_KIND_FRAMES: FRAMES,
    peer_pb2.STREAM_KIND_FORWARD: FORWARD,
}


class InboundStream(Protocol):
    """One stream of another member."""

    def received(self, body: bytes) -> None:
        """Take a frame. Raises PartiError: the stream must end."""
        ...

    def take(self) -> bytes | None:
        """Give the next frame of answers; None for nothing now."""
        ...

    def close(self) -> None:
        """Put things in order: the stream is over."""
        ...


class InboundFrames:
    """Raft and session messages of one member."""

    def __init__(self, host: Host, meter: RpcMeter, sender: MemberId) -> None:
        self._host = host
        self._meter = meter
        self._sender = sender

    def received(self, body: bytes) -> None:
        frame = decoded(peer_pb2.PeerFrame, body)
        raft, session = frame.raft[:], frame.session[:]
        self._meter.frame_in(FRAMES, len(raft) + len(session))
        self._host.peer_frame(self._sender, raft, session)
        self._host.settle()

    def take(self) -> bytes | None:
        return None

    def close(self) -> None:
        """Nothing to do: messages stand for themselves."""


class InboundForward:
    """The messages of one origin, answered on the same stream. `wake`: there are answers."""

    def __init__(
        self, host: Host, meter: RpcMeter, origin: MemberId, wake: Callable[[], None]
    ) -> None:
        if host.router is None:
            raise PartiError(NOT_READY)
        self._host = host
        self._router = host.router
        self._meter = meter
        self._stream = host.new_stream_id()
        self._destination = Destination(INBOUND, self._stream)
        self._router.open_inbound(self._stream, origin)
        host.add_writer(self._destination, wake)

    def received(self, body: bytes) -> None:
        batch = forward_batch(decoded(peer_pb2.ForwardFrame, body))
        self._meter.frame_in(FORWARD, len(batch.ids))
        self._router.inbound_frame(self._stream, batch, self._host.now_ms())
        self._host.settle()

    def take(self) -> bytes | None:
        batch = self._router.take_inbound(self._stream)
        if batch is None:
            return None
        self._meter.frame_out(FORWARD, len(batch.ids))
        return forward_results(batch).SerializeToString()

    def close(self) -> None:
        self._host.remove_writer(self._destination)
        self._router.close_inbound(self._stream, self._host.now_ms())
        self._host.settle()


def open_inbound(
    kind: int, host: Host, meter: RpcMeter, sender: MemberId, wake: Callable[[], None]
) -> InboundStream:
    """Give what a kind of stream needs. Raises PartiError for a kind that nobody knows."""
    if kind == peer_pb2.STREAM_KIND_FRAMES:
        return InboundFrames(host, meter, sender)
    if kind == peer_pb2.STREAM_KIND_FORWARD:
        return InboundForward(host, meter, sender, wake)
    raise MalformedFrameError(f"there is no kind {kind} of streams")
