"""The Router API over real gRPC: sending, locating, watching, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

import parti
from parti_proto import app_pb2
from parti_shard.errors import Executed, Reason
from parti_shard.ids import MemberId
from parti_shard.keys import partition_of
from parti_shard.limits import RouterLimits
from parti_sidecar import client_stream, router_service, table_watch
from parti_sidecar.call_deadlines import timeout_ms_of
from parti_sidecar.status import failure_from
from tests.parti_sidecar.api_clients import LIMIT_S, Client, EchoWorker, ends_with, until
from tests.parti_sidecar.fake_host import CLUSTER, FakeCluster, FakeHost, Node

PARTITIONS = 8


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    """One member; it owns every partition once a worker is attached and the test grants them."""
    made = FakeCluster(partitions=PARTITIONS, limits=RouterLimits(payload_bytes_max=1_000))
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def client(cluster: FakeCluster) -> AsyncIterator[Client]:
    async with Client(cluster.nodes[0].bound.app) as made:
        yield made


@pytest.fixture
async def worker(cluster: FakeCluster, client: Client) -> AsyncIterator[EchoWorker]:
    """An echo worker, with all partitions granted and started."""
    made = EchoWorker(client)
    await until(lambda: made.welcome, "the worker's welcome")
    for partition in range(PARTITIONS):
        cluster.grant(partition, cluster.nodes[0].host)
    await until(lambda: len(made.started) == PARTITIONS, "the assignments")
    yield made
    await made.stop()


async def _read(call: grpc.aio.StreamStreamCall) -> app_pb2.ResultFrame:
    frame = await asyncio.wait_for(call.read(), LIMIT_S)
    assert frame is not grpc.aio.EOF, await ends_with(call)
    assert isinstance(frame, app_pb2.ResultFrame)
    return frame


async def _open_stream(client: Client) -> grpc.aio.StreamStreamCall:
    call = client.open("Router.SendStream")
    assert (await _read(call)).HasField("welcome")
    return call


async def test_a_message_by_partition_and_by_key_is_answered(
    client: Client, worker: EchoWorker
) -> None:
    headers = app_pb2.Headers(values={"trace": "1"})
    reply = await client.open(
        "Router.Send", app_pb2.SendRequest(partition=3, payload=b"hello", headers=headers)
    )
    assert (reply.payload, reply.partition, reply.epoch) == (b"hello", 3, 1)
    assert worker.headers == [headers.SerializeToString()]
    reply = await client.open("Router.Send", app_pb2.SendRequest(key=b"some key"))
    assert reply.partition == partition_of(b"some key", PARTITIONS)


async def test_many_single_messages_at_once_are_all_answered(
    client: Client, worker: EchoWorker
) -> None:
    requests = [app_pb2.SendRequest(partition=n % PARTITIONS, payload=b"%d" % n) for n in range(99)]
    replies = await asyncio.gather(*(client.open("Router.Send", each) for each in requests))
    assert [reply.payload for reply in replies] == [each.payload for each in requests]


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (app_pb2.SendRequest(), Reason.BAD_TARGET),
        (app_pb2.SendRequest(partition=1, key=b"k"), Reason.BAD_TARGET),
        (app_pb2.SendRequest(key=b""), Reason.EMPTY_KEY),
        (app_pb2.SendRequest(partition=PARTITIONS), Reason.BAD_PARTITION),
        (app_pb2.SendRequest(partition=1, payload=b"x" * 1_001), Reason.PAYLOAD_TOO_LARGE),
        (app_pb2.SendRequest(key=b"k" * 5_000), Reason.PAYLOAD_TOO_LARGE),
    ],
)
async def test_a_wrong_message_is_refused_with_its_reason_and_the_server_goes_on(
    client: Client, worker: EchoWorker, request_: app_pb2.SendRequest, reason: Reason
) -> None:
    failure = await client.fails("Router.Send", request_)
    assert (failure.reason, failure.executed) == (reason, Executed.NO), failure
    assert failure.message
    reply = await client.open("Router.Send", app_pb2.SendRequest(partition=0, payload=b"still"))
    assert reply.payload == b"still"


async def test_a_deadline_is_answered_before_the_call_ends_with_what_is_known(
    cluster: FakeCluster, client: Client
) -> None:
    """No worker and no owner: the message is parked and certainly not executed."""
    failure = await client.fails("Router.Send", app_pb2.SendRequest(partition=0), timeout=0.8)
    assert (failure.reason, failure.executed) == (Reason.DEADLINE_EXCEEDED, Executed.NO), failure
    errors = cluster.nodes[0].meter.errors  # the answer may overtake the handler's last step
    await until(lambda: errors["Router.Send", "DEADLINE_EXCEEDED"] == 1)


@pytest.mark.parametrize(
    ("remaining_s", "timeout_ms"), [(None, 0), (10.0, 9_940), (0.08, 70), (0.0, 1), (-1.0, 1)]
)
def test_the_deadline_margin_is_small_and_never_gives_for_ever(
    remaining_s: float | None, timeout_ms: int
) -> None:
    assert timeout_ms_of(remaining_s) == timeout_ms


async def test_a_caller_that_gives_up_leaves_nothing_behind(
    cluster: FakeCluster, client: Client
) -> None:
    call = client.open("Router.Send", app_pb2.SendRequest(partition=0))
    requests = cluster.nodes[0].meter.requests
    await until(lambda: requests["Router.Send"] == 1, "the request")
    call.cancel()
    errors = cluster.nodes[0].meter.errors
    await until(lambda: errors["Router.Send", "CANCELLED"] == 1, "the cancellation")
    assert not cluster.nodes[0].host.failed


async def test_a_stream_welcomes_and_answers_in_batches(
    cluster: FakeCluster, client: Client, worker: EchoWorker
) -> None:
    call = client.open("Router.SendStream")
    welcome = (await _read(call)).welcome
    assert (welcome.cluster_id, welcome.member_id, welcome.member_name) == (CLUSTER, 1, "m1")
    assert (welcome.partitions, welcome.payload_bytes_max) == (PARTITIONS, 1_000)
    ids = list(range(100, 150))
    frame = app_pb2.SendFrame(
        id=ids, partition=[i % PARTITIONS for i in ids], payload=[b"%d" % i for i in ids]
    )
    await call.write(frame)
    answered: dict[int, bytes] = {}
    while len(answered) < len(ids):
        results = await _read(call)
        assert not results.errors
        assert all(epoch == 1 for epoch in results.epoch)
        answered.update(zip(results.id, results.payload, strict=True))
    assert answered == dict(zip(frame.id, frame.payload, strict=True))
    meter = cluster.nodes[0].meter
    assert meter.messages["Router.SendStream", "in"] == len(ids)
    assert meter.messages["Router.SendStream", "out"] == len(ids)
    call.cancel()


async def test_an_item_that_fails_names_its_position(client: Client, worker: EchoWorker) -> None:
    call = await _open_stream(client)
    await call.write(app_pb2.SendFrame(id=[1], partition=[PARTITIONS + 1]))
    results = await _read(call)
    assert results.errors[0].position == 0
    assert failure_from(results.errors[0].detail).reason is Reason.BAD_PARTITION
    call.cancel()


async def test_a_half_closed_stream_still_gets_its_answers_and_ends_well(
    client: Client, worker: EchoWorker
) -> None:
    call = await _open_stream(client)
    await call.write(app_pb2.SendFrame(id=[1, 2], partition=[0, 1], payload=[b"a", b"b"]))
    await call.done_writing()
    answered: list[int] = []
    while len(answered) < 2:
        answered.extend((await _read(call)).id)
    assert await asyncio.wait_for(call.read(), LIMIT_S) is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_leaving_sidecar_answers_what_it_took_and_says_so(
    cluster: FakeCluster, client: Client, worker: EchoWorker
) -> None:
    servers = cluster.nodes[0].servers
    assert servers is not None
    idle, busy = await _open_stream(client), await _open_stream(client)
    worker.answers = False
    await busy.write(app_pb2.SendFrame(id=[1], partition=[0], payload=[b"taken"]))
    single = client.open("Router.Send", app_pb2.SendRequest(partition=1, payload=b"single"))
    await until(lambda: len(worker.delivered) == 2, "the deliveries")
    leaving = asyncio.create_task(servers.leave_clients())
    for call in (idle, busy):
        assert (await _read(call)).draining
    await busy.write(app_pb2.SendFrame(id=[2], partition=[2], payload=[b"crossed"]))
    for call in (idle, busy):
        await call.done_writing()
    failure = await ends_with(idle)
    assert (failure.reason, failure.executed) == (Reason.DRAINING, Executed.NO)
    assert (await client.fails("Router.Send", app_pb2.SendRequest(partition=0))).executed is (
        Executed.NO
    )
    await until(lambda: len(worker.delivered) == 3, "what crossed the notice")
    assert not busy.done()
    assert not leaving.done()
    await worker.answer_all()
    answered: list[int] = []
    while len(answered) < 2:
        answered.extend((await _read(busy)).id)
    assert (await ends_with(busy)).reason is Reason.DRAINING
    assert (await single).payload == b"single"
    await asyncio.wait_for(leaving, LIMIT_S)


async def test_the_sdk_half_closes_when_the_sidecar_leaves(
    cluster: FakeCluster, client: Client, worker: EchoWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = cluster.nodes[0].servers
    assert servers is not None
    monkeypatch.setattr(client_stream, "LEAVING_MS", 60_000)  # nobody else ends the stream
    worker.answers = False
    async with parti.Client(cluster.nodes[0].bound.app, retry=False) as sdk:
        taken = asyncio.create_task(sdk.send(partition=0, payload=b"taken"))
        await until(lambda: worker.delivered, "the delivery")
        leaving = asyncio.create_task(servers.leave_clients())
        await until(lambda: not sdk._link or sdk._link._draining, "the notice")
        waiting = asyncio.create_task(sdk.send(partition=1, payload=b"waiting", timeout=0.5))
        await worker.answer_all()
        assert (await taken).payload == b"taken"
        await asyncio.wait_for(leaving, LIMIT_S)
        with pytest.raises(parti.NotExecuted):
            await waiting
    assert worker.delivered == [b"taken"]


async def test_a_client_that_does_not_hear_of_the_end_is_heard_no_more(
    cluster: FakeCluster, client: Client, worker: EchoWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = cluster.nodes[0].servers
    assert servers is not None
    monkeypatch.setattr(client_stream, "LEAVING_MS", 20)
    worker.answers = False
    call = await _open_stream(client)
    await call.write(app_pb2.SendFrame(id=[1], partition=[0], payload=[b"taken"]))
    await until(lambda: worker.delivered, "the delivery")
    leaving = asyncio.create_task(servers.leave_clients())
    assert servers._router is not None
    (stream,) = servers._router._streams
    await until(lambda: not stream._taking, "the end of patience")
    await call.write(app_pb2.SendFrame(id=[2], partition=[2], payload=[b"too late"]))
    await worker.answer_all()
    assert (await ends_with(call)).reason is Reason.DRAINING
    await asyncio.wait_for(leaving, LIMIT_S)
    assert worker.delivered == [b"taken"]


@pytest.mark.parametrize(
    "frame",
    [
        app_pb2.SendFrame(id=[1, 2], partition=[0]),
        app_pb2.SendFrame(id=[1, 1], partition=[0, 0], payload=[b"", b""]),
    ],
)
async def test_a_malformed_frame_ends_its_stream_only(
    cluster: FakeCluster, client: Client, worker: EchoWorker, frame: app_pb2.SendFrame
) -> None:
    call = await _open_stream(client)
    await call.write(frame)
    failure = await ends_with(call)
    assert failure.reason is Reason.MALFORMED_FRAME
    assert (await client.open("Router.Send", app_pb2.SendRequest(partition=0))).epoch == 1
    assert cluster.nodes[0].meter.bugs == 0


async def test_a_frame_beyond_the_transport_limit_ends_its_stream_only(
    client: Client, worker: EchoWorker
) -> None:
    call = await _open_stream(client)
    await call.write(app_pb2.SendFrame(id=[1], partition=[0], payload=[bytes(17 << 20)]))
    assert (await ends_with(call)).reason is Reason.PAYLOAD_TOO_LARGE
    assert (await client.open("Router.Send", app_pb2.SendRequest(partition=0))).epoch == 1


async def test_a_client_that_goes_away_takes_its_writer_along(
    cluster: FakeCluster, client: Client
) -> None:
    host = cluster.nodes[0].host
    before = host.writers()
    async with Client(cluster.nodes[0].bound.app) as other:
        call = await _open_stream(other)
        await call.write(app_pb2.SendFrame(id=[1], partition=[0], timeout_ms=[60_000]))
        await until(lambda: len(host.writers()) == len(before) + 1, "the writer")
    await until(lambda: host.writers() == before, "the end of the writer")
    assert cluster.nodes[0].meter.bugs == 0


async def test_locate_tells_the_owner(cluster: FakeCluster, client: Client) -> None:
    cluster.grant(2, cluster.nodes[0].host)
    reply = await client.open("Router.Locate", app_pb2.LocateRequest(partition=2))
    state = reply.partition
    assert (state.owner, state.epoch, state.phase) == (1, 1, app_pb2.PHASE_OWNED)
    assert (reply.owner_name, reply.table_index) == ("m1", 2)
    by_key = await client.open("Router.Locate", app_pb2.LocateRequest(key=b"k"))
    assert by_key.partition.partition == partition_of(b"k", PARTITIONS)
    failure = await client.fails("Router.Locate", app_pb2.LocateRequest(partition=PARTITIONS))
    assert failure.reason is Reason.BAD_PARTITION


async def test_a_watcher_gets_the_whole_table_and_then_changes(
    cluster: FakeCluster, client: Client
) -> None:
    call = client.open("Router.WatchTable", app_pb2.WatchTableRequest())
    whole = await asyncio.wait_for(call.read(), LIMIT_S)
    assert (whole.whole, whole.partitions, len(whole.changed)) == (True, PARTITIONS, PARTITIONS)
    assert dict(whole.member_names) == {1: "m1"}
    cluster.grant(5, cluster.nodes[0].host)
    change = await asyncio.wait_for(call.read(), LIMIT_S)
    assert not change.whole
    assert [(each.partition, each.owner, each.epoch) for each in change.changed] == [(5, 1, 1)]
    assert change.table_index > whole.table_index
    assert dict(change.member_names) == {1: "m1"}
    call.cancel()
    await until(lambda: not cluster.nodes[0].host._watchers, "the end of the watch")


async def test_a_watcher_that_falls_behind_gets_a_whole_table(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_watch, "PENDING_PARTITIONS_MAX", 2)
    host = cluster.nodes[0].host
    assert host.table is not None
    watch = table_watch.TableWatch(host, host.table)
    assert (await watch.next_event()).whole
    for partition in (1, 2):
        cluster.grant(partition, host)
    behind = await watch.next_event()
    assert [each.partition for each in behind.changed] == [1, 2]
    for partition in (3, 4, 5):
        cluster.grant(partition, host)
    assert (await watch.next_event()).whole
    assert not watch._pending
    watch.close()


async def test_a_large_table_is_written_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeCluster(partitions=5_000)
    await cluster.start()
    async with Client(cluster.nodes[0].bound.app) as client:
        call = client.open("Router.WatchTable", app_pb2.WatchTableRequest())
        whole = await asyncio.wait_for(call.read(), LIMIT_S)
        assert [each.partition for each in whole.changed] == list(range(5_000))
    await cluster.stop()


async def test_the_number_of_watchers_is_bounded(
    cluster: FakeCluster, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router_service, "WATCHERS_MAX", 1)
    first = client.open("Router.WatchTable", app_pb2.WatchTableRequest())
    await asyncio.wait_for(first.read(), LIMIT_S)
    second = client.open("Router.WatchTable", app_pb2.WatchTableRequest())
    assert (await ends_with(second)).reason is Reason.OVERLOADED


async def test_before_there_is_a_member_everything_says_not_ready() -> None:
    node = Node(FakeHost(me=MemberId(1), table=None))
    await node.start()
    async with Client(node.bound.app) as client:
        failure = await client.fails("Router.Send", app_pb2.SendRequest(partition=0))
        assert (failure.reason, failure.executed) == (Reason.NOT_READY, Executed.NO)
        failure = await client.fails("Router.Locate", app_pb2.LocateRequest(partition=0))
        assert failure.reason is Reason.NOT_READY
        for name in ("Router.SendStream", "Worker.Attach"):
            call = client.open(name)
            if name == "Worker.Attach":
                hello = app_pb2.Hello(protocol_version=1, credits=1, partition_credits=1)
                await call.write(app_pb2.WorkerFrame(hello=hello))
            assert (await ends_with(call)).reason is Reason.NOT_READY
    await node.stop()


async def test_a_bug_on_the_way_of_single_messages_ends_the_process(
    cluster: FakeCluster, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = cluster.nodes[0].host

    def break_down(*_any: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(host.router, "client_frame", break_down)
    call = client.open("Router.Send", app_pb2.SendRequest(partition=0))
    await until(lambda: host.failed, "the failure")
    assert isinstance(host.failed[0], ZeroDivisionError)
    call.cancel()
