"""The real driver of a sidecar, with the loop, clocks, disk and links of the simulation."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from parti_raft.replica_values import RestoredState
from parti_shard.effects import Effects
from parti_shard.member import Member
from parti_shard.router import Router
from parti_sidecar.config import SidecarConfig
from parti_sidecar.driver import Driver
from parti_sidecar.engine import Engine, Links
from parti_sidecar.handshakes import LocalPeer
from parti_sidecar.joining import Joiner, join_request
from parti_sidecar.meters import Meters
from parti_sidecar.peer_links import MemberLinks
from parti_sidecar.removal import RemovedError
from parti_sidecar.resolving import Resolver
from parti_sidecar.runtime import Supervisor
from parti_sidecar.storage.base import StorageError, StoredState
from parti_sidecar.storage.memory import MemoryStorage
from tests.sim.disk import open_writer_of
from tests.sim.links import SimLinks

if TYPE_CHECKING:
    from tests.sim.process import Process

Result = TypeVar("Result")

TICK_MS = 50
_WORLDS_FAULT = (StorageError, RemovedError)


class Supervision:
    """Stands in for the supervisor: the first failure ends the process, a bug the whole run."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._failed = False

    def spawn(self, coro: Coroutine[Any, Any, Result], name: str) -> asyncio.Task[Result]:
        task = self._process.loop.create_task(coro, name=name)
        task.add_done_callback(self._done)
        return task

    def fail(self, reason: BaseException) -> None:
        if not isinstance(reason, _WORLDS_FAULT):
            raise reason
        if not self._failed:
            self._failed = True
            process = self._process
            process.loop.call_soon(process.world.process_failed, process, reason)

    def _done(self, task: asyncio.Task[Any]) -> None:
        reason = None if task.cancelled() else task.exception()
        if reason is not None:
            self.fail(reason)


class _Names(Resolver):
    """Every name is an address."""

    async def resolve(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        return {name: (name,) for name in names}


class SimDriver(Driver):
    """See the module's docstring."""

    def __init__(self, process: Process, storage: MemoryStorage, stored: StoredState) -> None:
        self._process = process
        machine = process.machine
        config = SidecarConfig(
            data_dir=Path("nowhere"),
            name=machine.name,
            zone=machine.zone,
            join=process.world.addresses(),
            tick_ms=TICK_MS,
        )
        supervisor = cast("Supervisor", Supervision(process))
        super().__init__(config, storage, stored, supervisor, Meters())

    def now_ms(self) -> int:
        return self._process.now_ms()

    def wall_unix_ms(self) -> int:
        return self._process.machine.clock.wall_unix_ms(self._process.world.timeline.now_us)

    def _join(self) -> None:
        config = self.config
        request = join_request(
            self.me, name=config.name, address=self.advertised, zone=config.zone, cluster_id=""
        )
        joiner = self._joiner = Joiner(config.join, request, _Names())
        self._supervisor.spawn(self._begin_when_admitted(joiner), "joining the cluster")

    def _new_member(self, restored: RestoredState) -> Member:
        process = self._process
        member = Member(
            self.me,
            process.world.settings_of(process.machine, self.advertised),
            restored,
            random_timeout=process.rng.randint,
            nonce=process.rng.getrandbits(62) + 1,
            wall_unix_ms=self.wall_unix_ms,
        )
        process.world.member_begins(process, member)
        return member

    def _new_links(self, router: Router, local: LocalPeer) -> MemberLinks:
        return SimLinks(self._process, router, local)

    def _new_engine(self, member: Member, links: Links) -> Engine:
        return Engine(
            member,
            self._storage,
            links,
            clock=self.now_ms,
            tick_ms=TICK_MS,
            deliver=self._deliver,
            fail=self.fail,
            on_commit=lambda _stats: None,
            loop=self._process.loop,
            open_writer=open_writer_of(self._process),
        )

    def _deliver(self, effects: Effects) -> None:
        process, member = self._process, self.member
        assert member is not None
        for event in effects.events:
            process.world.tell(process, f"{event.name} {event.details}")
        process.world.turn_ended(process, member, effects)
        super()._deliver(effects)

    def end_engine(self) -> None:
        """Write what is queued, and have no turn any more."""
        if self._engine is not None:
            self._engine.stop()
        else:
            self._storage.close()
