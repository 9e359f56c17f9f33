"""What goes wrong, and what people do meanwhile. Each trouble is one short function by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from parti_shard.commands import Command, DescribeMember, Intent, Pin, SetIntent, SetPolicy
from parti_shard.errors import Failure
from parti_shard.ids import NO_MEMBER, MemberId, PartitionId
from parti_sidecar.storage.base import DiskFull, WriteFailed
from parti_sidecar.storage.memory import DiskPart
from tests.sim.actors import Actor
from tests.sim.applications import Manners
from tests.sim.machine import Machine
from tests.sim.plan import draw_policy
from tests.sim.process import Process
from tests.sim.timeline import MS, S
from tests.sim.world import World

SHORT_US: Final = (10 * MS, 800 * MS)
RESTARTS_MS: Final = 10_000  # longer than any restart and cut
MEMBERS_MIN: Final = 3  # so many stay
VOTERS_MIN: Final = 3  # of whom one may lose its disk
LONG_US: Final = (1 * S, 8 * S)


class Troubles:
    """Draws troubles of the plan until its time is over."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rng = world.fork_rng("troubles")
        self._lost: set[MemberId] = set()  # members whose disk is gone
        self._mover: Machine | None = None
        self._plan_next()

    def _plan_next(self) -> None:
        plan = self.world.plan
        if plan.troubles:
            delay_us = self.rng.randint(*plan.trouble_every_us)
            self.world.timeline.after(delay_us, self._happen)

    def _happen(self) -> None:
        if self.world.healthy:
            return
        name = self.rng.choice(self.world.plan.troubles)
        if _TROUBLES[name](self):
            self.world.counts["fault: " + name] += 1
            self.world.note(f"-- {name}")
        self._plan_next()

    # -- helpers

    def _machine(self) -> Machine | None:
        up = [machine for machine in self.world.machines if machine.is_up]
        return self.rng.choice(up) if up else None

    def _later(self, bounds_us: tuple[int, int], action: Callable[[], object]) -> None:
        self.world.timeline.after(self.rng.randint(*bounds_us), action)

    # -- processes

    def kill(self) -> bool:
        return self._crash(power=False)

    def power_cut(self) -> bool:
        return self._crash(power=True)

    def _crash(self, *, power: bool) -> bool:
        machine = self._machine()
        if machine is None:
            return False
        machine.crash(power=power)
        self.world.revive(machine)
        return True

    def pause(self) -> bool:
        return self._pause(SHORT_US)

    def long_pause(self) -> bool:
        return self._pause(LONG_US)

    def _pause(self, bounds_us: tuple[int, int]) -> bool:
        machine = self._machine()
        if machine is None or machine.process is None:
            return False
        frozen: list[Actor] = [machine.process]
        if self.rng.random() < 0.4:  # the whole machine stands still
            frozen += machine.applications()
        return self._freeze(frozen, bounds_us)

    def _freeze(self, actors: list[Actor], bounds_us: tuple[int, int]) -> bool:
        for actor in actors:
            actor.pause()
            self.world.note(f"{actor.machine.name}: {type(actor).__name__} frozen")

        def resume() -> None:
            for actor in actors:
                actor.resume()

        self._later(bounds_us, resume)
        return True

    def new_address(self) -> bool:
        """A voter comes back elsewhere; always the same one: two that moved while each missed the
        other's news never meet again. And it must stay a voter: one that was replaced meanwhile
        may find nobody whom it knows, and nobody looks for it at its new place.
        """
        calm = self.world.raft_checks.canon.table.policy.voter_replace_after_ms >= RESTARTS_MS
        if not calm or {"lost disk", "bit rot"} & set(self.world.plan.troubles):
            return False
        leader = self.world.leader()
        machine = self._mover or self._machine()
        if leader is None or leader.member is None or machine is None or not machine.is_up:
            return False
        process = machine.process
        if process is None or process.me not in leader.member.replica.conf_state.voters:
            return False
        self._mover = machine
        machine.crash(power=True)
        machine.change_address()
        self.world.revive(machine)
        return True

    # -- network

    def split(self) -> bool:
        machines = self.world.machines
        side = set(self.rng.sample(range(len(machines)), self.rng.randint(1, len(machines) - 1)))
        for i, a in enumerate(machines):
            for j, b in enumerate(machines):
                if (i in side) != (j in side):
                    self._block(a, b)
        self._later(LONG_US, self._heal)
        return True

    def one_way_cut(self) -> bool:
        a, b = self.rng.sample(self.world.machines, 2)
        self._block(a, b)
        self._later(LONG_US, self._heal)
        return True

    def isolate_leader(self) -> bool:
        leader = self.world.leader()
        if leader is None:
            return False
        ways = self.rng.choice(((1, 0), (0, 1), (1, 1)))
        for other in self.world.machines:
            if ways[0]:
                self._block(leader.machine, other)
            if ways[1]:
                self._block(other, leader.machine)
        self._later(LONG_US, self._heal)
        return True

    def _block(self, source: Machine, target: Machine) -> None:
        ends = [end for actor in self.world.actors() for end in actor.ends]
        self.world.network.block(source.name, target.name, ends)

    def _heal(self) -> None:
        self.world.note("-- paths heal")
        self.world.network.heal()

    def slow_path(self) -> bool:
        a, b = self.rng.sample(self.world.machines, 2)
        self.world.network.slow(a.name, b.name)
        self._later(LONG_US, self._heal)
        return True

    def reset_streams(self) -> bool:
        machine = self._machine()
        if machine is None or machine.process is None:
            return False
        ends = list(machine.process.ends)
        for end in self.rng.sample(ends, self.rng.randint(0, len(ends))):
            end.reset()
        return bool(ends)

    def lossy_frames(self) -> bool:
        self.world.frames_lost = self.rng.choice((0.0, 0.02, 0.2))
        return self.world.frames_lost > 0

    # -- disks

    def slow_disk(self) -> bool:
        machine = self._machine()
        if machine is None:
            return False
        machine.slow_disk = not machine.slow_disk
        return machine.slow_disk

    def failed_sync(self) -> bool:
        machine = self._machine()
        if machine is None:
            return False
        machine.disk.fail_sync = WriteFailed("the disk does not sync")
        return True

    def failed_write(self) -> bool:
        machine = self._machine()
        if machine is None:
            return False
        machine.disk.fail_write = self.rng.choice((DiskFull("full"), WriteFailed("broken")))
        return True

    def bit_rot(self) -> bool:
        """A bit flips while it is down. It must be noticed: then it starts anew, empty."""
        machine = self._expendable()
        if machine is None:
            return False
        machine.crash(power=True)
        part = self.rng.choice(tuple(DiskPart))
        disk = machine.disk
        present = {
            DiskPart.RECORDS: True,
            DiskPart.ROWS: bool(disk.image().rows),
            DiskPart.SNAPSHOTS: bool(disk.files),
            DiskPart.WITNESS: disk.witness is not None,
        }
        if present[part]:
            disk.flip_bit(part, self.rng.getrandbits(40))
        self.world.revive(machine)
        return present[part]

    def lost_disk(self) -> bool:
        """The same name comes back on an empty disk: another member."""
        machine = self._expendable()
        if machine is None:
            return False
        machine.crash(power=True)
        machine.replace_disk()
        self.world.revive(machine)
        return True

    def _expendable(self) -> Machine | None:
        """A machine whose state may be lost: never a second voter before the first is replaced."""
        machine, leader = self._machine(), self.world.leader()
        if leader is None or leader.member is None or machine is None or machine.process is None:
            return None
        conf = leader.member.replica.conf_state
        knowing = [p.me for p, m in self.world.members() if m.replica.conf_state == conf]
        if machine.process.member is None or not set(conf.voters) <= set(knowing):
            return None  # not while a voter is missing, or behind in the membership
        taken_in = self.world.raft_checks.canon.table.members
        if conf.voters_outgoing or self._lost & {*conf.voters, *taken_in}:
            return None  # one that is lost may be a voter by a change that is under way
        if len(conf.voters) < VOTERS_MIN:
            return None  # without one of two there is no majority, for ever
        self._lost.add(machine.process.me)
        return machine

    # -- applications and clocks

    def worker_crash(self) -> bool:
        machine = self._machine()
        if machine is None or machine.worker is None:
            return False
        machine.worker.die()
        self._later(LONG_US, partial(self.world.bring_up, machine))
        return True

    def worker_replaced(self) -> bool:
        """The next one attaches while the old one still lives, for a while."""
        return self._another_worker(Manners())

    def slow_worker(self) -> bool:
        slow = Manners((5 * MS, 400 * MS), (100 * MS, 1 * S))
        return self._another_worker(slow)

    def hanging_messages(self) -> bool:
        return self._another_worker(Manners(hangs=0.02))

    def release_withheld(self) -> bool:
        return self._another_worker(Manners(never_releases=True))

    def _another_worker(self, manners: Manners) -> bool:
        machine = self._machine()
        if machine is None:
            return False
        old = machine.worker
        self.world.new_worker(machine, manners)
        if old is not None:
            self._later(SHORT_US, old.die)
        return True

    def worker_pause(self) -> bool:
        machine = self._machine()
        if machine is None or machine.worker is None:
            return False
        return self._freeze([machine.worker], LONG_US)

    def client_crash(self) -> bool:
        machine = self._machine()
        if machine is None or machine.client is None:
            return False
        machine.client.die()
        self.world.new_client(machine)
        return True

    def clock_drift(self) -> bool:
        machine = self.rng.choice(self.world.machines)
        rate_ppm = self.world.draw_rate_ppm(self.rng)
        machine.clock.set_rate(self.world.timeline.now_us, rate_ppm)
        return True

    # -- operations

    def _propose(self, command: Command) -> bool:
        leader = self.world.leader()
        if leader is None:
            return False
        newest = self.world.raft_checks.canon.table.config_index
        planned_at = self.rng.choice((0, 0, newest, max(1, newest - 1)))
        leader.propose(command, _note_outcome(self.world), planned_at=planned_at)
        return True

    def pin(self) -> bool:
        table = self.world.raft_checks.canon.table
        member = self.rng.choice((NO_MEMBER, *table.members))
        return self._propose(Pin(PartitionId(self.rng.randrange(table.partitions)), member))

    def intent(self) -> bool:
        member = self.rng.choice(self.world.member_ids())
        intent = self.rng.choice((Intent.NONE, Intent.NONE, Intent.CORDON, Intent.DRAIN))
        return self._propose(SetIntent(member, intent))

    def policy(self) -> bool:
        policy = replace(draw_policy(self.rng), voters_max=self.world.plan.policy.voters_max)
        return self._propose(SetPolicy(policy)) if not policy.validate() else False

    def transfer(self) -> bool:
        leader = self.world.leader()
        if leader is None or leader.member is None:
            return False
        voters = leader.member.replica.conf_state.voters
        leader.member.transfer_leader(self.rng.choice((NO_MEMBER, *voters)))
        leader.driver.touch()
        return True

    def join(self) -> bool:
        if len(self.world.machines) >= self.world.plan.machines_max:
            return False
        self.world.add_machine()
        return True

    def remove(self) -> bool:
        """For good, while enough others stay, all of them up. Who has no table yet knows nobody
        to be told by, and would wait for ever.
        """
        table = self.world.raft_checks.canon.table
        staying = [m for m, record in table.members.items() if record.intent is not Intent.REMOVE]
        up = {process.me for process, member in self.world.members() if member.table.members}
        if len(staying) <= MEMBERS_MIN or not set(table.members) <= up:
            return False
        return self._propose(SetIntent(self.rng.choice(staying), Intent.REMOVE))

    def describe(self) -> bool:
        """An operator knows a member's zone or size better."""
        member, zone = self.rng.choice(self.world.member_ids()), self.rng.choice(("", "a", "b"))
        return self._propose(DescribeMember(member, zone, self.rng.choice((0, 50, 100, 300))))

    def prepared_restart(self) -> bool:
        """Everything is handed over first; it goes on as an origin for a while, then ends."""
        machine = self._machine()
        if machine is None or machine.process is None or not self._may_leave(machine.process):
            return False
        process = machine.process
        process.stopping_soon = True
        process.spawn(process.driver.prepare_to_stop())

        def end() -> None:
            if process.alive and not process.paused:
                process.stop_gracefully(lambda: self.world.revive(machine))

        self._later((1 * S, 4 * S), end)
        return True

    def _may_leave(self, process: Process) -> bool:
        """One at a time, as in an upgrade; where nothing may fail, when all are ready again."""
        every = [machine.process for machine in self.world.machines if not machine.gone]
        here = [p for p in every if p is not None and p.alive and not p.stopping_soon]
        if len(here) < len(every) or process.paused:
            return False
        return not self.world.plan.quiet or not any(p.driver.ready_missing() for p in here)

    def graceful_restart(self) -> bool:
        machine = self._machine()
        if machine is None or machine.process is None or not self._may_leave(machine.process):
            return False
        machine.process.stop_gracefully(lambda: self.world.revive(machine))
        return True

    def full_restart(self) -> bool:
        power = self.rng.random() < 0.5
        for machine in self.world.machines:
            if machine.is_up:
                machine.crash(power=power)
                self.world.revive(machine)
        return True


def _note_outcome(world: World) -> Callable[[object | Failure], None]:
    def note(outcome: object | Failure) -> None:
        if isinstance(outcome, Failure):
            world.counts[f"operation failed: {outcome.reason.name}"] += 1

    return note


_TROUBLES: Final[dict[str, Callable[[Troubles], bool]]] = {
    name.replace("_", " ").replace("one way", "one-way"): method
    for name, method in vars(Troubles).items()
    if callable(method) and not name.startswith("_")
}
