"""Sends the messages of this origin to one owner and takes the answers.

The link is up for the router from the accepted handshake until the stream breaks; what the router
does with messages that were handed over and not answered is its own business (G3).
"""

from __future__ import annotations

import asyncio

import grpc.aio

from parti_proto import peer_pb2
from parti_shard.errors import PartiError
from parti_shard.ids import MemberId
from parti_shard.router import Router
from parti_shard.streams import PEER, Destination
from parti_sidecar.frames import forward_frame, result_batch
from parti_sidecar.handshakes import LocalPeer
from parti_sidecar.host import Host
from parti_sidecar.link import Link, LinkStats, run_link, shake_hands
from parti_sidecar.status import failure_of_call
from parti_sidecar.streams import StreamWriter
from parti_sidecar.transport import Purpose

METHOD = "/parti.v1.Peer/Forward"


class ForwardLink(Link):
    """The Forward stream to one owner; opened again only while the router wants it."""

    purpose = Purpose.FORWARD

    def __init__(
        self, host: Host, member: MemberId, stats: LinkStats, local: LocalPeer, router: Router
    ) -> None:
        self._local = local
        self._router = router
        self._asked = asyncio.Event()
        super().__init__(host, member, stats)

    def ask(self) -> None:
        """Say that the router has messages for this owner."""
        self._asked.set()

    async def wanted(self) -> None:
        if self.member not in self._router.peers_wanted():
            self._asked.clear()
        await self._asked.wait()

    async def serve(self, channel: grpc.aio.Channel) -> None:
        call = channel.stream_stream(
            METHOD,
            request_serializer=peer_pb2.ForwardFrame.SerializeToString,
            response_deserializer=peer_pb2.ForwardResults.FromString,
        )()
        try:
            await shake_hands(
                call, peer_pb2.ForwardFrame(handshake=self._local.handshake(self.member))
            )
            self.opened()
            await self._run(call)
        finally:
            call.cancel()

    def broken(self) -> None:
        """Nothing to do: `_run` has told the router."""

    async def _run(self, call: grpc.aio.StreamStreamCall) -> None:
        destination = Destination(PEER, self.member)
        writer = StreamWriter(call.write, self._take)
        self._router.peer_up(self.member, self.host.now_ms())
        self.host.add_writer(destination, writer.wake)
        self.host.settle()
        try:
            await run_link(call, self._read(call), writer)
        finally:
            self.host.remove_writer(destination)
            self._router.peer_down(self.member, self.host.now_ms())
            self.host.settle()

    async def _read(self, call: grpc.aio.StreamStreamCall) -> None:
        while True:
            try:
                frame = await call.read()
            except grpc.aio.AioRpcError as error:
                raise PartiError(await failure_of_call(call)) from error
            if frame is grpc.aio.EOF:
                raise PartiError(await failure_of_call(call))
            self._router.peer_results(self.member, result_batch(frame), self.host.now_ms())
            self.host.settle()

    def _take(self) -> peer_pb2.ForwardFrame | None:
        batch = self._router.take_peer(self.member, self.host.now_ms())
        return None if batch is None else forward_frame(batch)
