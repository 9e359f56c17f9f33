"""Requests to the key-value store that one caller awaits: of unary RPCs and of HTTP.

Every request has an outcome by its deadline: the member sees to that. What the store refuses is
raised as a PartiError; a compare that failed is an answer, not an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from parti_kv.commands import ANY_REVISION, Op, Writes
from parti_kv.errors import MalformedKvError
from parti_kv.store import KvStore
from parti_kv.txn import Txn
from parti_kv.values import NO_SESSION, Answers, SessionId, Status
from parti_shard.errors import Executed, Failure, PartiError, Reason
from parti_shard.kv_stats import Kind
from parti_sidecar.store_host import StoreAccess, StoreHost, StoreMember
from parti_sidecar.unary_sends import NOT_READY

_REFUSALS = {
    Status.SESSION_OVER: (Reason.SESSION_OVER, "the session was closed or has expired"),
    Status.FORGOTTEN: (
        Reason.INVALID_ARGUMENT,
        "the session has acknowledged the answer to a write of this number before",
    ),
    Status.WINDOW_FULL: (Reason.OVERLOADED, "too many writes whose answers are not acknowledged"),
    Status.STORE_FULL: (Reason.STORE_FULL, "the store holds as many bytes as it may"),
    Status.SESSIONS_FULL: (Reason.STORE_FULL, "the store holds as many sessions as it may"),
    Status.LOCKS_FULL: (Reason.STORE_FULL, "too many locks, or too many wait for this one"),
    Status.ANSWER_TOO_LARGE: (Reason.PAYLOAD_TOO_LARGE, "the transaction reads too much"),
}


@dataclass(frozen=True, slots=True)
class Write:
    """One write; see `parti_kv.commands.Writes`."""

    op: Op
    key: bytes
    value: bytes = b""
    expect: int = ANY_REVISION
    txn: Txn | None = None


@dataclass(frozen=True, slots=True)
class Once:
    """What makes a write count once; without a session it may count at most once per attempt."""

    session: SessionId = NO_SESSION
    seq: int = 0
    acknowledged_below: int = 0


class Written(NamedTuple):
    """The answer to one write."""

    status: Status
    revision: int
    result: bytes  # of a transaction


class KvCalls:
    """The store as the adapters of one sidecar call it."""

    def __init__(self, host: StoreHost) -> None:
        self._host = host

    def store(self) -> KvStore:
        """The store as it is known here now. Raises PartiError before there is a member."""
        return self._member().store

    async def read(self, timeout_ms: int, *, stale: bool = False) -> KvStore:
        """The store in a state that holds all that was acknowledged before this call."""
        member = self._member()
        if stale:
            member.kv.stats.succeed(Kind.STALE_READ, 1)
        else:
            now_ms = self._host.now_ms()
            await self._ask(lambda kv, tag: kv.read(tag, now_ms, timeout_ms))
        return member.store

    async def write(self, write: Write, timeout_ms: int, once: Once | None = None) -> Written:
        """Do one write."""
        once = once or Once()
        batch = Writes(
            ops=(write.op,),
            keys=(write.key,),
            values=(write.value,),
            expects=(write.expect,),
            seqs=(once.seq,),
            session=once.session,
            acknowledged_below=once.acknowledged_below,
            txns={} if write.txn is None else {0: write.txn},
        )
        now_ms = self._host.now_ms()
        answers = await self._ask(lambda kv, tag: kv.write(tag, batch, now_ms, timeout_ms))
        return _only_answer(answers)

    async def open_session(self, nonce: int, ttl_ms: int, timeout_ms: int) -> SessionId:
        """Open a client session."""
        now_ms = self._host.now_ms()
        answers = await self._ask(
            lambda kv, tag: kv.open_session(tag, nonce, ttl_ms, now_ms, timeout_ms)
        )
        return SessionId(_only_answer(answers).revision)

    async def close_session(self, session: SessionId, timeout_ms: int) -> None:
        """Close a client session."""
        now_ms = self._host.now_ms()
        answers = await self._ask(
            lambda kv, tag: kv.close_session(tag, session, now_ms, timeout_ms)
        )
        _only_answer(answers)

    async def keep_alive(self, sessions: tuple[SessionId, ...]) -> tuple[bool, ...]:
        """Keep client sessions alive; says which of them live on."""
        now_ms = self._host.now_ms()
        alive = await self._ask(lambda kv, tag: kv.keep_alive(tag, sessions, now_ms))
        assert isinstance(alive, tuple), alive
        return alive

    async def _ask(self, ask: Callable[[StoreAccess, asyncio.Future[object]], None]) -> object:
        member = self._member()
        outcome: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        try:
            ask(member.kv, outcome)
        except MalformedKvError as error:
            raise PartiError(malformed(error)) from error
        self._host.touch()
        return await outcome

    def _member(self) -> StoreMember:
        member = self._host.member
        if member is None:
            raise PartiError(NOT_READY)
        return member


def malformed(error: MalformedKvError) -> Failure:
    """A request that makes no sense."""
    return Failure(Reason.INVALID_ARGUMENT, Executed.NO, str(error))


def refusal_of(status: Status) -> Failure:
    """What a refused write is told."""
    reason, text = _REFUSALS[status]
    return Failure(reason, Executed.NO, text)


def _only_answer(answers: object) -> Written:
    assert isinstance(answers, Answers), answers
    status = Status(answers.statuses[0])
    if status.refused:
        raise PartiError(refusal_of(status))
    return Written(status, answers.revisions[0], answers.results.get(0, b""))
