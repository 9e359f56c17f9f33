"""One run of a sidecar: the real driver, services and guards, on simulated loop, disk and network.

What the stream handlers of applications do is here in a few lines each and in the same order: feed,
settle, wake the writers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from parti_proto import admin_pb2, app_pb2, kv_pb2, peer_pb2
from parti_shard.commands import Command
from parti_shard.errors import PartiError
from parti_shard.ids import MemberId
from parti_shard.member import Member
from parti_shard.router import Router
from parti_shard.streams import CLIENT, WORKER, Destination
from parti_sidecar.admin_service import AdminService
from parti_sidecar.frames import result_frame, send_batch, sidecar_frame, worker_input
from parti_sidecar.host import PeerHandshake
from parti_sidecar.inbound_streams import open_inbound
from parti_sidecar.kv_service import KvService
from parti_sidecar.leader_calls import LeaderCalls
from parti_sidecar.peer_service import PeerService
from parti_sidecar.rpc_guard import RpcGuard
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.storage.memory import MemoryStorage
from parti_sidecar.unary_sends import UnarySends
from tests.sim.actors import Actor, Pump
from tests.sim.disk import SimWriter
from tests.sim.loops import ActorLoop
from tests.sim.network import End
from tests.sim.rpc import Call, serve_call
from tests.sim.sim_driver import SimDriver
from tests.sim.timeline import MS, S

if TYPE_CHECKING:
    from tests.sim.machine import Machine

DRAIN_US = 6 * S

Then = Callable[[], object]

_PEER = peer_pb2.DESCRIPTOR.services_by_name["Peer"]
_ADMIN = admin_pb2.DESCRIPTOR.services_by_name["Admin"]
_KV = kv_pb2.DESCRIPTOR.services_by_name["KV"]


class Process(Actor):
    """See the module's docstring."""

    def __init__(self, machine: Machine, run: int) -> None:
        super().__init__(machine, machine.world.fork_rng(f"{machine.name} run {run}"))
        self.run = run
        self.name = f"{machine.name}.{run}"
        self.address = machine.address
        self.loop = ActorLoop(self)
        self.meter = RpcMeter()
        self.writer: SimWriter | None = None
        self.stopping = self.stopping_soon = False
        storage = MemoryStorage(machine.disk, machine.new_member_id())
        self.driver = SimDriver(self, storage, storage.load())
        self.me: MemberId = self.driver.me
        self._newest: dict[tuple[int, MemberId], End] = {}
        driver, calls, guard = self.driver, LeaderCalls(self.driver), RpcGuard(self.meter)
        admin = AdminService(driver, UnarySends(driver), calls, "simulated")
        self._services = (
            guard.service(_PEER, PeerService(driver, self.meter, calls, stream_port=0)),
            guard.service(_ADMIN, admin),
            guard.service(_KV, KvService(driver, self.meter)),
        )
        self.spawn(driver.start(self.address))

    @property
    def member(self) -> Member | None:
        return self.driver.member

    @property
    def router(self) -> Router:
        assert self.member is not None
        return self.member.router

    def spawn(self, coro: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        """Run something in this program; what the world does to it is its own business."""
        task = self.loop.create_task(coro)

        def done(ended: asyncio.Task[object]) -> None:
            error = None if ended.cancelled() else ended.exception()
            if error is not None and not isinstance(error, PartiError):
                self.driver.fail(error)

        task.add_done_callback(done)
        return task

    # -- the end

    def die(self, *, quietly: bool = False) -> None:
        if self.alive:
            self.world.process_ends(self)
        super().die(quietly=quietly)

    def stop_gracefully(self, then: Then) -> None:
        """Drain within a limit, end; what was submitted to the disk is written."""

        def finish(_drained: object = None) -> None:
            if self.alive:
                if self._close():
                    self.die()
                else:
                    self.machine.crash(power=True)
                then()

        self.stopping = self.stopping_soon = True
        draining = self.spawn(self.driver.drain())
        draining.add_done_callback(lambda _: self.after(10 * MS, finish))
        self.after(DRAIN_US, finish)

    def _close(self) -> bool:
        """Write what is queued; False if the disk failed at the very end."""
        self.driver.end_engine()
        return self.writer is None or not self.writer.failed

    # -- peers

    def accept_stream(self, kind: int, handshake: PeerHandshake, end: End) -> bool:
        """Judge a handshake; on acceptance the stream takes the place of an older one."""
        driver = self.driver
        if self.stopping or driver.check_handshake(handshake) is not None:
            return False
        driver.peer_heard(handshake)
        sender = handshake.from_member
        older = self._newest.get((kind, sender))
        self._newest[kind, sender] = end
        answers: list[Pump] = []

        def wake() -> None:
            answers[0].wake()

        stream = open_inbound(kind, driver, self.meter, sender, wake)
        if kind == peer_pb2.STREAM_KIND_FORWARD:
            answers.append(Pump(self.loop, end, stream.take, prompt=True))
        end.on_frame, end.on_closed = stream.received, stream.close
        if older is not None:
            older.give_up()
        return True

    def accept_call(self, call: Call, end: End) -> bool:
        """Begin to handle a call."""
        serve_call(self, self._services, call, end)
        return True

    # -- applications

    def accept_client(self, end: End) -> bool:
        """A client stream begins."""
        if self.member is None or self.stopping:
            return False
        driver, stream = self.driver, self.driver.new_stream_id()
        destination = Destination(CLIENT, stream)
        router = self.router

        def take() -> bytes | None:
            batch = router.take_client(stream)
            return None if batch is None else result_frame(batch).SerializeToString()

        def read(data: bytes) -> None:
            batch = send_batch(app_pb2.SendFrame.FromString(data))
            self.world.message_checks.entered(self, batch)
            router.client_frame(stream, batch, self.now_ms())
            driver.settle()

        def closed() -> None:
            driver.remove_writer(destination)
            router.close_client(stream, self.now_ms())
            driver.settle()

        router.open_client(stream)
        driver.add_writer(destination, Pump(self.loop, end, take, prompt=False).wake)
        end.on_frame, end.on_closed = read, closed
        return True

    def accept_worker(self, name: str, credits_: int, each: int, end: End) -> bool:
        """A worker attaches; the stream is its life."""
        if self.member is None or self.stopping:
            return False
        driver, worker = self.driver, self.driver.new_worker_id()
        destination = Destination(WORKER, worker)
        router = self.router

        def take() -> bytes | None:
            output = router.take_worker(worker, self.now_ms())
            if output is None:
                return None
            if output.deliver is not None:
                self.world.admitted(self, worker, output.deliver)
            if output.closed:
                self.loop.call_soon(end.give_up)
            return sidecar_frame(output).SerializeToString()

        def read(data: bytes) -> None:
            said = worker_input(app_pb2.WorkerFrame.FromString(data))
            router.worker_input(worker, said, self.now_ms())
            driver.settle()

        def closed() -> None:
            driver.remove_writer(destination)
            router.detach_worker(worker, self.now_ms())
            driver.settle()

        router.attach_worker(worker, name, credits_, each, self.now_ms())
        driver.add_writer(destination, Pump(self.loop, end, take, prompt=False).wake)
        end.on_frame, end.on_closed = read, closed
        driver.settle()
        return True

    # -- operations at the leader

    def propose(
        self, command: Command, done: Callable[[object], None], *, planned_at: int = 0
    ) -> None:
        """Have the table changed; `done` is told the value, or the failure."""

        async def propose() -> None:
            try:
                done(await self.driver.propose(command, expected_config_index=planned_at))
            except PartiError as error:
                done(error.failure)

        self.spawn(propose())
