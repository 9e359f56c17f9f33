"""Both sides of a stream of frames on real sockets, for its tests."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ParamSpec

import uvloop

from parti_shard.errors import Failure, PartiError
from parti_sidecar.stream_sides import TO_MEMBERS
from parti_sidecar.transport import listen_for_streams
from parti_wire.errors import Side
from parti_wire.frame_stream import FrameStream
from parti_wire.framing import FrameKind
from parti_wire.sockets import dial
from tests.parti_sidecar.api_clients import until
from tests.parti_sidecar.raw_streams import RawStream

BYTES_MAX = 4 << 20


P = ParamSpec("P")


def on_uvloop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run the test on the event loop of the process; other tests use the standard one."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        uvloop.run(test(*args, **kwargs))

    return run


class User:
    """Keeps what it is told; sends what is in `queue`, all of it in one frame."""

    def __init__(self) -> None:
        self.stream: FrameStream | None = None
        self.first: list[tuple[FrameKind, bytes]] = []
        self.bodies: list[bytes] = []
        self.queue: list[bytes] = []
        self.error: Exception | None = None
        self.ends = 0
        self.takes = 0
        self.on_frame: Callable[[bytes], None] = self.bodies.append

    def connected(self, stream: FrameStream) -> None:
        self.stream = stream

    def said(self, kind: FrameKind, body: bytes) -> None:
        self.first.append((kind, body))

    def received(self, body: bytes) -> None:
        self.on_frame(body)

    def take(self) -> bytes | None:
        self.takes += 1
        queue, self.queue = self.queue, []
        return b"".join(queue) or None

    def ended(self, error: Exception) -> None:
        self.error = error
        self.ends += 1

    @property
    def failure(self) -> Failure:
        assert isinstance(self.error, PartiError), self.error
        return self.error.failure

    def send(self, body: bytes) -> None:
        assert self.stream is not None
        self.queue.append(body)
        self.stream.wake()


@asynccontextmanager
async def listening(
    user: User,
    address: str = "127.0.0.1:0",
    *,
    bytes_max: int = BYTES_MAX,
    side: Side = TO_MEMBERS,
) -> AsyncIterator[str]:
    """A port whose one stream is for `user`; at the end nothing is left of it."""
    server, bound = await listen_for_streams(
        address, lambda: FrameStream(user, side, bytes_max=bytes_max)
    )
    try:
        yield bound
    finally:
        server.close()
        if user.stream is not None:
            user.stream.close()
            await user.stream.closed
        assert user.ends == (user.stream is not None), "the end is told once"
        await server.wait_closed()


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[User, User]]:
    """Both sides of a stream."""
    one, two = User(), User()
    async with listening(two) as bound:
        host, _, port = bound.rpartition(":")
        await dial(host, int(port), lambda: FrameStream(one, TO_MEMBERS, bytes_max=BYTES_MAX))
        await until(lambda: two.stream, "the connection")
        yield one, two
        assert one.stream is not None
        one.stream.close()
        await one.stream.closed


@asynccontextmanager
async def raw_stream(
    bytes_max: int = BYTES_MAX, side: Side = TO_MEMBERS
) -> AsyncIterator[tuple[User, RawStream]]:
    """A stream whose other side the test plays byte by byte."""
    user = User()
    async with listening(user, bytes_max=bytes_max, side=side) as bound, RawStream(bound) as raw:
        await until(lambda: user.stream, "the connection")
        yield user, raw
