"""One run of a sidecar: the real engine and the real `Member`, on simulated loop, disk and links.

What the driver and the stream handlers do around them is here in a few lines each and in the same
order: feed, settle, wake the writers; effects are delivered after jobs and frames have left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from parti_proto import app_pb2, peer_pb2
from parti_raft.codec import decode_message
from parti_raft.replica_values import RestoredState
from parti_shard.codec import encode_batch
from parti_shard.commands import Command, NewMember, Outcome
from parti_shard.effects import Effects
from parti_shard.errors import Failure
from parti_shard.ids import NO_MEMBER, MemberId, StreamId, WorkerId
from parti_shard.member import Member
from parti_shard.router import Router
from parti_shard.streams import CLIENT, INBOUND, WORKER, Destination
from parti_sidecar.address_book import AddressBook
from parti_sidecar.beginnings import resumed
from parti_sidecar.engine import Engine, with_data
from parti_sidecar.frames import (
    forward_batch,
    forward_results,
    result_frame,
    send_batch,
    sidecar_frame,
    worker_input,
)
from parti_sidecar.storage.base import Identity, StorageError
from parti_sidecar.storage.memory import MemoryStorage
from tests.sim.actors import Actor, ActorLoop, Pump
from tests.sim.disk import SimWriter, open_writer_of
from tests.sim.handshake import Handshake
from tests.sim.links import FORWARD, FRAMES, Links
from tests.sim.network import End
from tests.sim.timeline import MS, S

if TYPE_CHECKING:
    from tests.sim.machine import Machine

TICK_MS = 50
DRAIN_US = 6 * S
JOIN_AGAIN_MS = (200, 1_000)


Then = Callable[[], object]


class RemovedFromClusterError(Exception):
    """The member was taken out; its process ends."""


class Request:
    """A command under way at the leader; `done` is told its outcomes, or why there are none."""

    def __init__(self, done: Callable[[object | Failure], None]) -> None:
        self.done = done


class Process(Actor):
    """See the module's docstring."""

    def __init__(self, machine: Machine, run: int) -> None:
        super().__init__(machine, machine.world.fork_rng(f"{machine.name} run {run}"))
        self.run = run
        self.name = f"{machine.name}.{run}"
        self.address = machine.address
        self.loop = ActorLoop(self)
        self.storage = MemoryStorage(machine.disk, machine.new_member_id())
        stored = self.storage.load()
        self.me = stored.identity.member_id
        self.cluster_id = stored.identity.cluster_id
        self.member: Member | None = None
        self.engine: Engine | None = None
        self.writer: SimWriter | None = None
        self.links = Links(self)
        self.writers: dict[Destination, Callable[[], None]] = {}
        self.stopping = False
        self._addresses = AddressBook(self._recorded_address)
        self._newest: dict[tuple[str, MemberId], End] = {}
        self._streams = 0
        self._workers = 0
        self._links_held_at_ms = 0
        self._waiters: list[tuple[Callable[[], bool], Then]] = []
        if self.cluster_id:
            self._begin(resumed(self.storage, stored))
        else:
            self.after(0, self._join)

    @property
    def router(self) -> Router:
        assert self.member is not None
        return self.member.router

    def _begin(self, restored: RestoredState) -> None:
        world = self.world
        member = Member(
            self.me,
            world.settings_of(self.machine, self.address),
            restored,
            random_timeout=self.rng.randint,
            nonce=self.rng.getrandbits(62) + 1,
            wall_unix_ms=lambda: self.machine.clock.wall_unix_ms(world.timeline.now_us),
        )
        self.member = member
        world.member_begins(self, member)
        self.engine = Engine(
            member,
            self.storage,
            self.links,
            clock=self.now_ms,
            tick_ms=TICK_MS,
            deliver=self._deliver,
            fail=self.fail,
            on_commit=lambda _stats: None,
            loop=self.loop,
            open_writer=open_writer_of(self),
        )
        self.engine.start()

    # -- the end

    def fail(self, error: BaseException) -> None:
        """What the supervisor does: the process ends. A bug ends the whole run."""
        if not isinstance(error, StorageError | RemovedFromClusterError):
            raise error
        self.world.process_failed(self, error)

    def die(self, *, quietly: bool = False) -> None:
        if self.alive:
            self.world.process_ends(self)
        super().die(quietly=quietly)

    def stop_gracefully(self, then: Then) -> None:
        """Drain within a limit, end; what was submitted to the disk is written."""

        def finish() -> None:
            if self.alive:
                if self._close():
                    self.die()
                else:
                    self.machine.crash(power=True)
                then()

        self.stopping = True
        self.after(DRAIN_US, finish)
        self._drain(lambda: self.after(10 * MS, finish))

    def _close(self) -> bool:
        """Write what is queued; False if the disk failed at the very end."""
        if self.engine is not None:
            self.engine.stop()
            return self.writer is None or not self.writer.failed
        try:
            self.storage.close()
        except StorageError:
            return False
        return True

    def _drain(self, then: Then) -> None:
        """Partitions first, then leadership, then the session: as the driver does."""
        member = self.member
        if member is None:
            then()
            return

        def close() -> None:
            member.close_session(self.now_ms())
            self.touch()
            self._until(lambda: member.session.is_closed, then)

        def hand_over() -> None:
            if member.is_leader and len(member.replica.conf_state.voters) > 1:
                member.transfer_leader(NO_MEMBER)
                self.touch()
                self._until(lambda: member.replica.leader not in (NO_MEMBER, self.me), close)
            else:
                close()

        member.session.draining = True
        self.touch()
        self._until(lambda: not member.owns_anything, hand_over)

    def _until(self, condition: Callable[[], bool], then: Then) -> None:
        if condition():
            then()
        else:
            self._waiters.append((condition, then))

    # -- turns

    def touch(self) -> None:
        if self.engine is not None:
            self.engine.touch()

    def _deliver(self, effects: Effects) -> None:
        assert self.member is not None
        for tag, value in effects.applied:
            if isinstance(tag, Request):
                tag.done(value)
        for tag, failure in effects.failed:
            if isinstance(tag, Request):
                tag.done(failure)
        for event in effects.events:
            self.world.tell(self, f"{event.name} {event.details}")
        for gone in effects.members_gone:
            self._addresses.forget(gone)
            self.links.forget(gone)
        self.world.turn_ended(self, self.member, effects)
        if effects.removed:
            self.fail(RemovedFromClusterError())
            return
        self._hold_links(self.now_ms())
        self._wake_writers()
        waiters, self._waiters = self._waiters, []
        for condition, then in waiters:
            self._until(condition, then)

    def settle(self) -> None:
        """After the router was fed: the leader may have to hear, writers have to wake."""
        member = self.member
        if member is None or not self.alive:
            return
        now_ms = self.now_ms()
        if member.collect_router_news(now_ms):
            self.touch()
        if member.router.stats.parked_messages and now_ms != self._links_held_at_ms:
            self._hold_links(now_ms)
        self._wake_writers()

    def _hold_links(self, now_ms: int) -> None:
        self._links_held_at_ms = now_ms
        self.links.hold_forwards(self.router.peers_wanted())

    def _wake_writers(self) -> None:
        for destination in self.router.take_dirty():
            wake = self.writers.get(destination)
            if wake is not None:
                wake()

    # -- peers

    def handshake(self, to: MemberId) -> Handshake:
        return Handshake(self.cluster_id, self.me, to, self.address)

    def address_of(self, member: MemberId) -> str:
        return self._addresses.address_of(member)

    def hint(self, member: MemberId, address: str) -> None:
        self._addresses.see(member, address)

    def _recorded_address(self, member: MemberId) -> str:
        record = None if self.member is None else self.member.table.members.get(member)
        return record.address if record is not None else ""

    def accept(self, kind: str, handshake: Handshake, end: End) -> bool:
        """Judge a handshake; on acceptance the stream takes the place of an older one."""
        if self.member is None or self.stopping:
            return False
        if handshake.cluster_id != self.cluster_id or handshake.to_member != self.me:
            return False
        sender = handshake.from_member
        self.hint(sender, handshake.from_address)
        older = self._newest.get((kind, sender))
        self._newest[kind, sender] = end
        if kind == FORWARD:
            self._serve_forward(sender, end)
        elif kind == FRAMES:
            end.on_frame = lambda frame: self._frame(sender, *frame)
        else:
            end.on_frame = lambda content: self._snapshot(sender, end, *content)
        if older is not None:
            older.give_up()
        return True

    def _frame(self, sender: MemberId, raft: Sequence[bytes], session: Sequence[bytes]) -> None:
        member, engine = self.member, self.engine
        assert member is not None
        assert engine is not None
        engine.feed(lambda: member.receive(sender, raft, session, self.now_ms()))
        self.settle()

    def _snapshot(self, sender: MemberId, end: End, message: bytes, data: bytes) -> None:
        member, engine = self.member, self.engine
        assert member is not None
        assert engine is not None
        head = decode_message(message)
        assert head.sender == sender
        engine.feed(lambda: member.receive_snapshot(with_data(head, data)))
        self.settle()
        end.send("reply")

    def peer_unreachable(self, member: MemberId) -> None:
        if self.member is not None:
            self.member.replica.report_unreachable(member)

    def snapshot_sent(self, member: MemberId, *, ok: bool) -> None:
        if self.member is not None:
            self.member.replica.report_snapshot(member, ok=ok)
            self.touch()

    def _serve_forward(self, origin: MemberId, end: End) -> None:
        self._streams += 1
        stream = StreamId(self._streams)
        destination = Destination(INBOUND, stream)
        router = self.router

        def take() -> bytes | None:
            batch = router.take_inbound(stream)
            return None if batch is None else forward_results(batch).SerializeToString()

        def read(data: bytes) -> None:
            batch = forward_batch(peer_pb2.ForwardFrame.FromString(data))
            router.inbound_frame(stream, batch, self.now_ms())
            self.settle()

        def closed() -> None:
            self.writers.pop(destination, None)
            router.close_inbound(stream, self.now_ms())
            self.settle()

        router.open_inbound(stream, origin)
        self.writers[destination] = Pump(self.loop, end, take, prompt=True).wake
        end.on_frame, end.on_closed = read, closed

    # -- applications

    def accept_client(self, end: End) -> bool:
        """A client stream begins."""
        if self.member is None or self.stopping:
            return False
        self._streams += 1
        stream = StreamId(self._streams)
        destination = Destination(CLIENT, stream)
        router = self.router

        def take() -> bytes | None:
            batch = router.take_client(stream)
            return None if batch is None else result_frame(batch).SerializeToString()

        def read(data: bytes) -> None:
            batch = send_batch(app_pb2.SendFrame.FromString(data))
            self.world.message_checks.entered(self, batch)
            router.client_frame(stream, batch, self.now_ms())
            self.settle()

        def closed() -> None:
            self.writers.pop(destination, None)
            router.close_client(stream, self.now_ms())
            self.settle()

        router.open_client(stream)
        self.writers[destination] = Pump(self.loop, end, take, prompt=False).wake
        end.on_frame, end.on_closed = read, closed
        return True

    def accept_worker(self, name: str, credits_: int, each: int, end: End) -> bool:
        """A worker attaches; the stream is its life."""
        if self.member is None or self.stopping:
            return False
        self._workers += 1
        worker = WorkerId(self._workers)
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
            self.settle()

        def closed() -> None:
            self.writers.pop(destination, None)
            router.detach_worker(worker, self.now_ms())
            self.settle()

        router.attach_worker(worker, name, credits_, each, self.now_ms())
        self.writers[destination] = Pump(self.loop, end, take, prompt=False).wake
        end.on_frame, end.on_closed = read, closed
        self.settle()
        return True

    # -- operations at the leader

    def propose(self, command: Command, done: Callable[[object | Failure], None]) -> None:
        assert self.member is not None
        now_unix_ms = self.machine.clock.wall_unix_ms(self.world.timeline.now_us)
        self.member.propose(Request(done), encode_batch(now_unix_ms, [command]))
        self.touch()

    def admit(self, new: NewMember, done: Callable[[object | Failure], None]) -> None:
        assert self.member is not None
        if new.member in self.member.table.members:
            self.loop.call_soon(done, [Outcome()])
            return
        self.member.admit(Request(done), new)
        self.touch()

    # -- joining

    def _join(self) -> None:
        """Ask the leader, through whoever answers, to be taken in; again until it works."""
        if self.cluster_id:
            return
        self.after(self.rng.randint(*JOIN_AGAIN_MS) * MS, self._join)
        server = self.world.leader()
        if server is None or server is self:
            return
        self.world.network.connect(
            self, server, self._ask_to_join, self._admitted, lambda _refused: None
        )

    def _ask_to_join(self, server: Process, end: End) -> bool:
        if server.member is None or not server.member.is_leader:
            return False
        new = NewMember(self.me, self.machine.name, self.address, self.machine.zone)

        def admitted(outcome: object | Failure) -> None:
            if server.alive and not isinstance(outcome, Failure) and server.member is not None:
                server.hint(self.me, self.address)
                peers = {m: server.address_of(m) for m in server.member.table.members}
                peers[server.me] = server.address
                end.send((server.cluster_id, peers))

        server.admit(new, admitted)
        return True

    def _admitted(self, end: End) -> None:
        def read(admission: tuple[str, dict[MemberId, str]]) -> None:
            cluster_id, peers = admission
            end.close()
            if self.cluster_id:
                return
            for member, address in peers.items():
                self.hint(member, address)
            try:
                self.storage.set_identity(Identity(cluster_id, self.me))
            except StorageError as error:
                self.fail(error)
                return
            self.cluster_id = cluster_id
            self._begin(RestoredState())
            self.world.tell(self, "joined")

        end.on_frame = read
