"""Addresses and options: what is bound, what is refused, and that the options have their effect."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from parti_sidecar import transport
from parti_sidecar.transport import (
    BindError,
    Purpose,
    UnixSocket,
    bind,
    listen_for_streams,
    make_server,
    open_channel,
)


@pytest.fixture
async def server() -> AsyncIterator[grpc.aio.Server]:
    made = make_server()
    yield made
    await made.stop(None)


WRONG_ADDRESSES = [
    ("5100", "ip:port"),
    ("127.0.0.1:", "ip:port"),
    ("127.0.0.1:http", "ip:port"),
    ("127.0.0.1:99999", "above 65535"),
    ("localhost:0", "literal IP"),
    (":0", "literal IP"),
    ("::1:0", "brackets"),
    ("[127.0.0.1]:0", "brackets"),
]


@pytest.mark.parametrize(
    ("address", "says"), [*WRONG_ADDRESSES, ("192.0.2.1:0", "not an address of this machine")]
)
async def test_a_wrong_address_is_refused_by_name(
    server: grpc.aio.Server, address: str, says: str
) -> None:
    with pytest.raises(BindError, match=says) as caught:
        bind(server, address)
    assert repr(address) in str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0"])
async def test_port_zero_gives_the_port_that_was_bound(
    server: grpc.aio.Server, address: str
) -> None:
    bound = bind(server, address)
    assert bound.rpartition(":")[0] == address.rpartition(":")[0]
    assert int(bound.rpartition(":")[2]) > 0


async def test_a_port_in_use_is_not_shared(server: grpc.aio.Server) -> None:
    bound = bind(server, "127.0.0.1:0")
    await server.start()
    second = make_server()
    with pytest.raises(BindError, match="in use"):
        bind(second, bound)
    await second.stop(None)


async def test_a_live_unix_socket_is_not_replaced(server: grpc.aio.Server, tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    held = UnixSocket(path)
    assert held.bind(server) == f"unix:{path}"
    mode = stat.S_IMODE(os.stat(path).st_mode)  # noqa: PTH116  # no blocking worth a thread
    assert mode == 0o660, oct(mode)
    second = make_server()
    with pytest.raises(BindError, match="another process holds it"):
        UnixSocket(path).bind(second)
    await second.stop(None)
    held.release()
    held.release()


async def test_a_released_unix_socket_can_be_bound_again(
    server: grpc.aio.Server, tmp_path: Path
) -> None:
    path = str(tmp_path / "app.sock")
    first_server = make_server()
    first = UnixSocket(path)
    first.bind(first_server)
    await first_server.start()
    await first_server.stop(None)
    first.release()
    second = UnixSocket(path)
    second.bind(server)
    second.release()


class _HangsUp(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def test_streams_have_a_unix_socket_beside_that_of_the_api(
    server: grpc.aio.Server, tmp_path: Path
) -> None:
    path = tmp_path / ("a" * (transport.SOCKET_PATH_BYTES_MAX - len(str(tmp_path)) - 1))
    held = UnixSocket(str(path))
    held.bind(server)
    beside = tmp_path / held.streams_name
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(beside))
    before = os.umask(0o027)
    listening = await held.listen_for_streams(_HangsUp)
    assert os.umask(before) == 0o027
    mode = stat.S_IMODE(os.stat(beside).st_mode)  # noqa: PTH116  # no blocking worth a thread
    assert mode == 0o660, oct(mode)
    reader, writer = await asyncio.open_unix_connection(str(beside))
    assert await reader.read() == b""
    writer.close()
    listening.close()
    await listening.wait_closed()
    held.release()
    assert not beside.exists()  # a folder of this test


async def test_a_file_where_the_socket_of_streams_should_be_stays(
    server: grpc.aio.Server, tmp_path: Path
) -> None:
    held = UnixSocket(str(tmp_path / "app.sock"))
    held.bind(server)
    beside = tmp_path / held.streams_name
    beside.write_text("mine")
    with pytest.raises(BindError, match=r"app\.sock\.streams"):
        await held.listen_for_streams(asyncio.Protocol)
    assert beside.read_text() == "mine"
    beside.unlink()
    held.release()


@pytest.mark.parametrize(
    ("name", "says"), [("x" * 120, "over 99 bytes"), ("no/such/folder", "no lock file")]
)
async def test_a_wrong_socket_path_is_refused(
    server: grpc.aio.Server, tmp_path: Path, name: str, says: str
) -> None:
    with pytest.raises(BindError, match=says):
        UnixSocket(str(tmp_path / name)).bind(server)


async def test_a_file_where_the_socket_should_be_is_refused_and_unlocked(
    server: grpc.aio.Server, tmp_path: Path
) -> None:
    path = tmp_path / "app.sock"
    path.write_text("mine")
    with pytest.raises(BindError, match="not free for a socket"):
        UnixSocket(str(path)).bind(server)
    path.unlink()
    again = UnixSocket(str(path))
    again.bind(server)
    again.release()


async def test_the_umask_is_as_before(server: grpc.aio.Server, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        held = UnixSocket(str(tmp_path / "app.sock"))
        held.bind(server)
        held.release()
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


async def test_each_purpose_has_a_connection_of_its_own(server: grpc.aio.Server) -> None:
    connections: set[str] = set()

    async def whoami(_request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        connections.add(context.peer())
        return b""

    handlers = {"WhoAmI": grpc.unary_unary_rpc_method_handler(whoami)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", handlers),))
    bound = bind(server, "127.0.0.1:0")
    await server.start()
    for purpose in Purpose:
        async with open_channel(bound, purpose) as first, open_channel(bound, purpose) as second:
            await first.unary_unary("/t.T/WhoAmI")(b"", timeout=5)
            await second.unary_unary("/t.T/WhoAmI")(b"", timeout=5)
    assert len(connections) == 2 * len(Purpose)


async def test_a_frozen_server_breaks_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and then says nothing more, as a stopped process does."""
    quick = {"grpc.keepalive_time_ms": 200, "grpc.http2.ping_timeout_ms": 200}
    options = [(name, quick.get(name, value)) for name, value in transport._CHANNEL]
    monkeypatch.setattr(transport, "_CHANNEL", options)
    settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"  # an empty HTTP/2 SETTINGS frame
    release = asyncio.Event()

    async def freeze(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(settings)
        await release.wait()
        writer.close()

    frozen = await asyncio.start_server(freeze, "127.0.0.1", 0)
    port = frozen.sockets[0].getsockname()[1]
    async with open_channel(f"127.0.0.1:{port}", Purpose.CALLS) as channel:
        call = channel.stream_unary("/t.T/Never")(timeout=10)
        await call.write(b"x")
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert "ping timeout" in await call.details()
    release.set()
    frozen.close()
    await frozen.wait_closed()


@pytest.mark.parametrize(
    ("address", "says"), [*WRONG_ADDRESSES, ("192.0.2.1:0", "Cannot assign requested address")]
)
async def test_a_wrong_address_of_streams_is_refused_by_name(address: str, says: str) -> None:
    with pytest.raises(BindError, match=says) as caught:
        await listen_for_streams(address, asyncio.Protocol)
    assert repr(address) in str(caught.value)


async def test_a_port_of_streams_is_not_shared() -> None:
    server, bound = await listen_for_streams("127.0.0.1:0", asyncio.Protocol)
    with pytest.raises(BindError, match="in use"):
        await listen_for_streams(bound, asyncio.Protocol)
    server.close()
    await server.wait_closed()
