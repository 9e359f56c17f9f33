"""A whole cluster in one process, under virtual time, from one seed.

A run is a phase of trouble in which nothing may ever go wrong for good (safety), then healing, and
a phase in which everything must come right within a bounded time (liveness).
"""

from __future__ import annotations

from collections import Counter, deque
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

from parti_raft.types import ConfState, HardState, LogIndex, Snapshot, Term
from parti_shard.batches import ForwardBatch
from parti_shard.commands import NewMember
from parti_shard.effects import Effects
from parti_shard.ids import NO_MEMBER, MemberId, WorkerId
from parti_shard.member import Member, MemberSettings
from parti_shard.own_session import Profile
from parti_shard.table import Table
from parti_sidecar.removal import RemovedError
from parti_sidecar.storage.base import Identity, StorageError, WriteBatch
from parti_sidecar.storage.memory import MemoryStorage
from tests.sim.applications import Client, Manners, Worker
from tests.sim.coverage import of_member
from tests.sim.loops import ActorLoop
from tests.sim.machine import Machine
from tests.sim.message_checks import MessageChecks
from tests.sim.network import Network
from tests.sim.ownership_checks import OwnershipChecks
from tests.sim.plan import Plan
from tests.sim.process import Process
from tests.sim.raft_checks import Canon, RaftChecks
from tests.sim.store_checks import StoreChecks
from tests.sim.store_user import StoreUser
from tests.sim.timeline import MS, Timeline

if TYPE_CHECKING:
    from tests.sim.actors import Actor

CLUSTER: Final = "sim"
ZONES: Final = ("a", "b", "c")
STORY_LINES_MAX: Final = 2_000
RESTART_US: Final = (20 * MS, 3_000 * MS)
REMOVAL_GRACE_MS: Final = 1_000  # as the default
CHECK_EVERY_TURNS: Final = 8  # of one process: the members' own invariants


class World:
    """See the module's docstring."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.timeline = Timeline()
        self.counts: Counter[str] = Counter()
        self.story: deque[str] = deque(maxlen=STORY_LINES_MAX)
        self.network = Network(self.timeline, self.fork_rng("network"), self.counts)
        self.rng = self.fork_rng("world")
        self.frames_lost = 0.0
        self.load_on = True
        self.healthy = False  # nothing breaks any more
        self.workers_check_lease = plan.workers_check_lease
        self.message_checks = MessageChecks()
        self.ownership_checks = OwnershipChecks(overtime_allowed=plan.available_for_ms > 0)
        self.store_checks = StoreChecks()
        self.machines: list[Machine] = []
        self.loops: list[ActorLoop] = []
        self._workers = 0
        self._turns = 0
        for _ in range(plan.members):
            self._new_machine()
        self.raft_checks = RaftChecks(self._found(), self._first_applied)
        for machine in self.machines:
            machine.start()
            self.new_worker(machine)
            self.new_client(machine)
        for machine in self.machines[: plan.store_users]:
            self.new_store_user(machine)

    def fork_rng(self, name: str) -> Random:
        """Chance of its own for each part, so that a change in one moves no other."""
        return Random(f"{self.plan.seed} {name}")

    def draw_rate_ppm(self, rng: Random) -> int:
        error_ppm = self.plan.clock_error_ppm
        return rng.choice((-error_ppm, error_ppm, rng.randint(-error_ppm, error_ppm)))

    # -- making the cluster

    def _new_machine(self) -> Machine:
        number = len(self.machines)
        machine = Machine(self, f"m{number}", ZONES[number % len(ZONES)])
        self.machines.append(machine)
        return machine

    def _found(self) -> Canon:
        """Every first member begins with the same snapshot on its disk."""
        plan = self.plan
        ids = [machine.new_member_id() for machine in self.machines]
        records = [
            NewMember(me, machine.name, machine.address, machine.zone)
            for me, machine in zip(ids, self.machines, strict=True)
        ]
        table = Table.initial(CLUSTER, plan.partitions, plan.policy, records[0], plan.lease_ttl_ms)
        for record in records[1:]:
            table.member_added(LogIndex(0), record)
        table.advance(LogIndex(1))
        conf = ConfState(
            voters=tuple(sorted(ids[: plan.voters])), learners=tuple(ids[plan.voters :])
        )
        snapshot = Snapshot(LogIndex(1), Term(1), conf, table.snapshot())
        for me, machine in zip(ids, self.machines, strict=True):
            storage = MemoryStorage(machine.disk, me)
            storage.load()
            state = HardState(Term(1), NO_MEMBER, snapshot.index)
            storage.write(WriteBatch(hard_state=state, snapshot=snapshot))
            storage.set_identity(Identity(CLUSTER, me))
            storage.close()
        return Canon(snapshot.index, snapshot.data)

    def add_machine(self) -> Machine:
        """Another one, empty: its sidecar asks to join."""
        machine = self._new_machine()
        machine.start()
        self.new_worker(machine)
        self.new_client(machine)
        return machine

    def new_worker(self, machine: Machine, manners: Manners | None = None) -> None:
        self._workers += 1
        name = f"w{self._workers}@{machine.name}"
        machine.worker = Worker(machine, self.fork_rng(name), name, manners or Manners())

    def new_client(self, machine: Machine) -> None:
        self._workers += 1
        name = f"c{self._workers}@{machine.name}"
        machine.client = Client(machine, self.fork_rng(name), name)

    def new_store_user(self, machine: Machine) -> None:
        self._workers += 1
        name = f"s{self._workers}@{machine.name}"
        machine.store_user = StoreUser(machine, self.fork_rng(name), name)

    def settings_of(self, machine: Machine, address: str) -> MemberSettings:
        plan = self.plan
        return MemberSettings(
            profile=Profile(machine.name, address, machine.zone),
            router=plan.router,
            replica=plan.replica,
            available_for_ms=plan.available_for_ms,
            # Elsewhere a grant on its way meets a session that is being closed.
            removal_grace_ms=REMOVAL_GRACE_MS if plan.quiet else 0,
        )

    # -- looking around

    def processes(self) -> list[Process]:
        """The sidecars that run, frozen ones included."""
        return [m.process for m in self.machines if m.process is not None and m.process.alive]

    def members(self) -> list[tuple[Process, Member]]:
        return [(p, p.member) for p in self.processes() if p.member is not None]

    def leader(self) -> Process | None:
        """The leader of the highest term, if it can act."""
        leaders = [
            (member.replica.raw.term, process)
            for process, member in self.members()
            if member.is_leader and not process.paused
        ]
        return max(leaders, key=lambda pair: pair[0])[1] if leaders else None

    def addresses(self) -> tuple[str, ...]:
        """Where machines are found."""
        return tuple(machine.address for machine in self.machines)

    def listening(self, address: str) -> Process | None:
        for process in self.processes():
            if process.address == address:
                return process
        return None

    # -- what processes tell

    def note(self, text: str) -> None:
        self.story.append(f"{self.timeline.now_us / 1e6:10.6f} {text}")

    def tell(self, actor: Process, text: str) -> None:
        self.note(f"{actor.name} [{actor.now_ms()} ms] {text}")

    def member_begins(self, process: Process, member: Member) -> None:
        self.raft_checks.begins(process, member)
        self.ownership_checks.live[process] = member

    def turn_ended(self, process: Process, member: Member, effects: Effects) -> None:
        self.raft_checks.turn_ended(process, member)
        self.ownership_checks.turn_ended(process, member, effects.changed)
        self._turns += 1
        if self._turns % CHECK_EVERY_TURNS == 0:
            member.check_invariants(process.now_ms())

    def _first_applied(self, table: Table, index: int) -> None:
        self.ownership_checks.first_applied(table)
        self.store_checks.first_applied(self.raft_checks.canon.store)

    def admitted(self, process: Process, worker: WorkerId, batch: ForwardBatch) -> None:
        for partition, epoch in dict.fromkeys(zip(batch.partitions, batch.epochs, strict=True)):
            self.ownership_checks.admitted(process, worker, partition, epoch)
        overtime = self.ownership_checks.in_overtime(process)
        self.message_checks.admitted(process, batch, overtime=overtime)

    def process_ends(self, process: Process) -> None:
        member = self.ownership_checks.live.pop(process, None)
        if member is not None:
            self.counts.update(of_member(member))
        self.tell(process, "ends")

    def process_failed(self, process: Process, error: BaseException) -> None:
        """It ends by itself; whoever runs it starts it again, unless it was taken out."""
        self.tell(process, f"fails: {error}")
        machine = process.machine
        if isinstance(error, RemovedError):
            self.counts["member removed"] += 1
            machine.crash(power=False)
            machine.gone = True
            return
        assert isinstance(error, StorageError)
        self.counts["process failed: " + type(error).__name__] += 1
        machine.crash(power=True)
        self.revive(machine)

    def revive(self, machine: Machine) -> None:
        """Start everything on it again some time later."""
        delay_us = self.rng.randint(*RESTART_US)
        self.timeline.after(delay_us, partial(self.bring_up, machine))

    def bring_up(self, machine: Machine) -> None:
        if machine.gone:
            return
        machine.start()
        if machine.worker is None or not machine.worker.alive:
            self.new_worker(machine)
        if machine.client is None or not machine.client.alive:
            self.new_client(machine)
        if machine.store_user is not None and not machine.store_user.alive:
            self.new_store_user(machine)

    def actors(self) -> list[Actor]:
        """Everything that runs, frozen or not."""
        return [
            actor
            for machine in self.machines
            for actor in (machine.process, *machine.applications())
            if actor is not None and actor.alive
        ]

    def member_ids(self) -> list[MemberId]:
        return list(self.raft_checks.canon.table.members)
