"""What the network does to the bytes of real connections."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress

import pytest

from tests.process.chaos.diallers import SUPPORTED
from tests.process.chaos.network import HOST, VIA, Network
from tests.process.chaos.ways import CLEAR, Condition

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="asks Linux who dials")

WAIT_S = 5.0
A_MOMENT_S = 0.1
CUT = Condition(cut=True)


class Peers:
    """A dialler `a`, which is this process, and a listener `b`, through the network."""

    def __init__(self, network: Network, port: int) -> None:
        self.network = network
        self.port = port
        self.open: list[asyncio.StreamWriter] = []
        self.accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            asyncio.Queue()
        )

    async def dial(self) -> Connection:
        near = await asyncio.open_connection(VIA, self.port)
        self.open.append(near[1])
        async with asyncio.timeout(WAIT_S):
            far = await self.accepted.get()
        return Connection(near, far)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.append(writer)
        await self.accepted.put((reader, writer))

    async def close(self) -> None:
        for writer in self.open:
            writer.close()
            with suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), WAIT_S)


class Connection:
    """Both sides of one connection."""

    def __init__(
        self,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.near_in, self.near_out = near
        self.far_in, self.far_out = far

    async def passes(self) -> None:
        self.near_out.write(b"there")
        assert await wait(self.far_in.readexactly(5)) == b"there"
        self.far_out.write(b"back")
        assert await wait(self.near_in.readexactly(4)) == b"back"


async def wait(reading: Coroutine[None, None, bytes]) -> bytes:
    return await asyncio.wait_for(reading, WAIT_S)


async def hears_nothing(reader: asyncio.StreamReader) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), A_MOMENT_S)


@asynccontextmanager
async def peers() -> AsyncIterator[Peers]:
    network = Network(lambda: {os.getpid(): "a"})
    with socket.create_server((HOST, 0)) as listening:
        port = listening.getsockname()[1]
        made = Peers(network, port)
        server = await asyncio.start_server(made.take, sock=listening)
        await network.add("b", [port])
        try:
            yield made
        finally:
            server.close()
            await network.close()
            await made.close()


async def test_bytes_pass_both_ways_and_the_dialler_is_known() -> None:
    async with peers() as two:
        connection = await two.dial()
        await connection.passes()
        assert len(two.network.between("a", "b")) == 1
        connection.near_out.close()
        assert await wait(connection.far_in.read()) == b""


async def test_a_process_that_is_no_member_passes_unharmed() -> None:
    network = Network(dict)
    assert network.between("a", "b") == []
    async with peers() as two:
        two.network._processes = dict
        two.network.change([("a", "b"), ("b", "a")], CUT)
        connection = await two.dial()
        await connection.passes()


async def test_a_cut_holds_bytes_of_one_way_until_it_is_healed() -> None:
    async with peers() as two:
        connection = await two.dial()
        two.network.change([("a", "b")], CUT)
        connection.near_out.write(b"held")
        connection.far_out.write(b"free")
        assert await wait(connection.near_in.readexactly(4)) == b"free"
        await hears_nothing(connection.far_in)
        two.network.heal()
        assert await wait(connection.far_in.readexactly(4)) == b"held"


async def test_the_end_of_a_connection_waits_behind_a_cut() -> None:
    async with peers() as two:
        connection = await two.dial()
        two.network.change([("a", "b")], CUT)
        connection.near_out.close()
        await hears_nothing(connection.far_in)
        two.network.heal()
        assert await wait(connection.far_in.read()) == b""


async def test_nobody_is_dialled_through_a_cut() -> None:
    async with peers() as two:
        two.network.change([("a", "b")], CUT)
        dialling = asyncio.create_task(two.dial())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(dialling), A_MOMENT_S)
        two.network.heal()
        connection = await asyncio.wait_for(dialling, WAIT_S)
        await connection.passes()


async def test_a_slow_way_takes_its_time_and_keeps_the_order() -> None:
    async with peers() as two:
        connection = await two.dial()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        two.network.change([("a", "b")], Condition(delay_ms=100))
        connection.near_out.write(b"12")
        assert await wait(connection.far_in.readexactly(2)) == b"12"
        assert loop.time() - begun >= 0.1
        two.network.change([("a", "b")], Condition(bytes_per_s=100_000))
        begun, sent = loop.time(), os.urandom(30_000)
        for at in range(0, len(sent), 1_000):
            connection.near_out.write(sent[at : at + 1_000])
            await connection.near_out.drain()
            await asyncio.sleep(0)
        assert await wait(connection.far_in.readexactly(len(sent))) == sent
        two.network.change([("a", "b")], CLEAR)
        await connection.passes()


async def test_what_is_held_is_bounded() -> None:
    async with peers() as two:
        connection = await two.dial()
        two.network.change([("a", "b")], CUT)
        connection.near_out.write(bytes(64 << 20))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.near_out.drain(), A_MOMENT_S)
        two.network.heal()
        assert await wait(connection.far_in.readexactly(64 << 20)) == bytes(64 << 20)


async def test_a_reset_breaks_both_sides() -> None:
    async with peers() as two:
        connection = await two.dial()
        await connection.passes()
        (relay,) = two.network.between("a", "b")
        relay.reset()
        for reader in (connection.near_in, connection.far_in):
            with pytest.raises(ConnectionResetError):
                await wait(reader.read())
        assert two.network.between("a", "b") == []


async def test_half_open_means_that_one_side_does_not_know() -> None:
    async with peers() as two:
        connection = await two.dial()
        await connection.passes()
        (relay,) = two.network.between("a", "b")
        relay.half_open()
        with pytest.raises(ConnectionResetError):
            await wait(connection.far_in.read())
        connection.near_out.write(b"into the void")
        await hears_nothing(connection.near_in)


async def test_a_member_that_does_not_listen_is_a_broken_connection() -> None:
    network = Network(lambda: {os.getpid(): "a"})
    with socket.create_server((HOST, 0)) as listening:
        port = listening.getsockname()[1]
    await network.add("b", [port])
    reader, writer = await asyncio.open_connection(VIA, port)
    with pytest.raises(ConnectionResetError):
        await wait(reader.read())
    writer.close()
    with suppress(ConnectionResetError):
        await writer.wait_closed()
    await network.close()
