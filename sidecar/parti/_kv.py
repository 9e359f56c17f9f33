"""`client.kv`: the replicated key-value store as applications call it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from parti import _limits as limits
from parti import _transport as transport
from parti._errors import NotExecuted, PartiError, Reason
from parti._kv_link import KvLink
from parti._kv_pending import NO_CONDITION, Answer, Read, Writes
from parti._kv_sessions import Session, open_session
from parti._kv_values import (
    Action,
    CasResult,
    Change,
    Compare,
    Entry,
    Item,
    Page,
    TxnResult,
    as_bytes,
    changes_of,
    item_of,
    txn_result,
)
from parti._sidecar import Sidecar
from parti_proto import kv_pb2

if TYPE_CHECKING:
    from google.protobuf.message import Message

TIMEOUT_S = 30.0
_PUT = int(kv_pb2.KV_OP_PUT)
_DELETE = int(kv_pb2.KV_OP_DELETE)
_TXN = int(kv_pb2.KV_OP_TXN)
_OK = int(kv_pb2.KV_STATUS_OK)
_COMPARE_FAILED = int(kv_pb2.KV_STATUS_COMPARE_FAILED)


class Kv:
    """The store that all members of the cluster share. Get it as `client.kv`.

    Reads are linearizable: they see whatever was acknowledged, anywhere, before they began
    (`stale=True` reads what this sidecar knows, at once). Writes belong to a session that this
    client opens with its first one: a write is sent again until it is answered, across new leaders
    and restarts of the sidecar, and counts once. Only when its time is over without an answer, or
    its session expired in between, is it an `UnknownOutcome`.

    Keys have 1 to 1024 bytes, values up to 1 MiB; text is taken as UTF-8.
    """

    def __init__(self, sidecar: Sidecar) -> None:
        self.channel = sidecar.channel
        self._sidecar = sidecar
        self._link: KvLink | None = None
        self._writes = Writes()
        self._old: list[Writes] = []  # of sessions that are over, with writes under way
        self._session: Session | None = None
        self._keeper: asyncio.Task[None] | None = None

    # --- reads -----------------------------------------------------------------------------------

    async def get(
        self,
        key: bytes | str,
        *,
        stale: bool = False,
        timeout: float = TIMEOUT_S,  # noqa: ASYNC109 - goes with the request
    ) -> Entry | None:
        """Read a key; None if it is absent."""
        if stale:
            request = kv_pb2.KvGetRequest(key=checked_key(key), stale=True)
            reply = await self.call("Get", request, kv_pb2.KvGetReply, timeout)
            return Entry(reply.value, reply.revision, reply.created) if reply.found else None
        link = self._link or self.open_link()
        link.check_open(link.pending.reads)
        future: asyncio.Future[Entry | None] = link.loop.create_future()
        link.pending.reads.append(Read(checked_key(key), link.loop.time() + timeout, future))
        link.wake()
        return await future

    async def page(
        self,
        prefix: bytes | str = b"",
        *,
        after: bytes | str | None = None,
        limit: int = 0,
        keys_only: bool = False,
        stale: bool = False,
        timeout: float = TIMEOUT_S,  # noqa: ASYNC109 - goes with the request
    ) -> Page:
        """Read keys below a prefix, in order, behind `after`; as many as fit, or `limit`."""
        request = kv_pb2.KvRangeRequest(
            prefix=as_bytes(prefix),
            after=None if after is None else as_bytes(after),
            limit=limit,
            keys_only=keys_only,
            stale=stale,
        )
        reply = await self.call("Range", request, kv_pb2.KvRangeReply, timeout)
        return Page(tuple(map(item_of, reply.items)), reply.more, reply.store_revision)

    async def range(
        self,
        prefix: bytes | str = b"",
        *,
        keys_only: bool = False,
        stale: bool = False,
        timeout: float = TIMEOUT_S,  # noqa: ASYNC109 - of each page
    ) -> AsyncGenerator[Item, None]:
        """Yield all keys below a prefix, in order. Each page is read at its own moment."""
        after: bytes | None = None
        while True:
            page = await self.page(
                prefix, after=after, keys_only=keys_only, stale=stale, timeout=timeout
            )
            for item in page.items:
                yield item
            if not page.more:
                return
            after = page.items[-1].key

    async def watch(
        self, prefix: bytes | str = b"", *, after: int | None = None
    ) -> AsyncGenerator[Change, None]:
        """Yield every change below a prefix after a revision (default: from now on), in order.

        Goes on where it was after a lost connection. Raises `PartiError` with reason COMPACTED if
        changes in between are not kept any more: read the range, then watch from its revision.
        """
        backoff = transport.Backoff()
        while True:
            request = kv_pb2.KvWatchRequest(prefix=as_bytes(prefix), after=after)
            call = transport.kv_watch(self.channel, "Watch", request, kv_pb2.KvWatchReply)
            try:
                while (reply := await call.read()) is not grpc.aio.EOF:
                    backoff.reset()
                    for change in changes_of(reply):
                        yield change
                    after = reply.reached
            except grpc.aio.AioRpcError as error:
                failure = transport.error_from_status(error)
                if transport.lasting(failure):
                    raise failure from None
            finally:
                call.cancel()
            await asyncio.sleep(backoff.next_s())

    # --- writes ----------------------------------------------------------------------------------

    async def put(
        self,
        key: bytes | str,
        value: bytes | str,
        *,
        timeout: float = TIMEOUT_S,  # noqa: ASYNC109 - goes with the request
    ) -> int:
        """Set a key; gives the revision that this made."""
        _, revision, _ = await self._write(
            _PUT, checked_key(key), checked_value(value), NO_CONDITION, timeout
        )
        return revision

    async def delete(
        self,
        key: bytes | str,
        *,
        timeout: float = TIMEOUT_S,  # noqa: ASYNC109 - goes with the request
    ) -> bool:
        """Delete a key; whether it was there."""
        status, _, _ = await self._write(_DELETE, checked_key(key), b"", NO_CONDITION, timeout)
        return status == _OK

    async def cas(
        self,
        key: bytes | str,
        value: bytes | str | None,
        *,
        expect: int,
        timeout: float = TIMEOUT_S,  # noqa: ASYNC109 - goes with the request
    ) -> CasResult:
        """Set a key (`None`: delete it) only if it is at revision `expect`; 0: if it is absent."""
        op, data = (_DELETE, b"") if value is None else (_PUT, checked_value(value))
        status, revision, _ = await self._write(op, checked_key(key), data, expect, timeout)
        return CasResult(status != _COMPARE_FAILED, revision)

    async def txn(
        self,
        compare: Sequence[Compare] = (),
        then: Sequence[Action] = (),
        otherwise: Sequence[Action] = (),
        *,
        timeout: float = TIMEOUT_S,  # noqa: ASYNC109 - goes with the request
    ) -> TxnResult:
        """If all compares hold, do `then`, else `otherwise`: as one change, seen as a whole."""
        request = kv_pb2.KvTxnRequest(
            compare=[each.message() for each in compare],
            then=[each.message() for each in then],
            otherwise=[each.message() for each in otherwise],
        )
        data = request.SerializeToString()
        _, _, result = await self._write(_TXN, b"", data, NO_CONDITION, timeout)
        return txn_result(kv_pb2.KvTxnReply.FromString(result))

    async def _write(
        self, op: int, key: bytes, value: bytes, expect: int, timeout_s: float
    ) -> Answer:
        link = self._link or self.open_link()
        writes = self._writes
        future = link.offer(writes, op, key, value, expect, timeout_s)
        if not writes.session and self._keeper is None:
            self._keeper = link.loop.create_task(self._keep_session(), name="parti-kv-keeper")
        return await future

    # --- the link and the session ----------------------------------------------------------------

    def open_link(self) -> KvLink:
        """The stream, opened with the first operation."""
        if self._link is None:
            self._link = KvLink(self._sidecar)
            self._link.pending.all_writes.append(self._writes)
        return self._link

    async def call(self, name: str, request: Message, reply: type[Any], timeout_s: float) -> Any:
        """Make a unary call that only reads; tries again until the time is over."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        backoff = transport.Backoff()
        while True:
            rest_s = max(0.001, deadline - asyncio.get_running_loop().time())
            try:
                return await transport.kv_call(self.channel, name, request, reply, rest_s)
            except grpc.aio.AioRpcError as error:
                failure = transport.error_from_status(error)
                lasting = transport.lasting(failure) or failure.reason is Reason.DEADLINE_EXCEEDED
                pause_s = backoff.next_s()
                if lasting or asyncio.get_running_loop().time() + pause_s >= deadline:
                    raise NotExecuted(failure.message, failure.reason) from None
            await asyncio.sleep(pause_s)

    async def close(self) -> None:
        """End the stream and the session."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait({keeper})
        session, self._session = self._session, None
        link, self._link = self._link, None
        if link is not None:
            await link.close()
        if session is not None:
            await session.close()

    async def _keep_session(self) -> None:
        """Hold a session for the writes, and another one when it is over."""
        link = self.open_link()
        while self._writes.queued:
            try:
                session = await open_session(
                    self.channel, limits.KV_SESSION_TTL_MS, TIMEOUT_S, asyncio.Event()
                )
            except PartiError as error:
                for write in self._writes.leave():
                    self._writes.fail(write, error)
                break
            self._session = session
            self._writes.session = session.id
            link.wake()
            await self._until_over(session, link)
            await session.stop()
            self._begin_anew(link)
        self._keeper = None

    async def _until_over(self, session: Session, link: KvLink) -> None:
        while not (session.lost.is_set() or self._writes.over):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.KV_REST_MS / 1000):
                    await session.lost.wait()
            for old in self._old:
                self._writes.queued.extend(old.leave())
            self._old = [old for old in self._old if old.sent]
            self._writes.come_to_rest()
            link.wake()

    def _begin_anew(self, link: KvLink) -> None:
        """Go on without a session; what is still under way in the old one stays there."""
        old = self._writes
        old.over = True
        self._writes = Writes()
        self._writes.queued.extend(old.leave())
        link.pending.all_writes.append(self._writes)
        self._old.append(old)


def checked_key(key: bytes | str) -> bytes:
    """The key as bytes, within the limits."""
    data = as_bytes(key)
    if not data:
        raise NotExecuted("the key is empty", Reason.EMPTY_KEY)
    if len(data) > limits.KEY_BYTES_MAX:
        text = f"the key has {len(data)} bytes, the limit is {limits.KEY_BYTES_MAX}"
        raise NotExecuted(text, Reason.PAYLOAD_TOO_LARGE)
    return data


def checked_value(value: bytes | str) -> bytes:
    """The value as bytes, within the limit."""
    data = as_bytes(value)
    if len(data) > limits.KV_VALUE_BYTES_MAX:
        text = f"the value has {len(data)} bytes, the limit is {limits.KV_VALUE_BYTES_MAX}"
        raise NotExecuted(text, Reason.PAYLOAD_TOO_LARGE)
    return data
