"""The SDK's streams against sidecars that refuse, lie, are silent, or listen on a unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

import parti
from parti import NotExecuted, Reason, UnknownOutcome
from parti import _limits as limits
from parti._sidecar import SIDE, Sidecar, detail_of
from parti_proto import app_pb2, errors_pb2, kv_pb2, stream_pb2
from parti_wire.sockets import Make, dial
from tests.parti.stories import echo
from tests.parti_sidecar.api_clients import until
from tests.parti_sidecar.fake_host import ANY_PORTS, FakeCluster
from tests.parti_sidecar.raw_streams import ACCEPTED, DATA, DONE, END, HELLO, RawStream, frame

Script = Callable[[RawStream], Coroutine[Any, Any, None]]

WELCOME = app_pb2.Welcome(
    protocol_version=1, partitions=4, payload_bytes_max=1_000, in_flight_max=10
)
CLIENT = frame(ACCEPTED, app_pb2.ResultFrame(welcome=WELCOME).SerializeToString())
WORKER = frame(ACCEPTED, app_pb2.SidecarFrame(welcome=WELCOME).SerializeToString())
STORE = frame(
    ACCEPTED,
    kv_pb2.KvAnswers(
        welcome=kv_pb2.KvWelcome(protocol_version=1, window=10, reads_max=10)
    ).SerializeToString(),
)


@asynccontextmanager
async def _sidecar(monkeypatch: pytest.MonkeyPatch, *scripts: Script) -> AsyncIterator[list[bytes]]:
    """A sidecar whose n-th stream is played by the n-th script, the last one again and again."""
    hellos: list[bytes] = []
    playing: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        playing.add(task)
        stream = RawStream.over(reader, writer)
        try:
            kind, body = await stream.read()
            assert kind == HELLO
            hellos.append(body)
            await scripts[min(len(hellos), len(scripts)) - 1](stream)
        except (EOFError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def dial_here(_: Sidecar, make: Make) -> None:
        await dial("127.0.0.1", port, make)

    monkeypatch.setattr(Sidecar, "_dial", dial_here)
    try:
        yield hellos
    finally:
        server.close()
        for task in playing:
            task.cancel()
        await asyncio.wait(playing)
        await server.wait_closed()


def _says(*frames: bytes) -> Script:
    async def say(stream: RawStream) -> None:
        await stream.send(*frames)
        await stream.ends()

    return say


async def _answers(stream: RawStream) -> None:
    """A client's stream as it should be."""
    await stream.send(CLIENT)
    while True:
        kind, body = await stream.read(60)
        if kind == DATA:
            ids = app_pb2.SendFrame.FromString(body).id
            answer = app_pb2.ResultFrame(id=ids, epoch=[1] * len(ids))
            await stream.send(frame(DATA, answer.SerializeToString()))


BAD_SIDECARS = {
    "garbage in the acceptance": _says(frame(ACCEPTED, b"\xff\xff")),
    "an acceptance without a welcome": _says(frame(ACCEPTED)),
    "data before the acceptance": _says(frame(DATA)),
    "a hello in return": _says(frame(HELLO)),
    "done": _says(CLIENT, frame(DONE)),
    "two acceptances": _says(CLIENT, CLIENT),
    "garbage": _says(CLIENT, frame(DATA, b"\xff\xff")),
    "no frames": _says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "a frame of 17 MiB": _says(CLIENT, (17 << 20).to_bytes(4, "big") + bytes([DATA])),
    "an end in the middle": _says(CLIENT[:10]),
}


@pytest.mark.parametrize("bad", BAD_SIDECARS.values(), ids=BAD_SIDECARS.keys())
async def test_a_client_outlives_a_sidecar_that_speaks_wrongly(
    monkeypatch: pytest.MonkeyPatch, bad: Script
) -> None:
    async with _sidecar(monkeypatch, bad, _answers) as hellos, parti.Client("x:1") as client:
        async with asyncio.timeout(10):
            while True:
                try:
                    reply = await client.send(partition=1, idempotent=True)
                    break
                except NotExecuted as error:
                    assert error.reason in {Reason.MALFORMED_FRAME, Reason.PAYLOAD_TOO_LARGE}  # noqa: PT017
                    await asyncio.sleep(0.01)
        assert reply.epoch == 1
        assert len(hellos) == 2
        said = stream_pb2.AppStreamHello.FromString(hellos[0])
        assert said == stream_pb2.AppStreamHello(kind=stream_pb2.APP_STREAM_KIND_SEND)


async def test_a_sidecar_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONNECT_MS_MAX", 50)
    async with _sidecar(monkeypatch, _says(), _answers), parti.Client("x:1") as client:
        assert (await client.send(partition=1)).epoch == 1


async def test_a_silent_sidecar_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a frozen one: its kernel confirms, it says nothing."""
    monkeypatch.setattr("parti_wire.frame_stream.LOOK_EVERY_MS", 10)
    monkeypatch.setattr("parti_wire.frame_stream.PING_AFTER_MS", 30)
    monkeypatch.setattr("parti._sidecar.SIDE", replace(SIDE, answer_ms=30))
    async with _sidecar(monkeypatch, _says(CLIENT)), parti.Client("x:1") as client:
        with pytest.raises(UnknownOutcome, match="nothing was heard for 60 ms"):
            await client.send(partition=1)


async def test_a_worker_says_hello_first_and_outlives_a_stream_that_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def breaks(stream: RawStream) -> None:
        await stream.send(WORKER)

    worker = parti.Worker(echo, "x:1", credits=7, partition_credits=3, name="w", drain_timeout=0.05)
    async with _sidecar(monkeypatch, breaks, _says(WORKER)) as hellos, worker:
        await until(lambda: worker.counts.attaches == 2, "another stream")
    said = stream_pb2.AppStreamHello.FromString(hellos[0])
    assert said.kind == stream_pb2.APP_STREAM_KIND_WORKER
    hello = app_pb2.WorkerFrame.FromString(said.first).hello
    assert (hello.name, hello.credits, hello.partition_credits) == ("w", 7, 3)


async def test_a_worker_that_handed_everything_over_says_so_and_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "CLOSE_MS_MAX", 50)
    heard: list[tuple[int, bytes]] = []

    async def deaf(stream: RawStream) -> None:
        await stream.send(WORKER)
        while True:
            heard.append(await stream.read())

    async with _sidecar(monkeypatch, deaf):
        async with parti.Worker(echo, "x:1") as worker:
            await worker.ready(5)
        await until(lambda: len(heard) == 2, "the last words")
    assert app_pb2.WorkerFrame.FromString(heard[0][1]).closing
    assert heard[1] == (DONE, b"")


async def test_what_the_store_was_asked_is_asked_again_on_the_next_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def breaks(stream: RawStream) -> None:
        await stream.send(STORE)
        await stream.read()

    async def reads(stream: RawStream) -> None:
        await stream.send(STORE)
        asked = kv_pb2.KvFrame.FromString((await stream.read())[1])
        answer = kv_pb2.KvAnswers(
            read_id=asked.read_id, read_revision=[3], read_created=[2], read_value=[b"v"]
        )
        await stream.send(frame(DATA, answer.SerializeToString()))
        await stream.ends()

    async def serve(stream: RawStream) -> None:
        said = stream_pb2.AppStreamHello.FromString(hellos[-1])
        if said.kind == stream_pb2.APP_STREAM_KIND_SEND:
            await _answers(stream)
        else:
            stores.append(stream)
            await (breaks if len(stores) == 1 else reads)(stream)

    stores: list[RawStream] = []
    async with _sidecar(monkeypatch, serve) as hellos, parti.Client("x:1") as client:
        entry = await client.kv.get("k")
        assert entry is not None
        assert entry.value == b"v"
    assert len(stores) == 2


async def test_the_end_is_told_and_the_words_of_a_bug_are_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[int, bytes]] = []

    async def listen(stream: RawStream) -> None:
        await stream.send(CLIENT, frame(DATA, app_pb2.ResultFrame(id=[1]).SerializeToString()))
        told.append(await stream.read())

    async with _sidecar(monkeypatch, listen), parti.Client("x:1") as client:
        link = client._link
        assert link is not None

        def break_down(*_any: object) -> None:
            raise ValueError("secret")

        monkeypatch.setattr(link.pending, "answer", break_down)
        waiting = asyncio.create_task(client.send(partition=1))
        await until(lambda: told, "the end")
        with pytest.raises(parti.PartiError):
            await waiting
        with pytest.raises(NotExecuted, match="the client is broken") as caught:
            await client.send(partition=1)
        assert caught.value.reason is Reason.INTERNAL
    kind, body = told[0]
    assert kind == END
    detail = errors_pb2.ErrorDetail.FromString(body)
    assert detail.reason == errors_pb2.REASON_INTERNAL
    assert "secret" not in detail.message
    assert "died of a bug" in caplog.text


def test_reasons_are_written_as_the_protocol_has_them() -> None:
    error = NotExecuted("x" * 5_000, Reason.CONFLICT)
    detail = detail_of(error)
    assert detail.reason == errors_pb2.REASON_CONFLICT
    assert detail.executed == errors_pb2.EXECUTED_NO
    assert len(detail.message) == limits.ERROR_TEXT_CHARS_MAX


@pytest.mark.parametrize("prefix", ["unix:", "unix://"])
async def test_a_sidecar_behind_a_unix_socket(tmp_path: Path, prefix: str) -> None:
    cluster = FakeCluster(partitions=2)
    node = cluster.nodes[0]
    await node.start(replace(ANY_PORTS, app_socket=str(tmp_path / "app.sock")))
    cluster.open_session(node.host)
    address = f"{prefix}{tmp_path}/app.sock"
    worker = parti.Worker(echo, address, drain_timeout=0.05)  # nobody takes anything back here
    async with worker, parti.Client(address) as client:
        await worker.ready(5)
        for partition in range(2):
            cluster.grant(partition, node.host)
        assert (await client.send(partition=1, payload=b"hello")).payload == b"hello"
    await node.stop()


@pytest.mark.parametrize("host", ["[::1]", "localhost"])
async def test_streams_are_dialled_at_the_host_of_the_address(host: str) -> None:
    cluster = FakeCluster()
    node = cluster.nodes[0]
    bind = host if host.startswith("[") else "127.0.0.1"
    await node.start(replace(ANY_PORTS, app=f"{bind}:0"))
    port = node.bound.app.rpartition(":")[2]
    async with parti.Client(f"{host}:{port}") as client:
        await client.ready(5)
    await node.stop()


async def test_a_sidecar_older_than_the_sdk_is_named() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with parti.Client(f"127.0.0.1:{port}") as client:
        with pytest.raises(NotExecuted, match="older than this SDK") as caught:
            await client.ready(5)
        assert caught.value.reason is Reason.PROTOCOL_VERSION
    await server.stop(None)
