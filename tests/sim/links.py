"""A process's streams to the other members, as its links keep them: open while wanted, with a
pause that grows after failures.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from parti_proto import peer_pb2
from parti_shard.ids import MemberId
from parti_shard.limits import PROTOCOL_VERSION
from parti_shard.router import Router
from parti_shard.streams import PEER, Destination
from parti_sidecar.frames import forward_frame, result_batch
from parti_sidecar.frames_link import QUEUE_MESSAGES_MAX
from parti_sidecar.handshakes import LocalPeer
from parti_sidecar.host import PeerHandshake
from parti_sidecar.link import REFUSED_FIRST_MS, REFUSED_LAST_MS, RETRY_FIRST_MS, RETRY_LAST_MS
from parti_sidecar.snapshot_transfer import SnapshotSender
from tests.sim.actors import Pump
from tests.sim.network import End
from tests.sim.timeline import S, Timer

if TYPE_CHECKING:
    from tests.sim.process import Process


class Link(ABC):
    """One kind of stream to one member."""

    kind: int

    def __init__(self, process: Process, member: MemberId, local: LocalPeer) -> None:
        self.process = process
        self.member = member
        self.end: End | None = None
        self.pump: Pump | None = None
        self._local = local
        self._busy = False  # connecting, open or pausing
        self._failures = 0
        self._pause: Timer | None = None
        self._forgotten = False

    @abstractmethod
    def wanted(self) -> bool:
        """Whether there is a reason to have the stream."""

    @abstractmethod
    def opened(self, end: End) -> None:
        """The peer has accepted."""

    @abstractmethod
    def broken(self) -> None:
        """The stream ended or could not be opened."""

    def poke(self) -> None:
        """Connect, if it is time."""
        if self._busy or self._forgotten or not self.wanted():
            return
        self._busy = True
        process, local = self.process, self._local
        server = process.world.listening(process.driver.address_of(self.member))
        handshake = PeerHandshake(
            PROTOCOL_VERSION, local.cluster_id, local.me, self.member, local.address
        )
        accept = partial(_accept, self.kind, handshake)
        process.world.network.connect(process, server, accept, self._opened, self._failed)

    def hurry(self) -> None:
        """The peer was heard: a pause is over."""
        self._failures = 0
        if self._pause is not None:
            self._pause.cancel()
            self._pause_over()

    def _opened(self, end: End) -> None:
        if self._forgotten:
            end.close()
            return
        self._failures = 0
        self.end = end
        end.on_closed = self._closed
        self.opened(end)

    def _closed(self) -> None:
        self.end = self.pump = None
        self._failed(False)

    def _failed(self, refused: bool) -> None:  # noqa: FBT001
        name = peer_pb2.StreamKind.Name(self.kind)
        self.process.world.counts[f"link failed: {name}"] += 1
        self.broken()
        first, last = (
            (REFUSED_FIRST_MS, REFUSED_LAST_MS) if refused else (RETRY_FIRST_MS, RETRY_LAST_MS)
        )
        wait_ms = min(first << min(self._failures, 16), last)
        self._failures += 1
        wait_us = self.process.rng.randint(wait_ms * 800, wait_ms * 1_200)
        self._pause = self.process.loop.call_later(wait_us / S, self._pause_over)

    def _pause_over(self) -> None:
        self._pause = None
        self._busy = False
        self.poke()

    def forget(self) -> None:
        self._forgotten = True
        if self.end is not None:
            self.end.close()
            self.end = self.pump = None
            self.broken()


def _accept(kind: int, handshake: PeerHandshake, server: Process, end: End) -> bool:
    return server.accept_stream(kind, handshake, end)


class FramesLink(Link):
    """Raft and session messages to one member."""

    kind = peer_pb2.STREAM_KIND_FRAMES

    def __init__(self, process: Process, member: MemberId, local: LocalPeer) -> None:
        super().__init__(process, member, local)
        self._raft: list[bytes] = []
        self._session: list[bytes] = []
        self._report_planned = False

    def send(self, raft: list[bytes], session: list[bytes]) -> None:
        lossy = self.process.world.frames_lost
        for queue, messages in ((self._raft, raft), (self._session, session)):
            for message in messages:
                if len(queue) >= QUEUE_MESSAGES_MAX or (
                    lossy and self.process.rng.random() < lossy
                ):
                    self.process.world.counts["fault: message dropped"] += 1
                    self._plan_report()
                else:
                    queue.append(message)
        if self.pump is not None:
            self.pump.wake()
        else:
            self.poke()

    def _plan_report(self) -> None:
        if not self._report_planned:
            self._report_planned = True
            self.process.loop.call_soon(self._report)

    def _report(self) -> None:
        self._report_planned = False
        self.process.driver.peer_unreachable(self.member)
        self.process.driver.settle()

    def wanted(self) -> bool:
        return bool(self._raft or self._session)

    def opened(self, end: End) -> None:
        self.pump = Pump(self.process.loop, end, self._take, prompt=True)

    def broken(self) -> None:
        self._raft.clear()
        self._session.clear()
        self._report()

    def _take(self) -> bytes | None:
        if not (self._raft or self._session):
            return None
        frame = peer_pb2.PeerFrame(raft=self._raft, session=self._session)
        self._raft, self._session = [], []
        return frame.SerializeToString()


class ForwardLink(Link):
    """Messages of this origin to one owner, and the answers."""

    kind = peer_pb2.STREAM_KIND_FORWARD

    def wanted(self) -> bool:
        return self.member in self.process.router.peers_wanted()

    def opened(self, end: End) -> None:
        process = self.process
        self.pump = Pump(process.loop, end, self._take, prompt=True)
        end.on_frame = self._results
        process.router.peer_up(self.member, process.now_ms())
        process.driver.add_writer(Destination(PEER, self.member), self.pump.wake)
        process.driver.settle()

    def broken(self) -> None:
        process = self.process
        process.driver.remove_writer(Destination(PEER, self.member))
        process.router.peer_down(self.member, process.now_ms())
        process.driver.settle()

    def _results(self, data: bytes) -> None:
        batch = result_batch(peer_pb2.ForwardResults.FromString(data))
        self.process.router.peer_results(self.member, batch, self.process.now_ms())
        self.process.driver.settle()

    def _take(self) -> bytes | None:
        router = self.process.router
        batch = router.take_peer(self.member, self.process.now_ms())
        if batch is None:
            return None
        unanswered = router._origin.dispatch.links[self.member].unanswered
        for number, uid in zip(batch.ids, batch.payloads, strict=True):
            if unanswered[number].uncertain:
                self.process.world.message_checks.sent_again(uid)
        return forward_frame(batch).SerializeToString()


class SimLinks:
    """All of them, as the driver and its engine use them."""

    def __init__(self, process: Process, router: Router, local: LocalPeer) -> None:
        self._process = process
        self._router = router
        self._local = local
        self._frames: dict[MemberId, FramesLink] = {}
        self._forwards: dict[MemberId, ForwardLink] = {}
        self._snapshots: dict[MemberId, asyncio.Task[object]] = {}

    def send(self, member: MemberId, raft: list[bytes], session: list[bytes]) -> None:
        for message in raft:
            self._process.world.raft_checks.message_sent(self._process, message)
        link = self._frames.get(member)
        if link is None:
            link = self._frames[member] = FramesLink(self._process, member, self._local)
        link.send(raft, session)

    def send_snapshot(self, member: MemberId, message: bytes, data: bytes) -> None:
        older = self._snapshots.get(member)
        if older is not None:
            older.cancel()
        sending = self._send_snapshot(member, message, data)
        self._snapshots[member] = self._process.spawn(sending)

    async def _send_snapshot(self, member: MemberId, message: bytes, data: bytes) -> None:
        driver = self._process.driver
        sent = await SnapshotSender(driver, self._local, member).send(message, data)
        self._process.world.counts["snapshot sent" if sent else "snapshot lost"] += 1
        driver.snapshot_sent(member, ok=sent)
        driver.settle()

    def hold_forwards(self, members: Iterable[MemberId]) -> None:
        for member in sorted(members):
            link = self._forwards.get(member)
            if link is None:
                link = self._forwards[member] = ForwardLink(self._process, member, self._local)
            link.poke()

    def heard(self, member: MemberId) -> None:
        for links in (self._frames, self._forwards):
            link = links.get(member)
            if link is not None:
                link.hurry()

    def forget(self, member: MemberId) -> None:
        for links in (self._frames, self._forwards):
            link = links.pop(member, None)
            if link is not None:
                link.forget()
        snapshot = self._snapshots.pop(member, None)
        if snapshot is not None:
            snapshot.cancel()

    async def close(self) -> None:
        for member in (*self._frames, *self._forwards, *self._snapshots):
            self.forget(member)
