"""Running drivers in one process: real members, engines and storage threads; no gRPC between them.

Links are replaced by calls into the other driver on the event loop. Timing is short but real, so
tests wait for conditions with a deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from parti_shard.errors import Executed, Failure, MalformedFrameError, PartiError, Reason
from parti_shard.ids import MemberId
from parti_shard.limits import PROTOCOL_VERSION
from parti_shard.member import Member
from parti_sidecar import driver as driver_module
from parti_sidecar import joining
from parti_sidecar.config import SidecarConfig
from parti_sidecar.driver import Driver
from parti_sidecar.host import Admission, Applicant
from parti_sidecar.meters import Meters
from parti_sidecar.runtime import Supervisor
from parti_sidecar.storage.memory import MemoryDisk, MemoryStorage

DEADLINE_S = 10.0
FAST = SidecarConfig(
    data_dir=Path("unused"),
    partitions=8,
    lease_ttl_ms=400,
    tick_ms=10,
    heartbeat_ms=20,
    election_ms=100,
)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until it holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - any condition, which nobody announces
            await asyncio.sleep(0.002)


@dataclass
class DirectLinks:
    """What `PeerLinks` is to a driver."""

    world: DriverWorld
    me: MemberId
    forgotten: list[MemberId] = field(default_factory=list)
    heard_of: list[MemberId] = field(default_factory=list)
    closed: bool = False

    def send(self, member: MemberId, raft: list[bytes], session: list[bytes]) -> None:
        assert not self.closed, "nothing is sent over closed links"
        target = self.world.running.get(member)
        if target is None or {self.me, member} & self.world.cut:
            return
        asyncio.get_running_loop().call_soon(_give, target, self.me, raft, session)

    def send_snapshot(self, member: MemberId, message: bytes, data: bytes) -> None:
        target, me = self.world.running.get(member), self.world.running[self.me]
        ok = target is not None and not {self.me, member} & self.world.cut
        if target is not None and ok:
            target.peer_snapshot(self.me, message, data)
        asyncio.get_running_loop().call_soon(lambda: me.snapshot_sent(member, ok=ok))

    def hold_forwards(self, members: Iterable[MemberId]) -> None:
        assert not (self.closed and list(members)), "no links are opened after the end"

    def forget(self, member: MemberId) -> None:
        self.forgotten.append(member)

    def heard(self, member: MemberId) -> None:
        self.heard_of.append(member)

    async def close(self) -> None:
        self.closed = True


def _give(
    target: Driver, sender: MemberId, raft: Sequence[bytes], session: Sequence[bytes]
) -> None:
    try:
        target.peer_frame(sender, raft, session)
    except MalformedFrameError:
        pytest.fail("a member of this test sent a malformed frame")


@dataclass
class Run:
    """One run of one driver."""

    driver: Driver
    supervisor: Supervisor
    storage: MemoryStorage

    @property
    def member(self) -> Member:
        assert self.driver.member is not None
        return self.driver.member

    @property
    def failure(self) -> BaseException | None:
        failed = self.supervisor.failed
        return failed.exception() if failed.done() else None

    async def failed(self) -> BaseException:
        await until(lambda: self.failure is not None)
        assert self.failure is not None
        return self.failure


class DriverWorld:
    """Drivers by member; disks outlive them."""

    def __init__(self) -> None:
        self.disks: dict[MemberId, MemoryDisk] = {}
        self.running: dict[MemberId, Driver] = {}
        self.runs: dict[MemberId, Run] = {}
        self.cut: set[MemberId] = set()

    def make(self, member: int, **settings: Any) -> Run:
        """A driver that is not started."""
        me = MemberId(member)
        storage = MemoryStorage(self.disks.setdefault(me, MemoryDisk()), me)
        config = replace(FAST, name=f"m{member}", **settings)
        supervisor = Supervisor()
        driver = Driver(config, storage, storage.load(), supervisor, Meters())
        self.running[me] = driver
        self.runs[me] = Run(driver, supervisor, storage)
        return self.runs[me]

    async def start(self, member: int, **settings: Any) -> Run:
        run = self.make(member, **settings)
        await run.driver.start(f"127.0.0.1:{6000 + member}")
        return run

    async def found(self, *joiners: int) -> Run:
        """A cluster of member 1 and others, in which everybody has a live lease."""
        first = await self.start(1, bootstrap=True, cluster_id="c")
        await until(lambda: not first.driver.ready_missing())
        for joiner in joiners:
            await self.start(joiner, join=("127.0.0.1:6001",))
            await until(lambda: not self.runs[MemberId(joiner)].driver.ready_missing())  # noqa: B023
        return first

    async def stop(self, member: int) -> None:
        run = self.runs.pop(MemberId(member))
        del self.running[run.driver.me]
        await run.driver.stop()
        await run.supervisor.cancel_all()
        run.storage.close()

    async def stop_all(self) -> None:
        for member in list(self.runs):
            await self.stop(member)

    async def join(self, _address: str, request: Any) -> Admission:
        """In place of the call over gRPC: whoever leads answers."""
        leaders = [d for d in self.running.values() if d.member and d.member.is_leader]
        if not leaders:
            raise PartiError(Failure(Reason.NOT_READY, Executed.NO, "no cluster"))
        return await leaders[0].admit(applicant_of(request))


def applicant_of(request: Any) -> Applicant:
    assert request.protocol_version == PROTOCOL_VERSION
    return Applicant(
        MemberId(request.member_id),
        request.name,
        request.address,
        request.zone,
        request.cluster_id,
        request.protocol_version,
    )


@asynccontextmanager
async def drivers(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DriverWorld]:
    """A world that is cleaned up, also after a failure."""
    world = DriverWorld()
    monkeypatch.setattr(
        driver_module, "PeerLinks", lambda host, _router, _local: DirectLinks(world, host.me)
    )
    monkeypatch.setattr(joining, "ask", world.join)
    monkeypatch.setattr(joining, "ROUND_AGAIN_LAST_MS", 20)
    try:
        yield world
    finally:
        await world.stop_all()
