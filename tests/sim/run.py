"""Runs one seed: trouble, healing, and the wait until all is well. Tells what came of it."""

from __future__ import annotations

import gc
import logging
import random
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from parti_shard.commands import Command, Intent, Pin, SetIntent, SetPolicy
from parti_shard.ids import NO_MEMBER, PartitionId
from parti_shard.policy import Policy
from parti_shard.table import Phase
from parti_sidecar import joining, leader_calls, snapshot_transfer, transport
from tests.sim.coverage import gather
from tests.sim.plan import Plan, make_plan
from tests.sim.reached import Cells, recording
from tests.sim.rpc import open_sim_channel
from tests.sim.timeline import MS, S
from tests.sim.troubles import Troubles
from tests.sim.world import World

STEP_US: Final = 100 * MS
HEALED_WITHIN_US: Final = 60 * S  # of virtual time: far above what healing takes
UNTOLD_AFTER_US: Final = 15 * S
PROBE_TIMEOUT_MS: Final = 8_000
STORY_TAIL: Final = 120  # lines
FRAMES_TOLD: Final = 12
CHUNK_BYTES: Final = 300
_DIAL: Final = "open_channel"


class NotHealedError(AssertionError):
    """The cluster did not come right in time although nothing disturbed it any more."""


@dataclass
class Result:
    """What became of a seed."""

    seed: int
    error: str = ""
    story: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    cells: Cells = field(default_factory=Counter)
    virtual_us: int = 0
    healed_us: int = 0
    events: int = 0
    seconds: float = 0.0


def run_seed(seed: int) -> Result:
    return run_plan(make_plan(seed))


def run_plan(plan: Plan) -> Result:
    """Never raises: a violation is told with its story."""
    gc.freeze()  # what is there already need not be searched for cycles at the end
    gc.disable()  # there are few before the run is over, and looking for them takes a tenth of it
    try:
        result = Result(plan.seed)
        with _dialling_simulated(), _seeded(plan.seed), _silent(), recording(result.cells):
            _run_plan(plan, result)
        return result
    finally:
        gc.enable()
        gc.collect()


@contextmanager
def _dialling_simulated() -> Iterator[None]:
    """Whatever dials, dials in the simulation; snapshots are small here, and chunks smaller."""
    chunk_bytes = snapshot_transfer.CHUNK_BYTES
    dialling = (joining, leader_calls, snapshot_transfer)
    try:
        for module in dialling:
            setattr(module, _DIAL, open_sim_channel)
        snapshot_transfer.CHUNK_BYTES = CHUNK_BYTES
        yield
    finally:
        snapshot_transfer.CHUNK_BYTES = chunk_bytes
        for module in dialling:
            setattr(module, _DIAL, transport.open_channel)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Pauses of the sidecar's own tasks are drawn by `random` itself."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


@contextmanager
def _silent() -> Iterator[None]:
    """Say nothing of what is seen anyway."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)


def _run_plan(plan: Plan, result: Result) -> None:
    begun = time.perf_counter()
    world: World | None = None
    try:
        world = World(plan)
        _Run(world).go(result)
    except Exception as error:  # noqa: BLE001 - whatever was raised anywhere inside is a finding
        frames = traceback.format_exception(error)
        result.error = f"{type(error).__name__}: {error}"
        result.story = ["".join(frames[-FRAMES_TOLD:])]
    if world is not None:
        for loop in world.loops:
            loop.close()
        result.story += [*list(world.story)[-STORY_TAIL:], *_stories(world)]
        result.counts = gather(world)
        result.virtual_us, result.events = world.timeline.now_us, world.timeline.events
    result.seconds = time.perf_counter() - begun


def _stories(world: World) -> Iterable[str]:
    """What members and their parts remember, newest last."""
    yield f"virtual time {world.timeline.now_us / S:.6f} s"
    for process, member in world.members():
        table = member.table
        yield (
            f"{process.name} id {process.me:x} term {member.replica.raw.term}"
            f" {member.replica.raw.role.name} leader {member.replica.leader:x}"
            f" applied {table.applied_index} session {member.session.session}"
            f" lease {member.lease_remaining_ms(process.now_ms())} ms"
            f" {'FROZEN' if process.paused else ''}"
        )
        for partition in range(table.partitions):
            yield (
                f"  p{partition} owner {table.owner[partition]:x} epoch {table.epoch[partition]}"
                f" {Phase(table.phase[partition]).name}"
                f" {member.router.story(PartitionId(partition))[-3:]}"
            )
        yield from (f"  leader: {line}" for line in member.coordinator.story()[-8:])


class _Run:
    """The phases of one seed."""

    def __init__(self, world: World) -> None:
        self.world = world

    def go(self, result: Result) -> None:
        world = self.world
        Troubles(world)
        timeline = world.timeline
        timeline.run_until(world.plan.trouble_for_us)
        self._heal()
        healing_from_us = timeline.now_us
        self._wait("all is well", self._what_is_wrong)
        self._probe()
        result.healed_us = timeline.now_us - healing_from_us
        world.load_on = False
        self._wait("all is told and equal", self._what_is_open)
        world.counts[f"store: history {world.store_checks.judge()}"] += 1
        if world.plan.quiet:
            self._check_nothing_failed()

    def _wait(self, what: str, missing: object) -> None:
        assert callable(missing)
        timeline = self.world.timeline
        end_us = timeline.now_us + HEALED_WITHIN_US
        while True:
            wrong = missing()
            if not wrong:
                return
            if timeline.now_us >= end_us:
                raise NotHealedError(f"not within {HEALED_WITHIN_US // S} s: {what}: {wrong}")
            timeline.run_until(timeline.now_us + STEP_US)

    # -- healing

    def _heal(self) -> None:
        world = self.world
        world.note("== everything heals")
        world.healthy = True
        world.frames_lost = 0.0
        world.network.heal()
        for actor in world.actors():
            if actor.paused:
                actor.resume()
        for machine in world.machines:
            machine.slow_disk = False
            machine.disk.fail_sync = machine.disk.fail_write = None
            if not machine.gone:
                if machine.worker is not None and not world.plan.quiet:
                    machine.worker.die()
                world.revive(machine)
        self._undo()

    def _undo(self) -> None:
        """Nobody drains, nothing is pinned, the policy is as usual; asked again until it is so."""
        world = self.world
        table = world.raft_checks.canon.table
        commands: list[Command] = [
            SetIntent(member, Intent.NONE)
            for member, record in table.members.items()
            if record.intent in (Intent.CORDON, Intent.DRAIN)
        ]
        commands += [Pin(partition, NO_MEMBER) for partition in table.pins]
        usual = Policy(voters_max=table.policy.voters_max, partition_cooldown_ms=500)
        if table.policy != usual:
            commands.append(SetPolicy(usual))
        leader = world.leader()
        if leader is not None:
            for command in commands:
                leader.propose(command, lambda _outcome: None)
        if commands:
            world.timeline.after(1 * S, self._undo)

    # -- what healing means

    def _stop_the_untold(self) -> None:
        """A removed member of whom nobody is left to tell it so is stopped from outside."""
        world = self.world
        table = world.raft_checks.canon.table
        staying = {process.me for process in world.processes()} & set(table.members)
        for process, member in world.members():
            if process.me not in table.members and not staying & set(
                member.replica.conf_state.voters
            ):
                world.counts["removed, told by nobody"] += 1
                process.machine.crash(power=False)
                process.machine.gone = True

    def _what_is_wrong(self) -> str:
        """One leader, everybody follows it, every partition owned by a member that serves it."""
        world = self.world
        if self.world.timeline.now_us >= self.world.plan.trouble_for_us + UNTOLD_AFTER_US:
            self._stop_the_untold()
        members = world.members()
        if any(not machine.is_up and not machine.gone for machine in world.machines):
            return "a machine is down"
        if len(members) < len(world.processes()):
            return "a machine has not joined"
        leaders = {member.replica.leader for _, member in members}
        if len(leaders) != 1 or NO_MEMBER in leaders:
            return f"leaders {leaders}"
        table = world.raft_checks.canon.table
        ids = {process.me for process, _ in members}
        for partition, owner in enumerate(table.owner):
            if owner not in ids or table.phase[partition] is not Phase.OWNED:
                return f"partition {partition} is {table.phase[partition].name} at {owner:x}"
        for process, member in members:
            if table.members.get(process.me) is None:
                return f"{process.name} is not in the table"
            if not member.lease_remaining_ms(process.now_ms()):
                return f"{process.name} has no lease"
        return ""

    def _probe(self) -> None:
        """A fresh message to every partition through every member is answered."""
        unserved = {
            machine.name: set(range(self.world.plan.partitions))
            for machine in self.world.machines
            if not machine.gone
        }
        asked: dict[str, set[int]] = {name: set() for name in unserved}

        def answered(name: str, partition: int, ok: bool) -> None:  # noqa: FBT001 - a callback
            asked[name].discard(partition)
            if ok:
                unserved[name].discard(partition)
            else:
                self.world.counts["probe failed"] += 1

        def missing() -> str:
            for machine in self.world.machines:
                name, client = machine.name, machine.client
                if machine.gone:  # it learns only now that it was removed
                    unserved.pop(name, None)
                wanted = sorted(unserved.get(name, set()) - asked.get(name, set()))
                if wanted and client is not None:
                    done = [partial(answered, name, partition) for partition in wanted]
                    if client.send(wanted, PROBE_TIMEOUT_MS, idempotent_share=0, done=done):
                        asked[name].update(wanted)
            left = {name: partitions for name, partitions in unserved.items() if partitions}
            return f"unserved: {left}" if left else ""

        self._wait("probes", missing)

    def _what_is_open(self) -> str:
        """Every client knows its outcomes, nothing is parked, all tables are the same."""
        world = self.world
        for machine in world.machines:
            if machine.client is not None and machine.client.alive and machine.client.unanswered:
                return f"{machine.client.unanswered} messages of {machine.client.name}"
        tables = [member.table for _, member in world.members()]
        for process, member in world.members():
            if member.router.stats.parked_messages:
                return f"messages are parked at {process.name}"
        if len({table.digest() for table in tables}) > 1:
            return "tables differ"
        return ""

    def _check_nothing_failed(self) -> None:
        """G7: nothing but graceful operations happened, so no message may have failed."""
        failed = {
            text: count
            for text, count in self.world.message_checks.outcomes.items()
            if text not in ("OK", "gone", "NOT_READY/NO")  # one that joins has no table yet
            and not text.startswith("DEADLINE_EXCEEDED")
        }
        assert not failed, f"failed although nothing broke: {failed}"
