"""The side of a stream that dialled: connects, says who it is, is accepted.

Everything before the acceptance shares one time limit: a frozen process still accepts connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from parti_wire.errors import BadFrameError, Side, broken
from parti_wire.frame_stream import FrameStream
from parti_wire.framing import FrameKind
from parti_wire.sockets import Make

Dial = Callable[[Make], Awaitable[None]]  # may raise OSError, or an error of this side


class StreamOwner(Protocol):
    """What runs on a stream once it is accepted; `closed` follows `opened` in any case."""

    def opened(self, stream: FrameStream, greeting: bytes) -> None:
        """The other side has accepted, with these words."""
        ...

    def received(self, body: bytes) -> None:
        """A frame came."""
        ...

    def take(self) -> bytes | None:
        """Give the next frame; None for nothing now."""
        ...

    def closed(self) -> None:
        """The stream is over."""
        ...


class DialledStream:
    """One attempt and the stream that came of it."""

    def __init__(self, owner: StreamOwner, side: Side, *, hello: bytes, bytes_max: int) -> None:
        loop = asyncio.get_running_loop()
        self._owner = owner
        self._side = side
        self._hello = hello
        self._bytes_max = bytes_max
        self._stream: FrameStream | None = None
        self._is_open = False  # the futures may be cancelled by those who wait for them
        self._accepted: asyncio.Future[None] = loop.create_future()
        self._over: asyncio.Future[None] = loop.create_future()

    async def run(self, dial: Dial, *, handshake_ms: int) -> None:
        """Open the stream and wait for its end.

        Raises the reason as an error of this side, or the bug of its owner.
        """
        try:
            await self._open(dial, handshake_ms)
            await self._over
        finally:
            if self._stream is not None:
                self._stream.close()
                await self._stream.closed

    async def _open(self, dial: Dial, handshake_ms: int) -> None:
        try:
            async with asyncio.timeout(handshake_ms / 1000):
                await dial(lambda: FrameStream(self, self._side, bytes_max=self._bytes_max))
                await self._accepted
        except TimeoutError as error:
            text = f"no answer to the handshake within {handshake_ms} ms"
            raise self._side.error_from(broken(text)) from error
        except OSError as error:
            raise self._side.error_from(broken(f"cannot connect: {error}")) from error

    # -- what the stream tells

    def connected(self, stream: FrameStream) -> None:
        self._stream = stream
        stream.say(FrameKind.HELLO, self._hello)

    def said(self, kind: FrameKind, body: bytes) -> None:
        if kind is not FrameKind.ACCEPTED or self._is_open:
            raise BadFrameError(f"a frame {kind.name} out of turn")
        assert self._stream is not None
        self._is_open = True
        if not self._accepted.done():
            self._accepted.set_result(None)
        self._owner.opened(self._stream, body)

    def received(self, body: bytes) -> None:
        if not self._is_open:
            raise BadFrameError("a frame before the stream was accepted")
        self._owner.received(body)

    def take(self) -> bytes | None:
        return self._owner.take()

    def ended(self, error: Exception) -> None:
        if self._is_open:
            try:
                self._owner.closed()
            except Exception as bug:  # noqa: BLE001  # `run` raises it
                error = bug
        for waiting in (self._accepted, self._over):
            if not waiting.done():
                waiting.set_exception(error)
                waiting.exception()  # at most one of them is waited for
