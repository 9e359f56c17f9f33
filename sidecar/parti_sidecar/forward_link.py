"""Sends the messages of this origin to one owner and takes the answers.

The link is up for the router from the accepted handshake until the stream breaks; what the router
does with messages that were handed over and not answered is its own business (G3).
"""

from __future__ import annotations

import asyncio

from parti_proto import peer_pb2
from parti_shard.ids import MemberId
from parti_shard.router import Router
from parti_shard.streams import PEER, Destination
from parti_sidecar.frames import forward_frame, result_batch
from parti_sidecar.handshakes import LocalPeer
from parti_sidecar.host import Host
from parti_sidecar.link import Link, LinkStats
from parti_sidecar.streams import decoded
from parti_wire.frame_stream import FrameStream


class ForwardLink(Link):
    """The Forward stream to one owner; opened again only while the router wants it."""

    kind = peer_pb2.STREAM_KIND_FORWARD

    def __init__(
        self, host: Host, member: MemberId, stats: LinkStats, local: LocalPeer, router: Router
    ) -> None:
        self._router = router
        self._destination = Destination(PEER, member)
        self._asked = asyncio.Event()
        super().__init__(host, member, stats, local)

    def ask(self) -> None:
        """Say that the router has messages for this owner."""
        self._asked.set()

    async def wanted(self) -> None:
        if self.member not in self._router.peers_wanted():
            self._asked.clear()
        await self._asked.wait()

    def opened(self, stream: FrameStream, greeting: bytes) -> None:
        super().opened(stream, greeting)
        self._router.peer_up(self.member, self.host.now_ms())
        self.host.add_writer(self._destination, stream.wake)
        self.host.settle()

    def received(self, body: bytes) -> None:
        batch = result_batch(decoded(peer_pb2.ForwardResults, body))
        self._router.peer_results(self.member, batch, self.host.now_ms())
        self.host.settle()

    def take(self) -> bytes | None:
        batch = self._router.take_peer(self.member, self.host.now_ms())
        return None if batch is None else forward_frame(batch).SerializeToString()

    def closed(self) -> None:
        self.host.remove_writer(self._destination)
        self._router.peer_down(self.member, self.host.now_ms())
        self.host.settle()
