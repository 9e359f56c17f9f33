"""Links against members that refuse or lie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from parti_proto import peer_pb2
from parti_shard.errors import Executed, Failure, PartiError, Reason
from parti_shard.ids import MemberId
from parti_sidecar import peer_dialling
from parti_sidecar.frames_link import FramesLink
from parti_sidecar.handshakes import LocalPeer
from parti_sidecar.link import LinkStats
from tests.parti_sidecar.api_clients import until
from tests.parti_sidecar.fake_host import CLUSTER, FakeCluster, FakeHost
from tests.parti_sidecar.raw_streams import ACCEPTED, DATA, RawStream, frame

ONE, TWO = MemberId(1), MemberId(2)


@asynccontextmanager
async def _link(
    monkeypatch: pytest.MonkeyPatch, told: list[Failure], *says: bytes
) -> AsyncIterator[tuple[FramesLink, FakeHost]]:
    """A link to a member that answers the hello with these bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = RawStream.over(reader, writer)
        await stream.read()
        await stream.send(*says)
        told.append(await stream.ends_with())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def ask_port(_address: str, _handshake: object) -> int:
        return int(port)

    monkeypatch.setattr(peer_dialling, "ask_port", ask_port)
    host = FakeHost(ONE, None, addresses={TWO: "127.0.0.1:1"})
    link = FramesLink(host, TWO, LinkStats(), LocalPeer(CLUSTER, ONE, ""))
    link.send([b"r"], [])
    try:
        yield link, host
    finally:
        await link.close()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    "says",
    [(frame(ACCEPTED), frame(DATA, b"x")), (frame(ACCEPTED, b"x"),)],
    ids=["an answer to raft messages", "an acceptance with words"],
)
async def test_what_members_do_not_say_ends_the_link(
    monkeypatch: pytest.MonkeyPatch, says: tuple[bytes, ...]
) -> None:
    told: list[Failure] = []
    async with _link(monkeypatch, told, *says) as (link, host):
        await until(lambda: told, "the end")
        assert told[0].reason is Reason.MALFORMED_FRAME
        await until(lambda: link.stats.failed, "the failure")
    assert not host.failed


async def test_the_refusal_of_the_peer_api_is_raised() -> None:
    cluster = FakeCluster()
    await cluster.start()
    said = Failure(Reason.UNKNOWN_MEMBER, Executed.NO, "who are you")
    cluster.nodes[0].host.refusal = said
    hello = peer_pb2.StreamHello(handshake=LocalPeer(CLUSTER, ONE, "").handshake(TWO))
    host = FakeHost(ONE, None)
    link = FramesLink(host, TWO, LinkStats(), LocalPeer(CLUSTER, ONE, ""))
    with pytest.raises(PartiError) as caught:
        await peer_dialling.run_stream(link, hello, cluster.nodes[0].bound.peer)
    assert caught.value.failure == said
    await link.close()
    await cluster.stop()
