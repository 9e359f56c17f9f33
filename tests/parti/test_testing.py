"""What applications test with."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest

from parti import Client, Message, NotExecuted, Worker
from parti.testing import FakeSidecar, run_handler
from parti_proto import app_pb2


async def echo(message: Message) -> str:
    return f"{message.partition} {message.epoch} {message.key.decode()} {message.payload.decode()}"


async def test_run_handler_calls_async_and_plain_handlers() -> None:
    def plain(message: Message) -> bytes:
        return b"%d" % message.epoch

    assert await run_handler(echo, "p", key="k", partition=2, epoch=3) == b"2 3 k p"
    assert await run_handler(plain, epoch=7) == b"7"


async def test_run_handler_shows_headers_and_remaining_time() -> None:
    async def handle(message: Message) -> None:
        assert message.headers == {"a": "b"}
        assert 0 < message.remaining <= 5

    assert await run_handler(handle, headers={"a": "b"}, timeout=5) == b""


async def test_run_handler_refuses_what_a_worker_would() -> None:
    async def handle(message: Message) -> bytes:
        return 5  # type: ignore[return-value]

    with pytest.raises(TypeError, match="bytes, str or None"):
        await run_handler(handle)


async def test_held_messages_are_parked_and_then_delivered() -> None:
    async with (
        FakeSidecar(partitions=2) as sidecar,
        Worker(echo, sidecar.address),
        Client(sidecar.address) as client,
    ):
        sidecar.hold()
        sends = [asyncio.create_task(client.send(partition=n % 2)) for n in range(10)]
        await sidecar.wait_until(lambda: sidecar.parked_count == 10, 5)
        sidecar.resume()
        await asyncio.gather(*sends)


async def test_moving_under_load_loses_nothing_and_epochs_rise() -> None:
    async with (
        FakeSidecar(partitions=2) as sidecar,
        Worker(echo, sidecar.address),
        Client(sidecar.address) as client,
    ):
        await sidecar.wait_started()

        async def load() -> list[int]:
            return [(await client.send(partition=0)).epoch for _ in range(300)]

        loading = asyncio.create_task(load())
        moved = [await sidecar.move(0) for _ in range(20)]
        epochs = await loading
    assert moved == list(range(2, 22))
    assert epochs == sorted(epochs)


async def test_two_fakes_have_ports_of_their_own() -> None:
    async with FakeSidecar() as one, FakeSidecar() as two:
        assert one.address != two.address


async def test_unary_send_of_other_languages_works_too() -> None:
    async with FakeSidecar() as sidecar, Worker(echo, sidecar.address):
        await sidecar.wait_started()
        async with grpc.aio.insecure_channel(sidecar.address) as channel:
            send = channel.unary_unary(
                "/parti.v1.Router/Send",
                request_serializer=app_pb2.SendRequest.SerializeToString,
                response_deserializer=app_pb2.SendReply.FromString,
            )
            reply = await send(app_pb2.SendRequest(partition=3, payload=b"p"), timeout=5)
            assert (reply.payload, reply.partition, reply.epoch) == (b"3 1  p", 3, 1)
            with pytest.raises(grpc.aio.AioRpcError):
                await send(app_pb2.SendRequest(partition=999), timeout=5)


async def test_full_parking_refuses() -> None:
    async with FakeSidecar(partitions=1, in_flight_max=10_000) as sidecar:
        sidecar.hold()
        async with Client(sidecar.address, retry=False) as client:
            sends = [asyncio.create_task(client.send(partition=0)) for _ in range(4_097)]
            with pytest.raises(NotExecuted, match="PARKING_FULL"):
                await sends[-1]
        await asyncio.gather(*sends, return_exceptions=True)
