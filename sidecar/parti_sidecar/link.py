"""Keeps one stream to another member open for as long as it is wanted.

The address is asked for anew before every attempt, since it is no identity and may change. After a
failure the link waits, longer each time and by a random share, so that members do not march in
step; a peer that says it is someone else, or of another cluster, is retried slowly and logged once.
Every attempt has a time limit of its own: a frozen process still accepts connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import grpc.aio

from parti_shard.errors import PartiError, Reason
from parti_shard.ids import MemberId
from parti_sidecar.handshakes import ACCEPTED_KEY
from parti_sidecar.host import Host
from parti_sidecar.status import failure_of_call
from parti_sidecar.streams import StreamBrokenError, StreamWriter, run_stream
from parti_sidecar.transport import Purpose, open_channel

log = logging.getLogger(__name__)

HANDSHAKE_MS = 2_000
RETRY_FIRST_MS = 50
RETRY_LAST_MS = 2_000
REFUSED_FIRST_MS = 500
REFUSED_LAST_MS = 10_000
STEADY_AFTER_MS = 2_000  # a link that lived so long starts over with short waits

_WRONG_PEER = frozenset({Reason.WRONG_CLUSTER, Reason.UNKNOWN_MEMBER, Reason.PROTOCOL_VERSION})


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

    purpose: Purpose

    def __init__(self, host: Host, member: MemberId, stats: LinkStats) -> None:
        self.host = host
        self.member = member
        self.stats = stats
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

    @abstractmethod
    async def serve(self, channel: grpc.aio.Channel) -> None:
        """Open the stream and run it. Raises PartiError, also when it ends by itself."""

    @abstractmethod
    def broken(self) -> None:
        """Put things in order after the stream ended or could not be opened."""

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
        async with open_channel(address, self.purpose) as channel:
            await self.serve(channel)

    def opened(self) -> None:
        """Note that the peer has accepted the handshake."""
        self.stats.opened += 1
        self._complained = False

    def _complain(self, error: PartiError, *, refused: bool) -> None:
        self.stats.refused += refused
        level = logging.WARNING if refused and not self._complained else logging.DEBUG
        self._complained |= refused
        reason = error.failure.reason.name
        what = {"link": self.purpose.value, "peer": self.member, "reason": reason}
        log.log(level, "link to peer failed", extra={**what, "error": str(error)})


async def shake_hands(call: grpc.aio.Call, first: object) -> None:
    """Send the first frame and wait until the peer has accepted it. Raises PartiError."""
    shaking = asyncio.ensure_future(_first_words(call, first))
    try:
        done, _ = await asyncio.wait({shaking}, timeout=HANDSHAKE_MS / 1000)
    finally:
        shaking.cancel()
    if not done:
        raise StreamBrokenError(f"no answer to the handshake within {HANDSHAKE_MS} ms")
    shaking.result()


async def _first_words(call: grpc.aio.Call, first: object) -> None:
    try:
        await call.write(first)
        answer = await call.initial_metadata()
    except Exception as error:
        # gRPC raises internal classes here; the call itself knows why.
        raise PartiError(await failure_of_call(call)) from error
    if not any(key == ACCEPTED_KEY for key, _ in answer):
        raise PartiError(await failure_of_call(call))


async def run_link(
    call: grpc.aio.Call, read: Coroutine[Any, Any, None], writer: StreamWriter[Any]
) -> None:
    """Run both directions of an open stream. Raises PartiError with why it ended."""
    try:
        await run_stream(read, writer)
    except StreamBrokenError as error:
        if not call.done():
            raise
        raise PartiError(await failure_of_call(call)) from error


async def until_over(call: grpc.aio.Call) -> None:
    """Wait for the end of a stream that only sends. Raises PartiError with why it ended."""
    raise PartiError(await failure_of_call(call))
