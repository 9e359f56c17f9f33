"""The blocking client, from several threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
import uvloop

from parti import Client, Message, NotExecuted, Outgoing, Reason, Reply, SyncClient, Worker
from parti.testing import FakeSidecar

T = TypeVar("T")


async def echo(message: Message) -> bytes:
    return message.payload


async def beside(script: Callable[[str], T]) -> T:
    """Run a blocking script beside a served sidecar."""
    async with FakeSidecar(partitions=4) as sidecar, Worker(echo, sidecar.address):
        await sidecar.wait_started()
        return await asyncio.to_thread(script, sidecar.address)


async def test_every_call_blocks_and_returns() -> None:
    def script(address: str) -> None:
        with SyncClient(address) as client:
            client.ready(5)
            assert client.send(partition=1, payload="x").payload == b"x"
            outcomes = client.send_many([Outgoing(partition=n, payload=str(n)) for n in range(4)])
            assert [one.payload for one in outcomes if isinstance(one, Reply)] == [
                b"0",
                b"1",
                b"2",
                b"3",
            ]
            assert client.locate(partition=2).owner_name == "fake-0"
            changes = client.watch_table()
            assert next(changes).whole

    await beside(script)
    assert "parti-client" not in {thread.name for thread in threading.enumerate()}


async def test_threads_share_one_client() -> None:
    def script(address: str) -> list[bytes]:
        with SyncClient(address) as client, ThreadPoolExecutor(8) as threads:
            sends = [
                threads.submit(client.send, partition=n % 4, payload=b"%d" % n) for n in range(200)
            ]
            return [one.result().payload for one in sends]

    assert await beside(script) == [b"%d" % n for n in range(200)]


async def test_errors_are_raised_in_the_calling_thread() -> None:
    def script(address: str) -> NotExecuted:
        with SyncClient(address) as client, pytest.raises(NotExecuted) as caught:
            client.send(key="")
        return caught.value

    assert (await beside(script)).reason is Reason.EMPTY_KEY


def test_closed_client_says_so() -> None:
    client = SyncClient("127.0.0.1:1")
    with pytest.raises(RuntimeError, match="not open"):
        client.send(partition=0)
    client.close()


async def test_loops_one_after_the_other_leave_nothing_to_each_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A gRPC stream that is open at the end would report to a loop that is closed."""

    async def use(address: str) -> None:
        async with Client(address) as client:
            await client.ready(5)
            await client.kv.put("key", "value")
            assert (await client.send(partition=1, payload="x")).payload == b"x"

    def script(address: str) -> None:
        for _ in range(20):
            uvloop.run(use(address))

    await beside(script)
    assert "Event loop is closed" not in caplog.text
