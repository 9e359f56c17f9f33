"""A process's streams to the other members, as its links keep them: open while wanted, with a
pause that grows after failures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from parti_proto import peer_pb2
from parti_shard.ids import MemberId
from parti_shard.streams import PEER, Destination
from parti_sidecar.frames import forward_frame, result_batch
from parti_sidecar.frames_link import QUEUE_MESSAGES_MAX
from parti_sidecar.link import REFUSED_FIRST_MS, REFUSED_LAST_MS, RETRY_FIRST_MS, RETRY_LAST_MS
from tests.sim.actors import Pump
from tests.sim.handshake import Handshake
from tests.sim.network import End

if TYPE_CHECKING:
    from tests.sim.process import Process

FRAMES, FORWARD, SNAPSHOT = "frames", "forward", "snapshot"


class Link(ABC):
    """One kind of stream to one member."""

    kind: str

    def __init__(self, process: Process, member: MemberId) -> None:
        self.process = process
        self.member = member
        self.end: End | None = None
        self.pump: Pump | None = None
        self._busy = False  # connecting, open or pausing
        self._failures = 0
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
        process = self.process
        server = process.world.listening(process.address_of(self.member))
        accept = partial(_accept, self.kind, process.handshake(self.member))
        process.world.network.connect(process, server, accept, self._opened, self._failed)

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
        self.process.world.counts[f"link {self.kind} failed"] += 1
        self.broken()
        first, last = (
            (REFUSED_FIRST_MS, REFUSED_LAST_MS) if refused else (RETRY_FIRST_MS, RETRY_LAST_MS)
        )
        wait_ms = min(first << min(self._failures, 16), last)
        self._failures += 1
        wait_us = self.process.rng.randint(wait_ms * 800, wait_ms * 1_200)
        self.process.after(wait_us, self._pause_over)

    def _pause_over(self) -> None:
        self._busy = False
        self.poke()

    def forget(self) -> None:
        self._forgotten = True
        if self.end is not None:
            self.end.close()
            self.end = self.pump = None
            self.broken()


def _accept(kind: str, handshake: Handshake, server: Process, end: End) -> bool:
    return server.accept(kind, handshake, end)


class FramesLink(Link):
    """Raft and session messages to one member."""

    kind = FRAMES

    def __init__(self, process: Process, member: MemberId) -> None:
        super().__init__(process, member)
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
        self.process.peer_unreachable(self.member)
        self.process.settle()

    def wanted(self) -> bool:
        return bool(self._raft or self._session)

    def opened(self, end: End) -> None:
        self.pump = Pump(self.process.loop, end, self._take, prompt=True)

    def broken(self) -> None:
        self._raft.clear()
        self._session.clear()
        self._report()

    def _take(self) -> tuple[list[bytes], list[bytes]] | None:
        if not (self._raft or self._session):
            return None
        frame = self._raft, self._session
        self._raft, self._session = [], []
        return frame


class ForwardLink(Link):
    """Messages of this origin to one owner, and the answers."""

    kind = FORWARD

    def wanted(self) -> bool:
        return self.member in self.process.router.peers_wanted()

    def opened(self, end: End) -> None:
        process = self.process
        self.pump = Pump(process.loop, end, self._take, prompt=True)
        end.on_frame = self._results
        process.router.peer_up(self.member, process.now_ms())
        process.writers[Destination(PEER, self.member)] = self.pump.wake
        process.settle()

    def broken(self) -> None:
        process = self.process
        process.writers.pop(Destination(PEER, self.member), None)
        process.router.peer_down(self.member, process.now_ms())
        process.settle()

    def _results(self, data: bytes) -> None:
        batch = result_batch(peer_pb2.ForwardResults.FromString(data))
        self.process.router.peer_results(self.member, batch, self.process.now_ms())
        self.process.settle()

    def _take(self) -> bytes | None:
        batch = self.process.router.take_peer(self.member, self.process.now_ms())
        return None if batch is None else forward_frame(batch).SerializeToString()


class SnapshotLink(Link):
    """One transfer of a snapshot; a newer one takes its place, and then it says nothing."""

    kind = SNAPSHOT

    def __init__(self, process: Process, member: MemberId, message: bytes, data: bytes) -> None:
        super().__init__(process, member)
        self._content = message, data
        self._left = True

    def wanted(self) -> bool:
        return self._left

    def opened(self, end: End) -> None:
        end.on_frame = lambda _reply: self._finish(ok=True)
        end.send(self._content)

    def broken(self) -> None:
        self._finish(ok=False)

    def _finish(self, *, ok: bool) -> None:
        if not self._left:
            return
        self._left = False
        if self.end is not None:
            self.end.close()
            self.end = None
        if not self._forgotten:
            self.process.world.counts["snapshot sent" if ok else "snapshot lost"] += 1
            self.process.snapshot_sent(self.member, ok=ok)


class Links:
    """All of them; what the engine sends on."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._frames: dict[MemberId, FramesLink] = {}
        self._forwards: dict[MemberId, ForwardLink] = {}
        self._snapshots: dict[MemberId, SnapshotLink] = {}

    def send(self, member: MemberId, raft: list[bytes], session: list[bytes]) -> None:
        for message in raft:
            self._process.world.raft_checks.message_sent(self._process, message)
        link = self._frames.get(member)
        if link is None:
            link = self._frames[member] = FramesLink(self._process, member)
        link.send(raft, session)

    def send_snapshot(self, member: MemberId, message: bytes, data: bytes) -> None:
        older = self._snapshots.get(member)
        if older is not None:
            older.forget()
        link = self._snapshots[member] = SnapshotLink(self._process, member, message, data)
        link.poke()

    def hold_forwards(self, members: Iterable[MemberId]) -> None:
        for member in sorted(members):
            link = self._forwards.get(member)
            if link is None:
                link = self._forwards[member] = ForwardLink(self._process, member)
            link.poke()

    def forget(self, member: MemberId) -> None:
        links: tuple[dict[MemberId, Any], ...] = (self._frames, self._forwards, self._snapshots)
        for kept in links:
            link = kept.pop(member, None)
            if link is not None:
                link.forget()
