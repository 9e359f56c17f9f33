"""The key-value store of the fake sidecar: the real store and the real service, without a cluster.

What a cluster would agree on is applied at once. Limits, transactions, sessions, locks, watches and
errors are those of a sidecar, because the same code decides them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Any, Self

from parti._values import boottime_ms
from parti_kv.codec import encode_command
from parti_kv.commands import CloseSession, Command, ExpireSession, OpenSession, Writes
from parti_kv.store import KvStore
from parti_kv.values import Answers, SessionId
from parti_proto import kv_pb2
from parti_shard.effects import Effects
from parti_shard.ids import LogIndex
from parti_shard.kv_keeper import KvKeeper
from parti_shard.kv_stats import KvStats
from parti_sidecar.kv_service import KvService
from parti_sidecar.outcomes import Outcomes
from parti_sidecar.rpc_guard import RpcGuard
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.store_news import StoreNews

HANDLERS_END_MS = 1_000


class FakeStore:
    """What tests see and control of the store; the rest serves `parti.v1.KV`."""

    def __init__(self, bytes_max: int) -> None:
        self.store = KvStore()
        self.store.bytes_max = bytes_max
        self.stats = KvStats()
        self.store_news = StoreNews()
        self._keeper = KvKeeper(self.store)
        self._outcomes = Outcomes()
        self._effects = Effects()
        self._turn: asyncio.Handle | None = None
        self._guard = RpcGuard(RpcMeter())
        self.kv_service = KvService(self, self._guard.meter)

    # --- what tests look at and control ----------------------------------------------------------

    @property
    def revision(self) -> int:
        """How many changes there were."""
        return self.store.revision

    def value(self, key: bytes | str) -> bytes | None:
        """What a key holds; None if it is absent."""
        record = self.store.get(key.encode() if isinstance(key, str) else key)
        return None if record is None else record.value

    def expire_sessions(self, *sessions: int) -> None:
        """End these client sessions, or all, as if they had been silent: their locks are lost."""
        for session in sessions or tuple(self.store.sessions.open):
            self._apply(ExpireSession(SessionId(session)))
        self.touch()

    def forget_changes(self) -> None:
        """Keep no change for watches: those that are behind get `COMPACTED`."""
        self.store.history.begin_after(self.store.revision)

    # --- what the service needs of a sidecar and its member ---------------------------------------

    @property
    def member(self) -> Self:
        """The only member there is."""
        return self

    @property
    def kv(self) -> Self:
        """Its access to the store."""
        return self

    def now_ms(self) -> int:
        """Time of the lease clock."""
        return boottime_ms()

    def touch(self) -> None:
        """Tell outcomes and news soon, as a sidecar does at the end of a turn."""
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._tell)

    def write(self, tag: Hashable, writes: Writes, _now_ms: int, _timeout_ms: int) -> None:
        """Do a batch of writes."""
        self._answer(tag, writes)

    def open_session(
        self, tag: Hashable, nonce: int, ttl_ms: int, _now_ms: int, _timeout_ms: int
    ) -> None:
        """Open a client session."""
        self._answer(tag, OpenSession(nonce, ttl_ms))

    def close_session(
        self, tag: Hashable, session: SessionId, _now_ms: int, _timeout_ms: int
    ) -> None:
        """Close a client session."""
        self._answer(tag, CloseSession(session))

    def read(self, tag: Hashable, _now_ms: int, _timeout_ms: int, _count: int = 1) -> None:
        """Everything acknowledged is here already."""
        self._effects.reads.append((tag, LogIndex(0)))

    def keep_alive(self, tag: Hashable, sessions: tuple[SessionId, ...], now_ms: int) -> None:
        """Keep client sessions alive."""
        self._effects.applied.append((tag, self._keeper.heard(sessions, now_ms)))

    # --- what the fake sidecar calls --------------------------------------------------------------

    def handlers(self) -> Any:
        """The handlers of `parti.v1.KV` for a server."""
        return self._guard.service(kv_pb2.DESCRIPTOR.services_by_name["KV"], self.kv_service)

    async def end_calls(self) -> None:
        """Wait for the handlers of a server that was stopped."""
        await self._guard.wait_idle(HANDLERS_END_MS)

    def sweep(self) -> None:
        """Expire the sessions that have been silent for longer than their TTL."""
        silent = self._keeper.take_silent(self.now_ms())
        for session in silent:
            self._apply(ExpireSession(session))
        if silent:
            self.touch()

    def _answer(self, tag: Hashable, command: Command) -> None:
        self._effects.applied.append((tag, self._apply(command)))

    def _apply(self, command: Command) -> Answers | None:
        revision = self.store.revision
        applied = self.store.apply(encode_command(command))
        self._effects.store_changed |= self.store.revision != revision
        return None if applied is None else applied[2]

    def _tell(self) -> None:
        self._turn = None
        effects, self._effects = self._effects, Effects()
        effects.locks_changed = self.store.locks.take_changed()
        self._outcomes.deliver(effects)
        self.store_news.tell(effects)
