"""Streams of applications on plain sockets: the same machines as behind gRPC, byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf.message import Message

from parti_proto import app_pb2, kv_pb2, stream_pb2
from parti_shard import streams
from parti_shard.errors import Executed, Failure, Reason
from parti_shard.ids import MemberId
from parti_sidecar import app_streams, client_stream, kv_stream, stream_listener
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.servers import ApiServers, ApiSettings
from parti_sidecar.status import INTERNAL_TEXT
from tests.parti_sidecar.api_clients import Client, EchoWorker, until
from tests.parti_sidecar.driver_world import drivers
from tests.parti_sidecar.fake_host import ANY_PORTS, CLUSTER, FakeCluster, FakeHost, Node
from tests.parti_sidecar.raw_streams import (
    ACCEPTED,
    DATA,
    DONE,
    HELLO,
    PING,
    PONG,
    RawStream,
    frame,
)

PARTITIONS = 4
SEND = stream_pb2.APP_STREAM_KIND_SEND
WORKER = stream_pb2.APP_STREAM_KIND_WORKER
KV = stream_pb2.APP_STREAM_KIND_KV
NAMES = {SEND: "Router.SendStream", WORKER: "Worker.Attach", KV: "KV.Stream"}


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    made = FakeCluster(partitions=PARTITIONS)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def node(cluster: FakeCluster) -> Node:
    return cluster.nodes[0]


@pytest.fixture
async def client(node: Node) -> AsyncIterator[Client]:
    async with Client(node.bound.app) as made:
        yield made


@pytest.fixture
async def address(client: Client) -> str:
    """Where the streams of applications are dialled."""
    return await _address(client)


@pytest.fixture
async def stream(address: str) -> AsyncIterator[RawStream]:
    async with RawStream(address) as made:
        yield made


@pytest.fixture
async def worker(cluster: FakeCluster, client: Client) -> AsyncIterator[EchoWorker]:
    """An echo worker on a gRPC stream, with all partitions."""
    made = EchoWorker(client)
    await until(lambda: made.welcome, "the worker's welcome")
    for partition in range(PARTITIONS):
        cluster.grant(partition, cluster.nodes[0].host)
    await until(lambda: len(made.started) == PARTITIONS, "the assignments")
    yield made
    await made.stop()


async def _address(client: Client) -> str:
    reply = await client.open("Router.StreamAddress", app_pb2.StreamAddressRequest())
    return f"127.0.0.1:{reply.port}"


def _hello(kind: int, first: Message | None = None) -> bytes:
    said = stream_pb2.AppStreamHello(
        kind=kind,  # type: ignore[arg-type]  # also wrong ones
        first=b"" if first is None else first.SerializeToString(),
    )
    return frame(HELLO, said.SerializeToString())


def _worker_hello(*, version: int = 1) -> app_pb2.WorkerFrame:
    hello = app_pb2.Hello(protocol_version=version, name="w", credits=8, partition_credits=8)
    return app_pb2.WorkerFrame(hello=hello)


def _data(message: Message) -> bytes:
    return frame(DATA, message.SerializeToString())


async def _accepted(stream: RawStream, hello: bytes) -> bytes:
    await stream.send(hello)
    kind, greeting = await stream.read()
    assert kind == ACCEPTED
    return greeting


async def _results(stream: RawStream) -> app_pb2.ResultFrame:
    kind, body = await stream.read()
    assert kind == DATA
    return app_pb2.ResultFrame.FromString(body)


# --- what all kinds have in common ---------------------------------------------------------------

MALFORMED = {
    "data": (frame(DATA), "App.Stream"),
    "accepted": (frame(ACCEPTED), "App.Stream"),
    "done": (frame(DONE), "App.Stream"),
    "garbage in the hello": (frame(HELLO, b"\xff\xff"), "App.Stream"),
    "no kind": (_hello(0), "App.Stream"),
    "a kind of tomorrow": (_hello(99), "App.Stream"),
    "no kind of frame": (frame(99), "App.Stream"),
    "a second hello": (_hello(SEND) * 2, "Router.SendStream"),
    "garbage": (_hello(SEND) + frame(DATA, b"\xff\xff"), "Router.SendStream"),
    "arrays": (_hello(SEND) + _data(app_pb2.SendFrame(id=[1], key=[b"a"] * 2)), NAMES[SEND]),
    "data after done": (_hello(SEND) + frame(DONE) + frame(DATA), "Router.SendStream"),
    "done twice": (
        _hello(SEND) + _data(app_pb2.SendFrame(id=[1])) + frame(DONE) * 2,
        "Router.SendStream",
    ),
    "garbage of a worker": (
        frame(HELLO, stream_pb2.AppStreamHello(kind=WORKER, first=b"\xff").SerializeToString()),
        "Worker.Attach",
    ),
    "a worker without a hello": (_hello(WORKER), "Worker.Attach"),
}


@pytest.mark.parametrize(("says", "rpc"), MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_is_malformed_ends_its_stream_and_serving_goes_on(
    node: Node, stream: RawStream, client: Client, worker: EchoWorker, says: bytes, rpc: str
) -> None:
    await stream.send(says)
    failure = await stream.ends_with()
    assert (failure.reason, failure.executed) == (Reason.MALFORMED_FRAME, Executed.NO)
    assert node.meter.errors[rpc, "MALFORMED_FRAME"] == 1
    assert not node.meter.bugs
    reply = await client.open("Router.Send", app_pb2.SendRequest(partition=1, payload=b"still"))
    assert reply.payload == b"still"


async def test_frames_beyond_the_limits_are_refused_by_their_header(
    node: Node, address: str
) -> None:
    for says in (
        ((stream_listener.HELLO_BYTES_MAX + 1).to_bytes(4, "big") + bytes([HELLO])),
        _hello(SEND) + ((16 << 20) + 1).to_bytes(4, "big") + bytes([DATA]),
        b"GET / HTTP/1.1\r\n\r\n",
    ):
        async with RawStream(address) as stream:
            await stream.send(says)
            assert (await stream.ends_with()).reason is Reason.PAYLOAD_TOO_LARGE
    assert node.meter.errors["App.Stream", "PAYLOAD_TOO_LARGE"] == 2
    assert node.meter.errors["Router.SendStream", "PAYLOAD_TOO_LARGE"] == 1


async def test_a_silent_connection_is_sent_away(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_listener, "FIRST_FRAME_MS", 50)
    async with RawStream(address) as stream:
        failure = await stream.ends_with()
    assert "no first frame within 50 ms" in failure.message


async def test_more_streams_than_the_limit_are_refused(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_listener, "STREAMS_MAX", 1)
    async with RawStream(address) as first, RawStream(address) as second:
        await _accepted(first, _hello(SEND))
        assert (await second.ends_with()).reason is Reason.OVERLOADED
        await first.send(frame(PING))
        assert (await first.read())[0] == PONG


@pytest.mark.parametrize("kind", [SEND, WORKER, KV])
async def test_before_there_is_a_member_streams_are_not_ready(kind: int) -> None:
    node = Node(FakeHost(MemberId(1), None))
    await node.start()
    async with Client(node.bound.app) as client, RawStream(await _address(client)) as stream:
        await stream.send(_hello(kind, _worker_hello() if kind == WORKER else None))
        failure = await stream.ends_with()
        assert (failure.reason, failure.executed) == (Reason.NOT_READY, Executed.NO)
    await node.stop()


async def test_the_unix_socket_has_one_for_streams_beside_it(tmp_path: Path) -> None:
    cluster = FakeCluster()
    node = cluster.nodes[0]
    await node.start(replace(ANY_PORTS, app_socket=str(tmp_path / "app.sock")))
    async with Client(f"unix:{tmp_path}/app.sock") as client:
        reply = await client.open("Router.StreamAddress", app_pb2.StreamAddressRequest())
    assert reply.socket_name == "app.sock.streams"
    reader, writer = await asyncio.open_unix_connection(tmp_path / reply.socket_name)
    stream = RawStream.over(reader, writer)
    greeting = await _accepted(stream, _hello(SEND))
    assert app_pb2.ResultFrame.FromString(greeting).welcome.cluster_id == CLUSTER
    writer.close()
    await node.stop()
    assert not (tmp_path / reply.socket_name).exists()


async def test_the_end_of_the_process_is_told(node: Node, stream: RawStream) -> None:
    await _accepted(stream, _hello(SEND))
    ending = asyncio.create_task(node.stop())
    assert (await stream.ends_with()).reason is Reason.DRAINING
    stream.stop_sending()
    await ending


async def test_a_bug_is_counted_and_its_words_stay_inside(
    node: Node, stream: RawStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_any: object) -> None:
        raise ValueError("secret words")

    assert node.host.router is not None
    await _accepted(stream, _hello(SEND))
    monkeypatch.setattr(node.host.router, "client_frame", break_down)
    await stream.send(_data(app_pb2.SendFrame(id=[1])))
    failure = await stream.ends_with()
    assert (failure.reason, failure.message) == (Reason.INTERNAL, INTERNAL_TEXT)
    assert node.meter.bugs == 1


async def test_an_application_has_patience_that_a_member_has_not(stream: RawStream) -> None:
    """Its handlers may hold the loop that should answer; and what its kernel takes is enough."""
    side = app_streams.Applications.side
    assert side.answer_ms == 10_000
    assert side.unconfirmed_ms == 0


# --- clients -------------------------------------------------------------------------------------


async def test_messages_are_answered_and_done_ends_the_stream_without_a_word(
    node: Node, stream: RawStream, worker: EchoWorker
) -> None:
    welcome = app_pb2.ResultFrame.FromString(await _accepted(stream, _hello(SEND))).welcome
    assert (welcome.cluster_id, welcome.partitions) == (CLUSTER, PARTITIONS)
    await stream.send(
        _data(app_pb2.SendFrame(id=[7, 8], partition=[0, 1], payload=[b"a", b"b"])), frame(DONE)
    )
    answered: dict[int, bytes] = {}
    while len(answered) < 2:
        results = await _results(stream)
        answered.update(zip(results.id, results.payload, strict=True))
    assert answered == {7: b"a", 8: b"b"}
    with pytest.raises(EOFError):
        await stream.read()
    assert node.meter.messages["Router.SendStream", "in"] == 2
    assert node.meter.messages["Router.SendStream", "out"] == 2
    await until(lambda: node.meter.seconds["Router.SendStream"].sum_seconds, "the end")
    assert not node.meter.errors


async def test_answers_go_to_a_client_that_is_done_for_a_bounded_time(
    stream: RawStream, worker: EchoWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_streams, "HALF_CLOSED_MS", 50)
    worker.answers = False
    await _accepted(stream, _hello(SEND))
    await stream.send(_data(app_pb2.SendFrame(id=[1], partition=[0])), frame(DONE))
    with pytest.raises(EOFError):
        await stream.read()
    assert worker.delivered


async def test_a_client_that_goes_away_takes_its_writer_along(
    node: Node, address: str, client: Client
) -> None:
    before = node.host.writers()
    async with RawStream(address) as stream:
        await _accepted(stream, _hello(SEND))
        assert len(node.host.writers()) == len(before) + 1
        stream.reset()
    await until(lambda: node.host.writers() == before, "the end of the writer")


async def test_a_leaving_sidecar_answers_what_it_took_and_says_so(
    node: Node, address: str, worker: EchoWorker
) -> None:
    assert node.servers is not None
    worker.answers = False
    async with RawStream(address) as idle, RawStream(address) as busy:
        for each in (idle, busy):
            await _accepted(each, _hello(SEND))
        await busy.send(_data(app_pb2.SendFrame(id=[1], partition=[0], payload=[b"taken"])))
        await until(lambda: worker.delivered, "the delivery")
        leaving = asyncio.create_task(node.servers.leave_clients())
        for each in (idle, busy):
            assert (await _results(each)).draining
            await each.send(frame(DONE))
        _draining(await idle.ends_with())
        assert not leaving.done()
        await worker.answer_all()
        assert list((await _results(busy)).id) == [1]
        _draining(await busy.ends_with())
    await leaving
    async with RawStream(address) as late:
        await late.send(_hello(SEND))
        _draining(await late.ends_with())


async def test_a_client_that_does_not_hear_of_the_end_is_heard_no_more(
    node: Node, stream: RawStream, worker: EchoWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert node.servers is not None
    monkeypatch.setattr(client_stream, "LEAVING_MS", 20)
    worker.answers = False
    await _accepted(stream, _hello(SEND))
    await stream.send(_data(app_pb2.SendFrame(id=[1], partition=[0], payload=[b"taken"])))
    await until(lambda: worker.delivered, "the delivery")
    leaving = asyncio.create_task(node.servers.leave_clients())
    assert node.servers._router is not None
    (machine,) = node.servers._router._streams
    await until(lambda: not machine._taking, "the end of patience")
    await stream.send(_data(app_pb2.SendFrame(id=[2], partition=[2], payload=[b"too late"])))
    await stream.send(frame(PING))
    while (await stream.read())[0] != PONG:
        pass
    await worker.answer_all()
    _draining(await stream.ends_with())
    await leaving
    assert worker.delivered == [b"taken"]


def _draining(failure: Failure) -> None:
    assert (failure.reason, failure.executed) == (Reason.DRAINING, Executed.NO)


# --- workers -------------------------------------------------------------------------------------


async def test_a_worker_is_served_and_lets_go_when_it_is_done(
    cluster: FakeCluster, node: Node, client: Client, stream: RawStream
) -> None:
    greeting = await _accepted(stream, _hello(WORKER, _worker_hello()))
    assert app_pb2.SidecarFrame.FromString(greeting).welcome.cluster_id == CLUSTER
    cluster.grant(3, node.host)
    told = app_pb2.SidecarFrame()
    while not told.assign:
        told.MergeFrom(app_pb2.SidecarFrame.FromString((await stream.read())[1]))
    await stream.send(_data(app_pb2.WorkerFrame(started=[app_pb2.Started(partition=3, epoch=1)])))
    sending = client.open("Router.Send", app_pb2.SendRequest(partition=3, payload=b"p"))
    told = app_pb2.SidecarFrame()
    while not told.deliver.id:
        told.MergeFrom(app_pb2.SidecarFrame.FromString((await stream.read())[1]))
    results = app_pb2.Results(id=told.deliver.id, payload=[b"answer"])
    await stream.send(_data(app_pb2.WorkerFrame(results=results)))
    assert (await sending).payload == b"answer"
    (writer,) = (each for each in node.host.writers() if each.kind == streams.WORKER)
    await stream.send(frame(DONE))
    await stream.ends()
    await until(lambda: writer not in node.host.writers(), "the end")
    await until(lambda: node.meter.seconds["Worker.Attach"].sum_seconds, "the end of the stream")
    assert not node.meter.errors


async def test_a_replaced_worker_is_told_so_before_its_stream_ends(
    address: str, stream: RawStream
) -> None:
    await _accepted(stream, _hello(WORKER, _worker_hello()))
    async with RawStream(address) as newer:
        await _accepted(newer, _hello(WORKER, _worker_hello()))
        told = app_pb2.SidecarFrame()
        while not told.closed:
            kind, body = await stream.read()
            assert kind == DATA
            told.MergeFrom(app_pb2.SidecarFrame.FromString(body))
        # Results that cross the last frame must not destroy it, nor trouble anybody.
        await stream.send(_data(app_pb2.WorkerFrame(results=app_pb2.Results(id=[1]))))
        with pytest.raises(EOFError):
            await stream.read()


async def test_another_version_of_a_worker_is_refused(stream: RawStream) -> None:
    await stream.send(_hello(WORKER, _worker_hello(version=2)))
    failure = await stream.ends_with()
    assert (failure.reason, failure.executed) == (Reason.PROTOCOL_VERSION, Executed.NO)


# --- the store -----------------------------------------------------------------------------------


async def test_a_client_of_the_store_that_outruns_the_answers_is_not_read_any_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kv_stream, "REQUESTS_OPEN_MAX", 1)
    async with drivers(monkeypatch) as world:
        run = await world.found()
        servers, bound = await ApiServers.start(run.driver, ANY_PORTS, ApiSettings(), RpcMeter())
        async with Client(bound.app) as client, RawStream(await _address(client)) as stream:
            greeting = await _accepted(stream, _hello(KV))
            welcome = kv_pb2.KvAnswers.FromString(greeting).welcome
            assert welcome.reads_max == kv_stream.READS_MAX
            writes = [
                _data(kv_pb2.KvFrame(seq=[n], key=[b"a"], value=[b"%d" % n])) for n in range(50)
            ]
            await stream.send(*writes, frame(DONE))
            seen: list[int] = []
            while len(seen) < 50:
                kind, body = await stream.read()
                assert kind == DATA
                seen += kv_pb2.KvAnswers.FromString(body).seq
            assert seen == list(range(50))
            with pytest.raises(EOFError):
                await stream.read()
        await servers.stop(grace_ms=0)
