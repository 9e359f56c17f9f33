"""`parti.v1.KV`: the replicated store for applications of this pod."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

import grpc.aio

from parti_kv.commands import ANY_REVISION, IF_FREE, Op
from parti_kv.errors import HistoryCompactedError, MalformedKvError
from parti_kv.limits import KEY_BYTES_MAX
from parti_kv.store import KvStore
from parti_kv.values import Change, LockView, Revision, SessionId, Status
from parti_proto import kv_pb2
from parti_shard.errors import Executed, Failure, PartiError, Reason, refuse
from parti_shard.kv_access import TIMEOUT_MS
from parti_shard.kv_frames import KEEP_SESSIONS_MAX
from parti_sidecar.app_streams import GrpcWire, Wire
from parti_sidecar.call_deadlines import timeout_ms_of
from parti_sidecar.kv_calls import KvCalls, Write, Written, malformed
from parti_sidecar.kv_messages import (
    get_reply,
    item,
    lock_state,
    once_of,
    txn_of,
    txn_reply,
    watch_reply,
)
from parti_sidecar.kv_stream import KvStream
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.store_host import StoreHost
from parti_sidecar.unary_sends import NOT_READY

if TYPE_CHECKING:
    from collections.abc import Iterator

WATCHERS_MAX = 256  # watches and waits for locks
WATCH_CHANGES_MAX = 1_024  # looked at for one reply
WATCH_PROGRESS_S = 10.0  # so often a watcher hears how far it has come

Context: TypeAlias = grpc.aio.ServicerContext


class KvService:
    """See the module's docstring."""

    def __init__(self, host: StoreHost, meter: RpcMeter) -> None:
        self._host = host
        self._meter = meter
        self._calls = KvCalls(host)
        self._watchers = 0

    async def stream(self, context: Context) -> None:
        """Serve one client's batches."""
        wire = GrpcWire(context)
        await wire.run(self.open_stream(wire))

    def open_stream(self, wire: Wire) -> KvStream:
        """Begin a client's stream, whatever carries it."""
        member = self._host.member
        if member is None:
            raise PartiError(NOT_READY)
        return KvStream(self._host, member, self._meter, wire)

    # --- reads -----------------------------------------------------------------------------------

    async def get(self, request: kv_pb2.KvGetRequest, context: Context) -> kv_pb2.KvGetReply:
        """Read one key."""
        _check_key(request.key)
        store = await self._calls.read(_timeout_ms(context), stale=request.stale)
        return get_reply(store.get(request.key), store.revision)

    async def range(self, request: kv_pb2.KvRangeRequest, context: Context) -> kv_pb2.KvRangeReply:
        """Read a page of keys."""
        store = await self._calls.read(_timeout_ms(context), stale=request.stale)
        after = request.after if request.HasField("after") else None
        page = store.page(request.prefix, after, request.limit or (1 << 31))
        items = (item(each, keys_only=request.keys_only) for each in page.items)
        return kv_pb2.KvRangeReply(items=items, more=page.more, store_revision=store.revision)

    # --- writes ----------------------------------------------------------------------------------

    async def put(self, request: kv_pb2.KvPutRequest, context: Context) -> kv_pb2.KvWriteReply:
        """Set a key."""
        write = Write(Op.PUT, request.key, request.value)
        return _write_reply(await self._write(write, request.once, context))

    async def delete(
        self, request: kv_pb2.KvDeleteRequest, context: Context
    ) -> kv_pb2.KvWriteReply:
        """Delete a key."""
        expect = request.expect if request.HasField("expect") else ANY_REVISION
        write = Write(Op.DELETE, request.key, expect=expect)
        return _write_reply(await self._write(write, request.once, context))

    async def compare_and_set(
        self, request: kv_pb2.KvCompareAndSetRequest, context: Context
    ) -> kv_pb2.KvWriteReply:
        """Set a key that is at a given revision."""
        write = Write(Op.PUT, request.key, request.value, request.expect)
        return _write_reply(await self._write(write, request.once, context))

    async def txn(self, request: kv_pb2.KvTxnRequest, context: Context) -> kv_pb2.KvTxnReply:
        """Compare, then do one thing or the other."""
        try:
            txn = txn_of(request)
        except MalformedKvError as error:
            raise PartiError(malformed(error)) from error
        written = await self._write(Write(Op.TXN, b"", txn=txn), request.once, context)
        return txn_reply(written.result, written.revision)

    async def _write(self, write: Write, once: kv_pb2.KvOnce, context: Context) -> Written:
        return await self._calls.write(write, _timeout_ms(context), once_of(once))

    # --- sessions --------------------------------------------------------------------------------

    async def open_session(
        self, request: kv_pb2.KvOpenSessionRequest, context: Context
    ) -> kv_pb2.KvOpenSessionReply:
        """Open a client session."""
        session = await self._calls.open_session(
            request.nonce, request.ttl_ms, _timeout_ms(context)
        )
        return kv_pb2.KvOpenSessionReply(session=session)

    async def keep_alive(
        self, request: kv_pb2.KvKeepAliveRequest, _context: Context
    ) -> kv_pb2.KvKeepAliveReply:
        """Keep client sessions alive."""
        if len(request.session) > KEEP_SESSIONS_MAX:
            refuse(
                Reason.INVALID_ARGUMENT,
                f"{len(request.session)} sessions, the limit is {KEEP_SESSIONS_MAX}",
            )
        alive = await self._calls.keep_alive(tuple(map(SessionId, request.session)))
        return kv_pb2.KvKeepAliveReply(alive=alive)

    async def close_session(
        self, request: kv_pb2.KvCloseSessionRequest, context: Context
    ) -> kv_pb2.KvCloseSessionReply:
        """Close a client session; its locks are released."""
        await self._calls.close_session(SessionId(request.session), _timeout_ms(context))
        return kv_pb2.KvCloseSessionReply()

    # --- watches ---------------------------------------------------------------------------------

    async def watch(self, request: kv_pb2.KvWatchRequest, context: Context) -> None:
        """Send changes for as long as the watcher stays."""
        if request.HasField("after"):
            store, reached = self._calls.store(), Revision(request.after)
        else:
            store = await self._calls.read(TIMEOUT_MS)
            reached = store.revision
        with self._watching(self._host.store_news.watch) as changed:
            await context.write(watch_reply((), reached))
            told = reached
            while True:
                changed.clear()
                changes, reached = _changes_after(store, reached, request.prefix)
                if changes:
                    told = reached
                    await context.write(watch_reply(changes, reached))
                elif reached >= store.revision:
                    news = await _within(changed.wait(), WATCH_PROGRESS_S)
                    if not news and reached > told:
                        told = reached
                        await context.write(watch_reply((), reached))

    # --- locks -----------------------------------------------------------------------------------

    async def lock(self, request: kv_pb2.KvLockRequest, context: Context) -> kv_pb2.KvLockReply:
        """Take a lock; wait for it within the call's deadline."""
        expect = IF_FREE if request.only_if_free else ANY_REVISION
        write = Write(Op.ACQUIRE, request.name, request.value, expect)
        written = await self._write(write, request.once, context)
        session = SessionId(request.once.session)
        held = written.status is Status.OK
        if written.status is Status.WAITING:
            timeout_ms = _timeout_ms(context) or TIMEOUT_MS
            held = await _within(self._until_held(request.name, session), timeout_ms / 1000)
        return kv_pb2.KvLockReply(held=held, token=written.revision)

    async def _until_held(self, name: bytes, session: SessionId) -> None:
        """Wait until the session holds the lock. Raises PartiError if it has no place any more."""
        store = self._calls.store()
        watch = self._host.store_news.watch_lock
        with self._watching(lambda wake: watch(name, wake)) as changed:
            while not store.locks.holds(name, session):
                if store.locks.ticket(name, session) is None:
                    text = "the session was closed or has expired while it waited"
                    refuse(Reason.SESSION_OVER, text)
                changed.clear()
                await changed.wait()

    async def unlock(
        self, request: kv_pb2.KvUnlockRequest, context: Context
    ) -> kv_pb2.KvUnlockReply:
        """Give a lock back, or the place in its queue."""
        written = await self._write(Write(Op.RELEASE, request.name), request.once, context)
        return kv_pb2.KvUnlockReply(released=written.status is Status.OK)

    async def watch_lock(self, request: kv_pb2.KvWatchLockRequest, context: Context) -> None:
        """Send who holds a lock, for as long as the watcher stays."""
        _check_key(request.name)
        store = await self._calls.read(TIMEOUT_MS)
        watch = self._host.store_news.watch_lock
        told: LockView | None = None
        with self._watching(lambda wake: watch(request.name, wake)) as changed:
            while True:
                changed.clear()
                view = store.lock(request.name)
                if view != told:
                    told = view
                    await context.write(lock_state(view))
                else:
                    await changed.wait()

    @contextmanager
    def _watching(
        self, watch: Callable[[Callable[[], None]], Callable[[], None]]
    ) -> Iterator[asyncio.Event]:
        """An event that is set by changes; the number of those who wait is bounded."""
        if self._watchers >= WATCHERS_MAX:
            text = f"{WATCHERS_MAX} watchers of the store, no more are taken"
            refuse(Reason.OVERLOADED, text)
        changed = asyncio.Event()
        stop = watch(changed.set)
        self._watchers += 1
        try:
            yield changed
        finally:
            self._watchers -= 1
            stop()


def _changes_after(
    store: KvStore, revision: Revision, prefix: bytes
) -> tuple[list[Change], Revision]:
    try:
        return store.history.after(revision, prefix, WATCH_CHANGES_MAX)
    except HistoryCompactedError as error:
        raise PartiError(Failure(Reason.COMPACTED, Executed.NO, str(error))) from error


def _write_reply(written: Written) -> kv_pb2.KvWriteReply:
    return kv_pb2.KvWriteReply(
        changed=written.status is Status.OK,
        revision=written.revision,
        compare_failed=written.status is Status.COMPARE_FAILED,
    )


def _timeout_ms(context: Context) -> int:
    return timeout_ms_of(context.time_remaining())


def _check_key(key: bytes) -> None:
    if not 0 < len(key) <= KEY_BYTES_MAX:
        text = f"a key of {len(key)} bytes, it may have 1 to {KEY_BYTES_MAX}"
        refuse(Reason.INVALID_ARGUMENT, text)


async def _within(work: Awaitable[object], timeout_s: float) -> bool:
    """Whether it ended in time."""
    try:
        async with asyncio.timeout(timeout_s):
            await work
    except TimeoutError:
        return False
    return True
