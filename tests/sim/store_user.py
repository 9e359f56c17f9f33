"""A program that uses the replicated store through its sidecar: reads, writes, locks, a session.

It does one thing at a time. A write of its session is asked again under the same number until it is
answered, also at other members; without a session it is asked once. What it sees is written down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING, Any, Final

import grpc.aio
from google.protobuf.message import Message

from parti_proto import kv_pb2
from parti_shard.errors import Executed, Failure, Reason
from parti_sidecar.status import failure_of
from tests.lincheck.steps import Cas, CasRefused, Read, Write
from tests.process.chaos.kv_load import Removed
from tests.sim.actors import Actor
from tests.sim.loops import ActorLoop
from tests.sim.rpc import SimChannel
from tests.sim.timeline import MS

if TYPE_CHECKING:
    from tests.sim.machine import Machine

SESSION_TTL_MS: Final = (1_000, 5_000)
CALL_TIMEOUT_S: Final = (0.3, 2.0)
GIVE_UP_S: Final = 8.0  # on a write that nobody answers
AGAIN_S: Final = (0.02, 0.3)
WITH_SESSION: Final = 0.7  # of the writes
LOCK: Final = b"lock"


class StoreUser(Actor):
    """See the module's docstring."""

    def __init__(self, machine: Machine, rng: Random, name: str) -> None:
        super().__init__(machine, rng)
        self.name = name
        self.loop = ActorLoop(self)
        self._checks = self.world.store_checks
        self._session = 0
        self._seq = 0
        self._seen: dict[bytes, tuple[bytes | None, int]] = {}  # value, revision
        self._begin(self._work)
        self._begin(self._keep_session)

    def die(self, *, quietly: bool = False) -> None:
        if self.alive:
            self._checks.given_up(self.name)
        super().die(quietly=quietly)

    def _begin(self, work: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            await work()

        task = self.loop.create_task(run())
        task.add_done_callback(lambda ended: ended.cancelled() or ended.result())

    async def _work(self) -> None:
        acts = (self._get, self._put, self._cas, self._delete, self._lock)
        while True:
            await asyncio.sleep(self.rng.randint(*self.world.plan.store_every_us) / (1_000 * MS))
            if self.world.load_on:
                await self.rng.choices(acts, (8, 5, 6, 1, 2))[0]()

    # -- sessions

    async def _keep_session(self) -> None:
        while True:
            ttl_ms = self.rng.choice(SESSION_TTL_MS)
            request = kv_pb2.KvOpenSessionRequest(nonce=self.rng.getrandbits(60), ttl_ms=ttl_ms)
            opened = await self._ask("OpenSession", request, kv_pb2.KvOpenSessionReply)
            if isinstance(opened, Failure):
                await asyncio.sleep(self.rng.uniform(*AGAIN_S))
                continue
            self._session, self._seq = opened.session, 0
            keep = kv_pb2.KvKeepAliveRequest(session=[opened.session])
            while self._session == opened.session:
                await asyncio.sleep(ttl_ms / 3_000)
                kept = await self._ask("KeepAlive", keep, kv_pb2.KvKeepAliveReply)
                if not isinstance(kept, Failure) and not kept.alive[0]:
                    self._session = 0

    # -- what it does

    async def _get(self) -> None:
        key = self._checks.key(self.rng)
        self._checks.recorder.invoke(self.name, key)
        reply = await self._ask("Get", kv_pb2.KvGetRequest(key=key), kv_pb2.KvGetReply)
        if isinstance(reply, Failure):
            self._checks.recorder.fail(self.name)
            return
        value = reply.value if reply.found else None
        self._checks.recorder.ok(self.name, Read(value))
        self._seen[key] = value, reply.revision

    async def _put(self) -> None:
        key, value = self._checks.key(self.rng), self._checks.value()
        self._checks.recorder.invoke(self.name, key, Write(value))
        reply = await self._write("Put", kv_pb2.KvPutRequest(key=key, value=value))
        if reply is not None:
            self._checks.recorder.ok(self.name)
            self._checks.acknowledged(value, reply.revision)
            self._seen[key] = value, reply.revision

    async def _cas(self) -> None:
        key, value = self._checks.key(self.rng), self._checks.value()
        expected, revision = self._seen.get(key, (None, 0))
        self._checks.recorder.invoke(self.name, key, Cas(expected, value))
        request = kv_pb2.KvCompareAndSetRequest(key=key, value=value, expect=revision)
        reply = await self._write("CompareAndSet", request)
        if reply is None:
            return
        if reply.compare_failed:
            self._checks.recorder.fail(self.name, CasRefused(expected))
            self._seen.pop(key, None)
            return
        self._checks.recorder.ok(self.name)
        self._checks.acknowledged(value, reply.revision)
        self._seen[key] = value, reply.revision

    async def _delete(self) -> None:
        key = self._checks.key(self.rng)
        self._checks.recorder.invoke(self.name, key, Write(None))
        reply = await self._write("Delete", kv_pb2.KvDeleteRequest(key=key))
        if reply is not None:
            self._checks.recorder.ok(self.name, Removed() if reply.changed else Read(None))
            self._seen[key] = None, 0

    async def _lock(self) -> None:
        """Take the lock if it is free, hold it for a while, give it back."""
        if not self._session:
            return
        session, once = self._session, self._once()
        request = kv_pb2.KvLockRequest(name=LOCK, once=once, only_if_free=True)
        reply = await self._ask("Lock", request, kv_pb2.KvLockReply)
        if isinstance(reply, Failure) or not reply.held:
            return
        self._checks.locked(session, reply.token)
        await asyncio.sleep(self.rng.uniform(*AGAIN_S))
        if self._session == session:
            give_back = kv_pb2.KvUnlockRequest(name=LOCK, once=self._once())
            await self._ask("Unlock", give_back, kv_pb2.KvUnlockReply)

    # -- asking

    def _once(self) -> kv_pb2.KvOnce:
        self._seq += 1
        seq = self._seq
        return kv_pb2.KvOnce(session=self._session, seq=seq, acknowledged_below=seq)

    async def _write(self, method: str, request: Any) -> kv_pb2.KvWriteReply | None:
        """None: refused, or what became of it is not known; that is written down."""
        with_session = self._session and self.rng.random() < WITH_SESSION
        if with_session:
            request.once.CopyFrom(self._once())
        until_s = self.loop.time() + GIVE_UP_S
        never_ran = True
        while True:
            reply = await self._ask(method, request, kv_pb2.KvWriteReply)
            if not isinstance(reply, Failure):
                assert isinstance(reply, kv_pb2.KvWriteReply)
                return reply
            never_ran = never_ran and reply.executed is Executed.NO
            over = reply.reason is Reason.SESSION_OVER or self.loop.time() >= until_s
            if over or not with_session:
                break
            self.world.counts["store: write asked again"] += 1
            await asyncio.sleep(self.rng.uniform(*AGAIN_S))
        if never_ran:
            self._checks.recorder.fail(self.name)
            self._checks.refused(getattr(request, "value", b""))
        else:
            self._checks.recorder.unknown(self.name)
        return None

    async def _ask(self, method: str, request: Message, reply: type[Message]) -> Any:
        """The reply, or the failure. Mostly at its own sidecar."""
        machine = self.machine
        if self.rng.random() < 0.2:  # its sidecar is not the only one
            machine = self.rng.choice(self.world.machines)
        counts = self.world.counts
        async with SimChannel(self, self.loop, machine.address) as channel:
            call = channel.unary_unary(
                f"/parti.v1.KV/{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=reply.FromString,
            )
            try:
                answer = await call(request, timeout=self.rng.choice(CALL_TIMEOUT_S))
            except grpc.aio.AioRpcError as error:
                failure = failure_of(error)
                counts[f"store: {failure.reason.name}/{failure.executed.name}"] += 1
                return failure
        counts["store: answered"] += 1
        return answer
