"""The side that dials, against peers that refuse, lie, are silent or are not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from parti_proto import errors_pb2
from parti_shard.errors import Executed, Failure, PartiError, Reason
from parti_sidecar.status import detail_of
from parti_sidecar.stream_sides import TO_MEMBERS
from parti_wire import frame_stream
from parti_wire.dialled_stream import DialledStream
from parti_wire.frame_stream import FrameStream
from parti_wire.sockets import dial
from tests.parti_sidecar.api_clients import until
from tests.parti_sidecar.raw_streams import ACCEPTED, DATA, END, HELLO, RawStream, frame

LIMIT_S = 5.0

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class _Owner:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.stream: FrameStream | None = None
        self.bodies: list[bytes] = []
        self.closes = 0

    def opened(self, stream: FrameStream, greeting: bytes) -> None:
        self.stream = stream
        self.greeting = greeting

    def received(self, body: bytes) -> None:
        self.bodies.append(body)

    def take(self) -> bytes | None:
        return None

    def closed(self) -> None:
        self.closes += 1


@pytest.fixture
def owner() -> _Owner:
    return _Owner()


async def _run(owner: _Owner, address: str, *, handshake_ms: int = 2_000) -> None:
    host, _, port = address.rpartition(":")
    stream = DialledStream(owner, TO_MEMBERS, hello=b"hello", bytes_max=1 << 20)
    await stream.run(
        lambda make: dial(host.strip("[]"), int(port), make), handshake_ms=handshake_ms
    )


@asynccontextmanager
async def _peer(peer: Peer, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """A port of streams behind which `peer` plays; gives its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await peer(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, host, 0)
    try:
        yield f"{host}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def _ends(owner: _Owner, address: str, *, handshake_ms: int = 2_000) -> Failure:
    with pytest.raises(PartiError) as caught:
        await asyncio.wait_for(_run(owner, address, handshake_ms=handshake_ms), LIMIT_S)
    return caught.value.failure


def _says(*frames: bytes, told: list[Failure] | None = None) -> Peer:
    """A peer that answers the hello with these bytes and keeps the reason it is told."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = RawStream.over(reader, writer)
        assert await stream.read() == (HELLO, b"hello")
        await stream.send(*frames)
        if told is not None:
            told.append(await stream.ends_with())
        else:
            await stream.ends()

    return peer


LIES = {
    "a frame before the acceptance": [frame(DATA, b"x")],
    "two acceptances": [frame(ACCEPTED), frame(ACCEPTED)],
    "a hello in return": [frame(HELLO)],
    "no kind of frame": [frame(99)],
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_a_peer_out_of_turn_is_told_so(owner: _Owner, lie: list[bytes]) -> None:
    told: list[Failure] = []
    async with _peer(_says(*lie, told=told)) as address:
        failure = await _ends(owner, address)
        assert failure.reason is Reason.MALFORMED_FRAME
        await until(lambda: told, "the reason")
    assert told == [failure]
    assert owner.closes == (owner.stream is not None)
    assert not owner.bodies


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_the_port_is_dialled_at_the_host_of_the_address(owner: _Owner, host: str) -> None:
    peer = _says(frame(ACCEPTED, b"welcome"), frame(DATA, b"first"), frame(DATA, b"second"))
    async with _peer(peer, host) as address:
        running = asyncio.create_task(_run(owner, address))
        await until(lambda: len(owner.bodies) == 2, "the frames")
        assert owner.greeting == b"welcome"
        assert owner.bodies == [b"first", b"second"]
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()
    assert owner.closes == 1
    assert owner.stream is not None
    assert owner.stream.closed.done(), "nothing of the connection is left"


async def test_a_refusal_is_raised_as_it_was_told(owner: _Owner) -> None:
    said = Failure(Reason.WRONG_CLUSTER, Executed.NO, "not here")
    refusal = frame(END, detail_of(said).SerializeToString())
    async with _peer(_says(refusal)) as address:
        assert await _ends(owner, address) == said
    assert owner.stream is None
    assert owner.closes == 0


async def test_the_end_of_an_open_stream_is_raised_too(owner: _Owner) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await RawStream.over(reader, writer).read()
        writer.write(frame(ACCEPTED))
        writer.write_eof()
        await RawStream.over(reader, writer).ends()

    async with _peer(peer) as address:
        failure = await _ends(owner, address)
    assert (failure.reason, failure.executed) == (Reason.CONNECTION_LOST, Executed.UNKNOWN)
    assert owner.closes == 1


async def test_a_peer_that_never_answers_is_given_up(owner: _Owner) -> None:
    async with _peer(_says()) as address:
        failure = await _ends(owner, address, handshake_ms=50)
    assert failure.reason is Reason.CONNECTION_LOST
    assert "no answer to the handshake within 50 ms" in failure.message
    assert owner.closes == 0


async def test_a_port_where_nobody_listens(owner: _Owner) -> None:
    async with _peer(_says()) as address:
        pass
    failure = await _ends(owner, address)
    assert failure.reason is Reason.CONNECTION_LOST
    assert "cannot connect" in failure.message


@pytest.mark.parametrize("method", ["opened", "received", "closed"])
async def test_a_bug_of_the_owner_is_raised_as_it_is(
    owner: _Owner, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def break_down(*_any: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(owner, method, break_down)
    goodbye = frame(END, errors_pb2.ErrorDetail().SerializeToString())
    peer = _says(frame(ACCEPTED), frame(DATA, b"x"), goodbye)
    async with _peer(peer) as address:
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(_run(owner, address), LIMIT_S)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_dialling_that_is_cancelled_while_it_connects_ends(
    run: Callable[[Coroutine[Any, Any, None]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop then tells nobody that the connection is gone."""
    monkeypatch.setattr(frame_stream, "LINGER_MS", 50)

    async def cancel_early() -> None:
        dialling: asyncio.Task[None]

        class Early(DialledStream):
            def connected(self, stream: FrameStream) -> None:
                super().connected(stream)
                dialling.cancel()

        async with _peer(_says()) as address:
            stream = Early(_Owner(), TO_MEMBERS, hello=b"hello", bytes_max=1 << 20)
            port = int(address.rpartition(":")[2])
            dialling = asyncio.create_task(
                stream.run(lambda make: dial("127.0.0.1", port, make), handshake_ms=5_000)
            )
            await asyncio.wait({dialling}, timeout=LIMIT_S)
            assert dialling.cancelled()

    run(cancel_early())
