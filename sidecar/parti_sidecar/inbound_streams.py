"""What members send here on their streams, and the answers to it.

A newer stream of the same member and kind takes the place of an older one, which may belong to a
connection that died unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from parti_proto import peer_pb2
from parti_shard.errors import Executed, Failure, MalformedFrameError, PartiError, Reason
from parti_shard.ids import MemberId
from parti_shard.streams import INBOUND, Destination
from parti_sidecar.frames import forward_batch, forward_results
from parti_sidecar.handshakes import accept_handshake
from parti_sidecar.host import Host
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.stream_listener import InboundStream
from parti_sidecar.stream_sides import TO_MEMBERS
from parti_sidecar.streams import decoded
from parti_sidecar.unary_sends import NOT_READY
from parti_wire.errors import BadFrameError
from parti_wire.frame_stream import FrameStream

UNNAMED = "Peer.Stream"
FRAMES = "Peer.Frames"
FORWARD = "Peer.Forward"
_RPC_OF_KIND: dict[int, str] = {
    peer_pb2.STREAM_KIND_FRAMES: FRAMES,
    peer_pb2.STREAM_KIND_FORWARD: FORWARD,
}
_REPLACED = Failure(
    Reason.CONFLICT,
    Executed.UNKNOWN,
    "a newer stream of the same member took the place of this one",
)


class Members:
    """The reception for other members."""

    unnamed = UNNAMED
    side = TO_MEMBERS

    def __init__(self, host: Host, meter: RpcMeter) -> None:
        self.host = host
        self.meter = meter
        self._newest: dict[tuple[int, MemberId], FrameStream] = {}

    def introduced(self, hello: bytes) -> MemberIntroduction:
        """Read a hello."""
        return MemberIntroduction(self, decoded(peer_pb2.StreamHello, hello))

    def prefer(self, kind: int, member: MemberId, stream: FrameStream) -> None:
        """Let a stream take the place of an older one, until it is over itself."""
        older = self._newest.pop((kind, member), None)
        if older is not None:
            older.end(PartiError(_REPLACED))
        self._newest[kind, member] = stream
        stream.closed.add_done_callback(lambda _: self._forget(kind, member, stream))

    def _forget(self, kind: int, member: MemberId, stream: FrameStream) -> None:
        if self._newest.get((kind, member)) is stream:
            del self._newest[kind, member]


@dataclass(frozen=True, slots=True)
class MemberIntroduction:
    """What a stream of a member said first."""

    members: Members
    hello: peer_pb2.StreamHello

    @property
    def rpc(self) -> str:
        """What it counts as."""
        return _RPC_OF_KIND.get(self.hello.kind, UNNAMED)

    def accept(self, stream: FrameStream) -> InboundStream:
        """Judge the handshake."""
        members, kind = self.members, self.hello.kind
        sender = accept_handshake(members.host, self.hello).from_member
        members.prefer(kind, sender, stream)
        return open_inbound(kind, members.host, members.meter, sender, stream.wake)


class MemberStream:
    """What all streams of members have in common."""

    def greeting(self) -> bytes:
        """Nothing: members know each other."""
        return b""

    def done(self) -> None:
        """Members do not say this."""
        raise BadFrameError("a frame DONE out of turn")


class InboundFrames(MemberStream):
    """Raft and session messages of one member."""

    def __init__(self, host: Host, meter: RpcMeter, sender: MemberId) -> None:
        self._host = host
        self._meter = meter
        self._sender = sender

    def received(self, body: bytes) -> None:
        """Take a frame."""
        frame = decoded(peer_pb2.PeerFrame, body)
        raft, session = frame.raft[:], frame.session[:]
        self._meter.frame_in(FRAMES, len(raft) + len(session))
        self._host.peer_frame(self._sender, raft, session)
        self._host.settle()

    def take(self) -> bytes | None:
        """Nothing is sent back."""
        return None

    def close(self) -> None:
        """Nothing to do: messages stand for themselves."""


class InboundForward(MemberStream):
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
        """Take a frame."""
        batch = forward_batch(decoded(peer_pb2.ForwardFrame, body))
        self._meter.frame_in(FORWARD, len(batch.ids))
        self._router.inbound_frame(self._stream, batch, self._host.now_ms())
        self._host.settle()

    def take(self) -> bytes | None:
        """Give the next frame of answers."""
        batch = self._router.take_inbound(self._stream)
        if batch is None:
            return None
        self._meter.frame_out(FORWARD, len(batch.ids))
        return forward_results(batch).SerializeToString()

    def close(self) -> None:
        """The stream is over."""
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
