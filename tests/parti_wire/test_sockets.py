"""Sockets of streams: dialled in every family, and set to what streams want."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import ClassVar, cast

import pytest

from parti_sidecar.transport import listen_for_streams
from parti_wire import sockets
from parti_wire.sockets import dial, dial_unix, tune
from tests.parti_sidecar.api_clients import until
from tests.parti_wire.stream_world import on_uvloop


class _Tuned(asyncio.Protocol):
    """Notes what its connection is set to."""

    made: ClassVar[list[_Tuned]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        tune(transport, 1_234)
        connection = transport.get_extra_info("socket")
        self.unconfirmed_ms = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        self.no_delay = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        self.write_limits = transport.get_write_buffer_limits()
        self.made.append(self)
        transport.close()


@pytest.mark.parametrize(
    ("address", "dialled"),
    [
        ("127.0.0.1:0", "127.0.0.1"),
        ("[::1]:0", "::1"),
        ("0.0.0.0:0", "127.0.0.1"),
        ("0.0.0.0:0", "::1"),
        ("[::]:0", "127.0.0.1"),
        ("127.0.0.1:0", "localhost"),
    ],
)
async def test_streams_are_dialled_in_both_families_and_tuned_at_both_ends(
    address: str, dialled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Tuned, "made", [])
    server, bound = await listen_for_streams(address, _Tuned)
    assert bound.rpartition(":")[0] == address.rpartition(":")[0]
    await dial(dialled, int(bound.rpartition(":")[2]), _Tuned)
    await until(lambda: len(_Tuned.made) == 2, "both ends")
    for end in _Tuned.made:
        assert end.unconfirmed_ms == 1_234
        assert end.no_delay
        assert end.write_limits == (sockets.UNWRITTEN_BYTES_LOW, sockets.UNWRITTEN_BYTES_HIGH)
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("every", ["0.0.0.0:0", "[::]:0"])
async def test_a_kernel_without_ipv6_listens_in_the_family_that_it_has(
    every: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    monkeypatch.setattr(_Tuned, "made", [])
    server, bound = await listen_for_streams(every, _Tuned)
    assert [listening.family for listening in server.sockets] == [socket.AF_INET]
    await dial("127.0.0.1", int(bound.rpartition(":")[2]), _Tuned)
    await until(lambda: len(_Tuned.made) == 2, "both ends")
    server.close()
    await server.wait_closed()


@on_uvloop
async def test_unix_sockets_are_tuned_as_far_as_they_can_be(tmp_path: Path) -> None:
    made: list[tuple[int, int]] = []

    class Tuned(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transport = cast("asyncio.Transport", transport)  # uvloop's has other ancestors
            tune(transport, 0)
            made.append(transport.get_write_buffer_limits())
            transport.close()

    path = str(tmp_path / "s")
    server = await asyncio.get_running_loop().create_unix_server(Tuned, path)
    await dial_unix(path, Tuned)
    await until(lambda: len(made) == 2, "both ends")
    assert made == [(sockets.UNWRITTEN_BYTES_LOW, sockets.UNWRITTEN_BYTES_HIGH)] * 2
    server.close()
    await server.wait_closed()
