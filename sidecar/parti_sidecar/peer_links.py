"""All streams from this member to the others: Frames, Forward and snapshots.

The driver hands over what is to be sent and forgets it. Members come and go: links are made when
they are first needed and end with `forget`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

from parti_shard.ids import MemberId
from parti_shard.router import Router
from parti_sidecar.engine import Links
from parti_sidecar.forward_link import ForwardLink
from parti_sidecar.frames_link import FramesLink
from parti_sidecar.handshakes import LocalPeer
from parti_sidecar.host import Host
from parti_sidecar.link import LinkStats
from parti_sidecar.snapshot_transfer import SnapshotSender


class MemberLinks(Links, Protocol):
    """The links of a member as its driver sees them."""

    def hold_forwards(self, members: Iterable[MemberId]) -> None:
        """Have a Forward link to each of these owners."""
        ...

    def heard(self, member: MemberId) -> None:
        """Try again at once: the peer is back."""
        ...

    def forget(self, member: MemberId) -> None:
        """End everything that goes to a member that has left."""
        ...

    async def close(self) -> None:
        """End everything."""
        ...


class PeerLinks:
    """The outgoing side of this member."""

    def __init__(self, host: Host, router: Router, local: LocalPeer) -> None:
        self.stats = LinkStats()
        self._host = host
        self._router = router
        self._local = local
        self._frames: dict[MemberId, FramesLink] = {}
        self._forwards: dict[MemberId, ForwardLink] = {}
        self._snapshots: dict[MemberId, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def send(self, member: MemberId, raft: list[bytes], session: list[bytes]) -> None:
        """Send Raft and session messages, or lose them: a full queue drops."""
        link = self._frames.get(member)
        if link is None:
            link = FramesLink(self._host, member, self.stats, self._local)
            self._frames[member] = link
        link.send(raft, session)

    def send_snapshot(self, member: MemberId, message: bytes, data: bytes) -> None:
        """Send a snapshot in place of one that is still under way; `snapshot_sent` follows."""
        older = self._snapshots.get(member)
        if older is not None:
            older.cancel()
            self._end(older)
        task = asyncio.create_task(self._send_snapshot(member, message, data))
        self._snapshots[member] = task

    def hold_forwards(self, members: Iterable[MemberId]) -> None:
        """Have a Forward link to each of these owners (`Router.peers_wanted`)."""
        for member in members:
            link = self._forwards.get(member)
            if link is None:
                link = ForwardLink(self._host, member, self.stats, self._local, self._router)
                self._forwards[member] = link
            link.ask()

    def heard(self, member: MemberId) -> None:
        """A peer opened a stream: it is back, so try again at once."""
        for links in (self._frames, self._forwards):
            link = links.get(member)
            if link is not None:
                link.hurry()

    def forget(self, member: MemberId) -> None:
        """End everything that goes to a member that has left."""
        for links in (self._frames, self._forwards):
            link = links.pop(member, None)
            if link is not None:
                self._end(asyncio.create_task(link.close()))
        snapshot = self._snapshots.pop(member, None)
        if snapshot is not None:
            snapshot.cancel()
            self._end(snapshot)

    async def close(self) -> None:
        """End everything, and wait until it has."""
        members = [*self._frames, *self._forwards, *self._snapshots]
        for member in members:
            self.forget(member)
        if self._ending:
            await asyncio.wait(self._ending)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _send_snapshot(self, member: MemberId, message: bytes, data: bytes) -> None:
        try:
            sent = await SnapshotSender(self._host, self._local, member).send(message, data)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  # nobody awaits this task: the host must know
            self._host.fail(error)
            return
        if self._snapshots.get(member) is asyncio.current_task():
            del self._snapshots[member]
        self.stats.snapshots_sent += sent
        self.stats.snapshots_failed += not sent
        self._host.snapshot_sent(member, ok=sent)
        self._host.settle()
