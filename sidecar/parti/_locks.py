"""Locks and elections: one holder at a time, each with a fencing token.

A lock belongs to a session of its own. It is lost when that could not be kept alive, which this
side counts earlier than the cluster does: whoever checks `lost` stops in time, as long as the
process is not frozen. For that case there is the token: it rises from holder to holder, so that
whatever is protected can refuse a former one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Self

import grpc
import grpc.aio

from parti import _limits as limits
from parti import _transport as transport
from parti._errors import NotExecuted, PartiError, Reason
from parti._kv import TIMEOUT_S, Kv, checked_key, checked_value
from parti._kv_pending import NO_CONDITION, Writes
from parti._kv_sessions import Session, open_session
from parti._kv_values import LockState, lock_state
from parti_proto import kv_pb2

_ACQUIRE = int(kv_pb2.KV_OP_ACQUIRE)
_IF_FREE = 0


class LockLost(PartiError):  # noqa: N818 - the name states the fact callers branch on
    """The lock is not held any more, or this cannot be proven."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the lock {name!r} is lost", Reason.SESSION_OVER)


class Lock:
    """A named lock. `async with client.lock("reports") as lock: ... lock.token ...`.

    Attributes:
        lost: an event that is set when the lock is lost while it is held.
    """

    def __init__(
        self, kv: Kv, name: bytes | str, *, value: bytes | str = b"", ttl: float | None = None
    ) -> None:
        self.name = name if isinstance(name, str) else name.decode(errors="backslashreplace")
        self._kv = kv
        self._key = checked_key(name)
        self._value = checked_value(value)
        self._ttl_ms = limits.LOCK_TTL_MS if ttl is None else round(ttl * 1000)
        self._writes: Writes | None = None
        self._session: Session | None = None
        self._token = 0
        self.lost = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Wait until the lock is held."""
        await self.acquire()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.release()

    @property
    def held(self) -> bool:
        """Whether it is held for certain, at this moment."""
        return self._token > 0 and not self.lost.is_set()

    @property
    def token(self) -> int:
        """The fencing token. Raises `LockLost` when the lock is not held any more."""
        self.check()
        return self._token

    def check(self) -> None:
        """Raise `LockLost` unless the lock is held."""
        if not self.held:
            raise LockLost(self.name)

    async def acquire(
        self,
        *,
        wait: bool = True,
        timeout: float | None = None,  # noqa: ASYNC109 - a plain bound
    ) -> bool:
        """Take the lock; whether it is held then.

        Args:
            wait: line up behind whoever holds it.
            timeout: seconds to wait at most; None waits as long as it takes.
        """
        if self._session is not None:
            raise RuntimeError(f"the lock {self.name!r} is taken already, or waited for")
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        self.lost = asyncio.Event()
        held = False
        try:
            async with asyncio.timeout_at(deadline):
                held = await self._take(wait=wait)
        except TimeoutError:
            held = False
        finally:
            if not held:
                await self.release()
        return held

    async def release(self) -> None:
        """Give the lock back, or the place in its queue; once it is lost there is nothing to do."""
        session, self._session = self._session, None
        writes, self._writes = self._writes, None
        self._token = 0
        if writes is not None:
            writes.over = True
        if session is not None:
            await session.close()

    async def _take(self, *, wait: bool) -> bool:
        kv = self._kv
        session = await open_session(kv.channel, self._ttl_ms, TIMEOUT_S, self.lost)
        self._session = session
        link = kv.open_link()
        writes = self._writes = Writes()
        writes.session = session.id
        link.pending.all_writes.append(writes)
        expect = NO_CONDITION if wait else _IF_FREE
        status, token, _ = await link.offer(
            writes, _ACQUIRE, self._key, self._value, expect, TIMEOUT_S
        )
        if status == kv_pb2.KV_STATUS_WAITING:
            await self._until_first(session)
        elif status != kv_pb2.KV_STATUS_OK:
            return False
        self._token = token
        return not self.lost.is_set()

    async def _until_first(self, session: Session) -> None:
        """Wait until the session holds the lock; raises when it is over before."""
        states = watch_lock(self._kv, self._key)
        watching = asyncio.ensure_future(_until_holder(states, session.id))
        losing = asyncio.ensure_future(session.lost.wait())
        try:
            await asyncio.wait({watching, losing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            losing.cancel()
            watching.cancel()
            await asyncio.wait({watching, losing})
            await states.aclose()
        if session.lost.is_set():
            text = "the session expired while it waited for the lock"
            raise NotExecuted(text, Reason.SESSION_OVER)
        watching.result()


class Election(Lock):
    """A lock whose holder leads and says who it is. `async with client.elect("main", "pod-1")`."""

    async def leader(self) -> LockState:
        """Who leads now; token 0: nobody."""
        states = watch_lock(self._kv, self._key)
        try:
            return await anext(states)
        finally:
            await states.aclose()

    def observe(self) -> AsyncGenerator[LockState, None]:
        """Yield who leads, and every change of that."""
        return watch_lock(self._kv, self._key)


async def watch_lock(kv: Kv, name: bytes) -> AsyncGenerator[LockState, None]:
    """Yield who holds a lock: now, and after every change; goes on after a lost connection."""
    backoff = transport.Backoff()
    request = kv_pb2.KvWatchLockRequest(name=name)
    while True:
        call = transport.kv_watch(kv.channel, "WatchLock", request, kv_pb2.KvLockState)
        try:
            while (state := await call.read()) is not grpc.aio.EOF:
                backoff.reset()
                yield lock_state(state)
        except grpc.aio.AioRpcError as error:
            failure = transport.error_from_status(error)
            if transport.lasting(failure):
                raise failure from None
        finally:
            call.cancel()
        await asyncio.sleep(backoff.next_s())


async def _until_holder(states: AsyncGenerator[LockState, None], session: int) -> None:
    async for state in states:
        if state.session == session:
            return
