"""The side that dials, against peers that refuse, lie, are silent or are not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from parti_proto import errors_pb2, peer_pb2
from parti_shard.errors import Executed, Failure, PartiError, Reason
from parti_shard.ids import MemberId
from parti_sidecar import dialled_stream
from parti_sidecar.dialled_stream import DialledStream
from parti_sidecar.frame_stream import FrameStream
from parti_sidecar.frames_link import FramesLink
from parti_sidecar.handshakes import LocalPeer
from parti_sidecar.link import LinkStats
from parti_sidecar.status import detail_of
from tests.parti_sidecar.api_clients import until
from tests.parti_sidecar.fake_host import CLUSTER, FakeCluster, FakeHost
from tests.parti_sidecar.raw_streams import ACCEPTED, DATA, END, HELLO, RawStream, frame

ONE, TWO = MemberId(1), MemberId(2)
LIMIT_S = 5.0

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class _Owner:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.stream: FrameStream | None = None
        self.bodies: list[bytes] = []
        self.closes = 0

    def opened(self, stream: FrameStream) -> None:
        self.stream = stream

    def received(self, body: bytes) -> None:
        self.bodies.append(body)

    def take(self) -> bytes | None:
        return None

    def closed(self) -> None:
        self.closes += 1


@pytest.fixture
def owner() -> _Owner:
    return _Owner()


def _dialled(owner: _Owner) -> DialledStream:
    handshake = LocalPeer(CLUSTER, ONE, "10.0.0.1:5101").handshake(TWO)
    kind = peer_pb2.STREAM_KIND_FRAMES
    return DialledStream(owner, peer_pb2.StreamHello(handshake=handshake, kind=kind))


@asynccontextmanager
async def _peer(
    monkeypatch: pytest.MonkeyPatch, peer: Peer, host: str = "127.0.0.1"
) -> AsyncIterator[str]:
    """A port of streams behind which `peer` plays; gives an address for it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await peer(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, host, 0)
    port = server.sockets[0].getsockname()[1]

    async def told(_address: str, _handshake: object) -> int:
        return int(port)

    monkeypatch.setattr(dialled_stream, "ask_port", told)
    try:
        yield f"[{host}]:1" if ":" in host else f"{host}:1"
    finally:
        server.close()
        await server.wait_closed()


async def _ends(dialled: DialledStream, address: str) -> Failure:
    with pytest.raises(PartiError) as caught:
        await asyncio.wait_for(dialled.run(address), LIMIT_S)
    return caught.value.failure


def _says(*frames: bytes, told: list[Failure] | None = None) -> Peer:
    """A peer that answers the hello with these bytes and keeps the reason it is told."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = RawStream.over(reader, writer)
        kind, _ = await stream.read()
        assert kind == HELLO
        await stream.send(*frames)
        if told is not None:
            told.append(await stream.ends_with())
        else:
            await stream.ends()

    return peer


LIES = {
    "a frame before the acceptance": [frame(DATA, b"x")],
    "an acceptance with words": [frame(ACCEPTED, b"x")],
    "two acceptances": [frame(ACCEPTED), frame(ACCEPTED)],
    "a hello in return": [frame(HELLO)],
    "no kind of frame": [frame(99)],
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_a_peer_out_of_turn_is_told_so(
    owner: _Owner, monkeypatch: pytest.MonkeyPatch, lie: list[bytes]
) -> None:
    told: list[Failure] = []
    async with _peer(monkeypatch, _says(*lie, told=told)) as address:
        failure = await _ends(_dialled(owner), address)
        assert failure.reason is Reason.MALFORMED_FRAME
        await until(lambda: told, "the reason")
    assert told == [failure]
    assert owner.closes == (owner.stream is not None)
    assert not owner.bodies


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_the_port_is_dialled_at_the_host_of_the_address(
    owner: _Owner, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    peer = _says(frame(ACCEPTED), frame(DATA, b"first"), frame(DATA, b"second"))
    async with _peer(monkeypatch, peer, host) as address:
        running = asyncio.create_task(_dialled(owner).run(address))
        await until(lambda: len(owner.bodies) == 2, "the frames")
        assert owner.bodies == [b"first", b"second"]
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()
    assert owner.closes == 1
    assert owner.stream is not None
    assert owner.stream.closed.done(), "nothing of the connection is left"


async def test_a_refusal_is_raised_as_it_was_told(
    owner: _Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Failure(Reason.WRONG_CLUSTER, Executed.NO, "not here")
    refusal = frame(END, detail_of(said).SerializeToString())
    async with _peer(monkeypatch, _says(refusal)) as address:
        assert await _ends(_dialled(owner), address) == said
    assert owner.stream is None
    assert owner.closes == 0


async def test_the_end_of_an_open_stream_is_raised_too(
    owner: _Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await RawStream.over(reader, writer).read()
        writer.write(frame(ACCEPTED))
        writer.write_eof()
        await RawStream.over(reader, writer).ends()

    async with _peer(monkeypatch, peer) as address:
        failure = await _ends(_dialled(owner), address)
    assert (failure.reason, failure.executed) == (Reason.CONNECTION_LOST, Executed.UNKNOWN)
    assert owner.closes == 1


async def test_a_peer_that_never_answers_is_given_up(
    owner: _Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialled_stream, "HANDSHAKE_MS", 50)
    async with _peer(monkeypatch, _says()) as address:
        failure = await _ends(_dialled(owner), address)
    assert failure.reason is Reason.CONNECTION_LOST
    assert "no answer to the handshake within 50 ms" in failure.message
    assert owner.closes == 0


async def test_a_port_where_nobody_listens(owner: _Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _peer(monkeypatch, _says()) as address:
        pass
    failure = await _ends(_dialled(owner), address)
    assert failure.reason is Reason.CONNECTION_LOST
    assert "cannot connect to port" in failure.message


async def test_the_refusal_of_the_peer_api_is_raised(owner: _Owner) -> None:
    cluster = FakeCluster()
    await cluster.start()
    said = Failure(Reason.UNKNOWN_MEMBER, Executed.NO, "who are you")
    cluster.nodes[0].host.refusal = said
    assert await _ends(_dialled(owner), cluster.nodes[0].bound.peer) == said
    await cluster.stop()


@pytest.mark.parametrize("method", ["opened", "received", "closed"])
async def test_a_bug_of_the_owner_is_raised_as_it_is(
    owner: _Owner, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def break_down(*_any: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(owner, method, break_down)
    goodbye = frame(END, errors_pb2.ErrorDetail().SerializeToString())
    peer = _says(frame(ACCEPTED), frame(DATA, b"x"), goodbye)
    async with _peer(monkeypatch, peer) as address:
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(_dialled(owner).run(address), LIMIT_S)


async def test_nothing_is_taken_back_on_a_stream_of_raft_messages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Failure] = []
    async with _peer(monkeypatch, _says(frame(ACCEPTED), frame(DATA, b"x"), told=told)) as address:
        host = FakeHost(ONE, None, addresses={TWO: address})
        link = FramesLink(host, TWO, LinkStats(), LocalPeer(CLUSTER, ONE, ""))
        link.send([b"r"], [])
        await until(lambda: told, "the end")
        assert told[0].reason is Reason.MALFORMED_FRAME
        await until(lambda: link.stats.failed, "the failure")
        await link.close()
        assert not host.failed
