"""Keeps one stream to another member open for as long as it is wanted.

The address is asked for anew before every attempt, since it is no identity and may change. After a
failure the link waits, longer each time and by a random share, so that members do not march in
step; a peer that says it is someone else, or of another cluster, is retried slowly and logged once.
What runs on the stream runs in the callbacks of the stream; the task of a link only waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass

from parti_proto import peer_pb2
from parti_shard.errors import PartiError, Reason
from parti_shard.ids import MemberId
from parti_sidecar.handshakes import LocalPeer
from parti_sidecar.host import Host
from parti_sidecar.logs import event
from parti_sidecar.peer_dialling import HANDSHAKE_MS, run_stream
from parti_sidecar.streams import StreamBrokenError
from parti_wire.errors import BadFrameError
from parti_wire.frame_stream import FrameStream

log = logging.getLogger(__name__)

RETRY_FIRST_MS = 50
RETRY_LAST_MS = 2_000
REFUSED_FIRST_MS = 500
REFUSED_LAST_MS = 10_000
STEADY_AFTER_MS = 2_000  # a link that lived so long starts over with short waits

_WRONG_PEER = frozenset(
    {
        Reason.WRONG_CLUSTER,
        Reason.UNKNOWN_MEMBER,
        Reason.PROTOCOL_VERSION,
        Reason.LEFT_BEHIND,
    }
)


@dataclass(slots=True)
class LinkStats:
    """Counters of all links of this process."""

    opened: int = 0
    failed: int = 0  # attempts and links that ended with a failure
    refused: int = 0  # of them by the peer's judgement of the handshake
    messages_dropped: int = 0  # a queue was full or its link broke
    snapshots_sent: int = 0
    snapshots_failed: int = 0


class Backoff:
    """How long to wait before the next attempt."""

    def __init__(self) -> None:
        self._failures = 0

    def reset(self) -> None:
        """Start over: the link was steady."""
        self._failures = 0

    def next_ms(self, *, refused: bool) -> float:
        """Wait twice as long as before, up to a limit."""
        first, last = (
            (REFUSED_FIRST_MS, REFUSED_LAST_MS) if refused else (RETRY_FIRST_MS, RETRY_LAST_MS)
        )
        wait_ms: int = min(first << min(self._failures, 16), last)
        self._failures += 1
        return wait_ms * random.uniform(0.8, 1.2)  # noqa: S311  # no secret


class Link(ABC):
    """One kind of stream to one member. Kinds say when it is wanted and what runs on it."""

    kind: peer_pb2.StreamKind

    def __init__(self, host: Host, member: MemberId, stats: LinkStats, local: LocalPeer) -> None:
        self.host = host
        self.member = member
        self.stats = stats
        self._local = local
        self._backoff = Backoff()
        self._complained = False
        self._hurried = asyncio.Event()
        self._task = asyncio.create_task(self._keep())

    def hurry(self) -> None:
        """The peer was heard: what waits for another attempt waits no longer."""
        self._backoff.reset()
        self._hurried.set()

    async def close(self) -> None:
        """End the stream and the link."""
        self._task.cancel()
        await asyncio.wait({self._task})

    @abstractmethod
    async def wanted(self) -> None:
        """Wait until there is a reason to have the stream."""

    def opened(self, stream: FrameStream, greeting: bytes) -> None:  # noqa: ARG002  # for kinds
        """The peer has accepted: run on this stream."""
        if greeting:
            raise BadFrameError("between members an acceptance has no words")
        self.stats.opened += 1
        self._complained = False

    @abstractmethod
    def received(self, body: bytes) -> None:
        """Take a frame of the stream."""

    @abstractmethod
    def take(self) -> bytes | None:
        """Give the next frame for the stream; None for nothing now."""

    @abstractmethod
    def closed(self) -> None:
        """The stream that was opened is over."""

    def broken(self) -> None:  # noqa: B027  # not every kind has to
        """Put things in order after a stream ended or could not be opened, unless on `close`."""

    async def _keep(self) -> None:
        try:
            while True:
                await self.wanted()
                await self._try_once()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  # a link that dies takes the process down
            self.host.fail(error)

    async def _try_once(self) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            await self._open_and_serve()
        except PartiError as error:
            self.stats.failed += 1
            self.broken()
            refused = error.failure.reason in _WRONG_PEER
            self._complain(error, refused=refused)
            if error.failure.reason is Reason.LEFT_BEHIND:
                self.host.left_behind(self.member)
            if (loop.time() - started) * 1000 > STEADY_AFTER_MS + HANDSHAKE_MS:
                self._backoff.reset()
            await self._pause(self._backoff.next_ms(refused=refused) / 1000)

    async def _pause(self, seconds: float) -> None:
        self._hurried.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurried.wait()

    async def _open_and_serve(self) -> None:
        address = self.host.address_of(self.member)
        if not address:
            raise StreamBrokenError("the member's address is not known")
        handshake = self._local.handshake(self.member)
        hello = peer_pb2.StreamHello(handshake=handshake, kind=self.kind)
        await run_stream(self, hello, address)

    def _complain(self, error: PartiError, *, refused: bool) -> None:
        self.stats.refused += refused
        level = logging.WARNING if refused and not self._complained else logging.DEBUG
        self._complained |= refused
        event(
            log,
            "link to peer failed",
            level=level,
            link=peer_pb2.StreamKind.Name(self.kind),
            peer=f"{self.member:016x}",
            reason=error.failure.reason.name,
            message=str(error),
        )
