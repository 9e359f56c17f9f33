"""`parti.v1.KV` on a running driver: real member, engine, servers and gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest

from parti_kv import limits
from parti_proto import errors_pb2, kv_pb2
from parti_shard.errors import Executed, Reason
from parti_sidecar import kv_service, kv_stream
from parti_sidecar.driver import Driver
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.servers import ApiServers, ApiSettings
from tests.parti_sidecar.api_clients import Client
from tests.parti_sidecar.driver_world import drivers, until
from tests.parti_sidecar.fake_host import ANY_PORTS

NO_CONDITION = 2**64 - 1


@dataclass
class Bench:
    """One sidecar and a client of its app API."""

    driver: Driver
    client: Client
    nonces: int = 0

    async def put(self, key: bytes, value: bytes, **more: kv_pb2.KvOnce) -> kv_pb2.KvWriteReply:
        request = kv_pb2.KvPutRequest(key=key, value=value, **more)
        reply: kv_pb2.KvWriteReply = await self.client.open("KV.Put", request)
        return reply

    async def get(self, key: bytes, *, stale: bool = False) -> kv_pb2.KvGetReply:
        request = kv_pb2.KvGetRequest(key=key, stale=stale)
        reply: kv_pb2.KvGetReply = await self.client.open("KV.Get", request)
        return reply

    async def session(self, ttl_ms: int = 20_000) -> int:
        self.nonces += 1
        request = kv_pb2.KvOpenSessionRequest(nonce=self.nonces, ttl_ms=ttl_ms)
        reply: kv_pb2.KvOpenSessionReply = await self.client.open("KV.OpenSession", request)
        return reply.session

    async def stream(self) -> grpc.aio.StreamStreamCall:
        call = self.client.open("KV.Stream")
        welcome = (await call.read()).welcome
        assert welcome.window == limits.DEDUP_WINDOW
        assert welcome.reads_max == kv_stream.READS_MAX
        return call


def lock(
    name: bytes, session: int, seq: int, *, only_if_free: bool = False
) -> kv_pb2.KvLockRequest:
    return kv_pb2.KvLockRequest(name=name, once=once(session, seq), only_if_free=only_if_free)


def once(session: int, seq: int) -> kv_pb2.KvOnce:
    return kv_pb2.KvOnce(session=session, seq=seq)


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    async with drivers(monkeypatch) as world:
        run = await world.found()
        meter = RpcMeter()
        servers, bound = await ApiServers.start(run.driver, ANY_PORTS, ApiSettings(), meter)
        try:
            async with Client(bound.app) as client:
                yield Bench(run.driver, client)
        finally:
            await servers.stop(grace_ms=0)


async def test_put_get_delete(bench: Bench) -> None:
    assert await bench.put(b"k", b"v") == kv_pb2.KvWriteReply(changed=True, revision=1)
    assert await bench.get(b"k") == kv_pb2.KvGetReply(
        found=True, value=b"v", revision=1, created=1, store_revision=1
    )
    assert (await bench.get(b"k", stale=True)).found
    delete = kv_pb2.KvDeleteRequest(key=b"k")
    assert (await bench.client.open("KV.Delete", delete)).changed
    assert not (await bench.client.open("KV.Delete", delete)).changed
    assert await bench.get(b"k") == kv_pb2.KvGetReply(store_revision=2)


async def test_conditions(bench: Bench) -> None:
    def cas(expect: int) -> kv_pb2.KvCompareAndSetRequest:
        return kv_pb2.KvCompareAndSetRequest(key=b"k", value=b"v", expect=expect)

    assert (await bench.client.open("KV.CompareAndSet", cas(0))).changed
    failed = await bench.client.open("KV.CompareAndSet", cas(0))
    assert failed == kv_pb2.KvWriteReply(compare_failed=True, revision=1)
    assert (await bench.client.open("KV.CompareAndSet", cas(1))).revision == 2
    wrong = kv_pb2.KvDeleteRequest(key=b"k", expect=9)
    assert (await bench.client.open("KV.Delete", wrong)).compare_failed


async def test_a_retried_write_counts_once(bench: Bench) -> None:
    session = await bench.session()
    first = await bench.put(b"k", b"1", once=once(session, 1))
    await bench.put(b"k", b"2", once=once(session, 2))
    assert await bench.put(b"k", b"1", once=once(session, 1)) == first
    assert (await bench.get(b"k")).value == b"2"


async def test_transactions(bench: Bench) -> None:
    await bench.put(b"a", b"1")
    compare = kv_pb2.KvCompare(key=b"a", value=b"1")
    then = [
        kv_pb2.KvAction(put=kv_pb2.KvPair(key=b"b", value=b"2")),
        kv_pb2.KvAction(get=b"b"),
        kv_pb2.KvAction(delete=b"a"),
    ]
    request = kv_pb2.KvTxnRequest(
        compare=[compare], then=then, otherwise=[kv_pb2.KvAction(get=b"a")]
    )
    reply = await bench.client.open("KV.Txn", request)
    assert reply.succeeded
    assert reply.revision == 2
    assert reply.actions[1] == kv_pb2.KvActionReply(found=True, value=b"2", revision=2)
    reply = await bench.client.open("KV.Txn", request)
    assert not reply.succeeded
    assert not reply.actions[0].found


async def test_ranges_come_in_pages(bench: Bench) -> None:
    for key in (b"a/2", b"b", b"a/1", b"a/3"):
        await bench.put(key, b"v")
    request = kv_pb2.KvRangeRequest(prefix=b"a/", limit=2, keys_only=True)
    page = await bench.client.open("KV.Range", request)
    assert [(item.key, item.value) for item in page.items] == [(b"a/1", b""), (b"a/2", b"")]
    assert page.more
    request = kv_pb2.KvRangeRequest(prefix=b"a/", after=b"a/2")
    page = await bench.client.open("KV.Range", request)
    assert [(item.key, item.value) for item in page.items] == [(b"a/3", b"v")]
    assert not page.more


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("Get", kv_pb2.KvGetRequest()),
        ("Put", kv_pb2.KvPutRequest(key=b"")),
        ("Put", kv_pb2.KvPutRequest(key=b"k" * 1025)),
        ("Put", kv_pb2.KvPutRequest(key=b"k", value=bytes(limits.VALUE_BYTES_MAX + 1))),
        ("Lock", kv_pb2.KvLockRequest(name=b"l")),
        ("OpenSession", kv_pb2.KvOpenSessionRequest(nonce=1, ttl_ms=5)),
        ("KeepAlive", kv_pb2.KvKeepAliveRequest(session=range(5_000))),
        ("Txn", kv_pb2.KvTxnRequest(compare=[kv_pb2.KvCompare(key=b"k")])),
        ("Txn", kv_pb2.KvTxnRequest(then=[kv_pb2.KvAction()])),
        (
            "Txn",
            kv_pb2.KvTxnRequest(
                compare=[kv_pb2.KvCompare(key=b"k", value=b"", relation=7)]  # type: ignore[arg-type]
            ),
        ),
    ],
)
async def test_what_makes_no_sense_is_refused(bench: Bench, name: str, request_: object) -> None:
    failure = await bench.client.fails(f"KV.{name}", request_)
    assert (failure.reason, failure.executed) == (Reason.INVALID_ARGUMENT, Executed.NO)


async def test_a_full_store_says_so(bench: Bench) -> None:
    assert bench.driver.member is not None
    store = bench.driver.member.store
    bench.driver.member.kv._bytes_max = 0
    await until(lambda: store.bytes_max == 0)
    failure = await bench.client.fails("KV.Put", kv_pb2.KvPutRequest(key=b"k"))
    assert (failure.reason, failure.executed) == (Reason.STORE_FULL, Executed.NO)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await bench.put(b"k", b"")
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_session_that_is_over_says_so(bench: Bench) -> None:
    session = await bench.session()
    await bench.client.open("KV.CloseSession", kv_pb2.KvCloseSessionRequest(session=session))
    request = kv_pb2.KvPutRequest(key=b"k", once=once(session, 1))
    failure = await bench.client.fails("KV.Put", request)
    assert (failure.reason, failure.executed) == (Reason.SESSION_OVER, Executed.NO)
    request_ = kv_pb2.KvKeepAliveRequest(session=[session, await bench.session()])
    assert list((await bench.client.open("KV.KeepAlive", request_)).alive) == [False, True]


# --- watches ----------------------------------------------------------------------------------


async def test_a_watch_begins_where_it_is_asked_to(bench: Bench) -> None:
    await bench.put(b"a/1", b"1")
    await bench.put(b"a/2", b"2")
    call = bench.client.open("KV.Watch", kv_pb2.KvWatchRequest(prefix=b"a/", after=1))
    assert (await call.read()).reached == 1
    told = await call.read()
    assert [(change.key, change.revision) for change in told.changes] == [(b"a/2", 2)]
    await bench.put(b"b", b"3")
    await bench.client.open("KV.Delete", kv_pb2.KvDeleteRequest(key=b"a/1"))
    told = await call.read()
    assert told.reached == 4
    assert told.changes[0] == kv_pb2.KvChange(key=b"a/1", revision=4, deleted=True)


async def test_a_watch_from_now_on(bench: Bench) -> None:
    await bench.put(b"k", b"1")
    call = bench.client.open("KV.Watch", kv_pb2.KvWatchRequest())
    assert (await call.read()).reached == 1
    await bench.put(b"k", b"2")
    assert [change.value for change in (await call.read()).changes] == [b"2"]


async def test_a_quiet_watch_hears_how_far_it_has_come(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kv_service, "WATCH_PROGRESS_S", 0.05)
    call = bench.client.open("KV.Watch", kv_pb2.KvWatchRequest(prefix=b"a/"))
    await call.read()
    await bench.put(b"b", b"1")
    assert await call.read() == kv_pb2.KvWatchReply(reached=1)


async def test_a_watch_whose_changes_are_gone_says_so(bench: Bench) -> None:
    assert bench.driver.member is not None
    await bench.put(b"k", b"1")
    bench.driver.member.store.history.begin_after(bench.driver.member.store.revision)
    call = bench.client.open("KV.Watch", kv_pb2.KvWatchRequest(after=0))
    await call.read()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call.read()
    assert raised.value.code() is grpc.StatusCode.OUT_OF_RANGE


async def test_watchers_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_service, "WATCHERS_MAX", 1)
    first = bench.client.open("KV.Watch", kv_pb2.KvWatchRequest())
    await first.read()
    second = bench.client.open("KV.Watch", kv_pb2.KvWatchRequest())
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await second.read()
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    first.cancel()
    await until(lambda: not bench.driver.store_news._watchers)


# --- locks ------------------------------------------------------------------------------------


async def test_who_waits_for_a_lock_gets_it_when_it_is_given_back(bench: Bench) -> None:
    one, two = await bench.session(), await bench.session()
    held = await bench.client.open("KV.Lock", lock(b"l", one, 0))
    assert held.held
    waiting = asyncio.ensure_future(bench.client.open("KV.Lock", lock(b"l", two, 0)))
    assert bench.driver.member is not None
    store = bench.driver.member.store
    await until(lambda: store.lock(b"l").waiting == 1)
    unlock = kv_pb2.KvUnlockRequest(name=b"l", once=once(one, 1))
    assert (await bench.client.open("KV.Unlock", unlock)).released
    reply = await waiting
    assert reply.held
    assert reply.token > held.token


async def test_waiting_ends_with_the_deadline_of_the_call(bench: Bench) -> None:
    one, two = await bench.session(), await bench.session()
    await bench.client.open("KV.Lock", lock(b"l", one, 0))
    reply = await bench.client.open("KV.Lock", lock(b"l", two, 0), timeout=0.3)
    assert not reply.held
    reply = await bench.client.open("KV.Lock", lock(b"l", two, 1, only_if_free=True))
    assert not reply.held  # it is still in the queue


async def test_trying_a_lock_that_is_held(bench: Bench) -> None:
    one, two = await bench.session(), await bench.session()
    await bench.client.open("KV.Lock", lock(b"l", one, 0))
    reply = await bench.client.open("KV.Lock", lock(b"l", two, 0, only_if_free=True))
    assert not reply.held
    unlock = kv_pb2.KvUnlockRequest(name=b"l", once=once(two, 1))
    assert not (await bench.client.open("KV.Unlock", unlock)).released


async def test_a_session_that_ends_while_it_waits_is_told(bench: Bench) -> None:
    one, two = await bench.session(), await bench.session()
    await bench.client.open("KV.Lock", lock(b"l", one, 0))
    waiting = asyncio.ensure_future(bench.client.fails("KV.Lock", lock(b"l", two, 0)))
    assert bench.driver.member is not None
    store = bench.driver.member.store
    await until(lambda: store.lock(b"l").waiting == 1)
    await bench.client.open("KV.CloseSession", kv_pb2.KvCloseSessionRequest(session=two))
    assert (await waiting).reason is Reason.SESSION_OVER


async def test_a_lock_is_watched(bench: Bench) -> None:
    call = bench.client.open("KV.WatchLock", kv_pb2.KvWatchLockRequest(name=b"l"))
    assert await call.read() == kv_pb2.KvLockState()
    session = await bench.session()
    held = await bench.client.open("KV.Lock", lock(b"l", session, 0))
    state = await call.read()
    assert (state.session, state.token) == (session, held.token)
    await bench.client.open("KV.CloseSession", kv_pb2.KvCloseSessionRequest(session=session))
    assert await call.read() == kv_pb2.KvLockState()
    call.cancel()
    await until(lambda: not bench.driver.store_news._lock_watchers)


async def test_a_lock_without_a_name_is_not_watched(bench: Bench) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await bench.client.open("KV.WatchLock", kv_pb2.KvWatchLockRequest()).read()
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


# --- the stream -------------------------------------------------------------------------------


async def test_a_frame_of_writes_and_reads(bench: Bench) -> None:
    session = await bench.session()
    call = await bench.stream()
    txn = kv_pb2.KvTxnRequest(then=[kv_pb2.KvAction(get=b"a")])
    await call.write(
        kv_pb2.KvFrame(
            session=session,
            seq=[1, 2, 3],
            op=[kv_pb2.KV_OP_PUT, kv_pb2.KV_OP_DELETE, kv_pb2.KV_OP_TXN],
            key=[b"a", b"b", b""],
            value=[b"1", b"", txn.SerializeToString()],
        )
    )
    answers = await call.read()
    assert (answers.session, list(answers.seq)) == (session, [1, 2, 3])
    assert list(answers.status) == [kv_pb2.KV_STATUS_OK, kv_pb2.KV_STATUS_ABSENT, 0]
    assert list(answers.revision) == [1, 1, 1]
    assert list(answers.result_at) == [2]
    assert kv_pb2.KvTxnReply.FromString(answers.result[0]).actions[0].value == b"1"
    await call.write(kv_pb2.KvFrame(read_id=[7, 8], read_key=[b"a", b"b"]))
    answers = await call.read()
    assert list(answers.read_id) == [7, 8]
    assert list(answers.read_revision) == [1, 0]
    assert list(answers.read_value) == [b"1", b""]
    await call.write(kv_pb2.KvFrame(read_id=[9], read_key=[b"a"], stale=True))
    assert list((await call.read()).read_created) == [1]


async def test_a_write_sent_again_over_another_stream_counts_once(bench: Bench) -> None:
    session = await bench.session()
    frame = kv_pb2.KvFrame(session=session, seq=[1], key=[b"a"], value=[b"1"])
    for _ in range(2):
        call = await bench.stream()
        await call.write(frame)
        assert list((await call.read()).revision) == [1]
        call.cancel()


async def test_a_client_that_half_closes_gets_its_answers(bench: Bench) -> None:
    call = await bench.stream()
    await call.write(kv_pb2.KvFrame(seq=[1], key=[b"a"], value=[b"1"]))
    await call.done_writing()
    assert list((await call.read()).seq) == [1]
    assert await call.read() is grpc.aio.EOF


async def test_a_frame_with_a_wrong_write_is_refused_as_a_whole(bench: Bench) -> None:
    call = await bench.stream()
    await call.write(kv_pb2.KvFrame(seq=[1, 2], key=[b"a", b""], value=[b"1", b"2"]))
    (refused,) = (await call.read()).refused
    assert list(refused.seq) == [1, 2]
    assert refused.detail.reason == errors_pb2.REASON_INVALID_ARGUMENT
    assert not (await bench.get(b"a")).found


@pytest.mark.parametrize(
    "frame",
    [
        kv_pb2.KvFrame(seq=[1, 2], key=[b"a"]),
        kv_pb2.KvFrame(read_id=[1, 2], read_key=[b"a"]),
        kv_pb2.KvFrame(read_id=range(5_000), read_key=[b"a"] * 5_000),
        kv_pb2.KvFrame(seq=[1], op=[kv_pb2.KV_OP_TXN], key=[b""], value=[b"\xff"]),
    ],
)
async def test_a_malformed_frame_ends_the_stream(bench: Bench, frame: kv_pb2.KvFrame) -> None:
    call = await bench.stream()
    await call.write(frame)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call.read()
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_client_that_outruns_the_answers_is_not_read_any_further(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kv_stream, "REQUESTS_OPEN_MAX", 1)
    call = await bench.stream()
    for number in range(50):
        await call.write(kv_pb2.KvFrame(seq=[number], key=[b"a"], value=[b"%d" % number]))
    seen: list[int] = []
    while len(seen) < 50:
        seen += (await call.read()).seq
    assert seen == list(range(50))
    assert (await bench.get(b"a")).value == b"49"
