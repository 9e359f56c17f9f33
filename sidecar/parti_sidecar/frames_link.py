"""Sends Raft and session messages to one member.

Messages wait in a bounded queue; the writer sends all that wait as one frame. A full queue drops
what does not fit, and a broken link drops what waits: Raft and sessions say again what matters, and
old messages would only be late. Raft hears of it as `peer_unreachable`, never from inside a send,
which the driver makes while it executes effects.
"""

from __future__ import annotations

import asyncio

from parti_proto import peer_pb2
from parti_shard.errors import MalformedFrameError
from parti_shard.ids import MemberId
from parti_sidecar.handshakes import LocalPeer
from parti_sidecar.host import Host
from parti_sidecar.link import Link, LinkStats
from parti_sidecar.transport import MESSAGE_BYTES_MAX
from parti_wire.frame_stream import FrameStream

QUEUE_BYTES_MAX = 8 << 20
QUEUE_MESSAGES_MAX = 8_192
FRAME_BYTES_TARGET = 256 << 10  # a frame is closed when it holds so much
RAFT_MESSAGE_BYTES_MAX = MESSAGE_BYTES_MAX - (64 << 10)  # what a frame has to carry besides


class FramesLink(Link):
    """The outgoing Frames stream to one member; open whenever there is something to send."""

    kind = peer_pb2.STREAM_KIND_FRAMES

    def __init__(self, host: Host, member: MemberId, stats: LinkStats, local: LocalPeer) -> None:
        self._raft: list[bytes] = []
        self._session: list[bytes] = []
        self._queued_bytes = 0
        self._filled = asyncio.Event()
        self._stream: FrameStream | None = None
        self._report_planned = False
        super().__init__(host, member, stats, local)

    def send(self, raft: list[bytes], session: list[bytes]) -> None:
        """Queue messages."""
        for queue, messages in ((self._raft, raft), (self._session, session)):
            for message in messages:
                self._queue(queue, message)
        self._filled.set()
        if self._stream is not None:
            self._stream.wake()

    def _queue(self, queue: list[bytes], message: bytes) -> None:
        size_bytes = self._queued_bytes + len(message)
        count = len(self._raft) + len(self._session)
        too_long = len(message) > RAFT_MESSAGE_BYTES_MAX
        # An empty queue takes even a long message, or that would never go out.
        full = count > 0 and (size_bytes > QUEUE_BYTES_MAX or count >= QUEUE_MESSAGES_MAX)
        if full or too_long:
            self.stats.messages_dropped += 1
            self._plan_report()
            return
        queue.append(message)
        self._queued_bytes = size_bytes

    def _plan_report(self) -> None:
        if not self._report_planned:
            self._report_planned = True
            asyncio.get_running_loop().call_soon(self._report)

    def _report(self) -> None:
        self._report_planned = False
        self.host.peer_unreachable(self.member)
        self.host.settle()

    async def wanted(self) -> None:
        await self._filled.wait()

    def opened(self, stream: FrameStream, greeting: bytes) -> None:
        super().opened(stream, greeting)
        self._stream = stream
        stream.wake()

    def received(self, body: bytes) -> None:
        raise MalformedFrameError(f"{len(body)} bytes on a stream that nothing is sent back on")

    def closed(self) -> None:
        self._stream = None

    def broken(self) -> None:
        self.stats.messages_dropped += len(self._raft) + len(self._session)
        self._raft.clear()
        self._session.clear()
        self._queued_bytes = 0
        self._filled.clear()
        self._report()

    def take(self) -> bytes | None:
        if not self._queued_bytes:
            return None
        if self._queued_bytes <= FRAME_BYTES_TARGET:
            raft, self._raft = self._raft, []
            session, self._session = self._session, []
            self._queued_bytes = 0
        else:
            raft, session = self._take_part()
        return peer_pb2.PeerFrame(raft=raft, session=session).SerializeToString()

    def _take_part(self) -> tuple[list[bytes], list[bytes]]:
        """Take from the front, session messages first: they are small and leases hang on them."""
        session = _cut_front(self._session, FRAME_BYTES_TARGET)
        room = FRAME_BYTES_TARGET - sum(map(len, session))
        raft = _cut_front(self._raft, room) if room > 0 else []
        self._queued_bytes -= sum(map(len, session)) + sum(map(len, raft))
        return raft, session


def _cut_front(queue: list[bytes], room_bytes: int) -> list[bytes]:
    """Take messages until the room is filled; the last one may stand out."""
    count = 0
    while count < len(queue) and room_bytes > 0:
        room_bytes -= len(queue[count])
        count += 1
    front = queue[:count]
    del queue[:count]
    return front
