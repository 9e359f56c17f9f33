"""The leader's part in ownership: whom to expire, what to grant, revoke and rebalance.

It works only at a leader that has applied an entry of its own term, and only proposes: what happens
is decided by the table when a command is applied. `turn` returns batches, one log entry each, in
this order: expiries together with the grants that follow from them; grants of what nobody owns and
of what was released; revokes. Emergencies never wait behind coalescing, cooldowns or the limit on
moves in flight; rebalancing waits for all three and for there to be no orphans.

The batches must enter the log in the term of this leadership or never (see `commands.FORWARDABLE`).
Releases are believed only of the session that owns the partition under exactly that epoch; the
member repeats them in its renewals until its table shows that the epoch is over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from parti_shard.coalescing import Coalescing
from parti_shard.codec import COMMANDS_MAX
from parti_shard.commands import Cause, Command, ExpireSession, Grant, Release, Revoke
from parti_shard.ids import NO_MEMBER, Epoch, MemberId, PartitionId, SessionId
from parti_shard.lease import LeaseKeeper, RenewRefusal
from parti_shard.load import LoadMeter
from parti_shard.planning import Circumstances, Plan, PlannedMove, make_plan
from parti_shard.proposals import Proposals
from parti_shard.standing import Report, Standing, judge, receivers
from parti_shard.table import Phase, Table
from parti_shard.wire import Renew

STORY_LINES_MAX = 256


@dataclass(slots=True)
class CoordinatorStats:
    """Counts since the process began."""

    expired: int = 0
    orphans_placed: int = 0
    releases_answered: int = 0
    revokes: int = 0
    moves_overdue: int = 0
    rejected: int = 0
    plans: int = 0


class Coordinator:
    """Pure; one per process, idle while another member leads."""

    def __init__(self, table: Table, keeper: LeaseKeeper) -> None:
        self._table = table
        self._keeper = keeper
        self._leading = False
        self._reports: dict[MemberId, Report] = {}
        self._standings: dict[MemberId, Standing] = {}
        self._receivers: frozenset[MemberId] = frozenset()
        self._reasons: dict[MemberId, str] = {}
        self._roster_revision = -1
        self._free: set[PartitionId] = set()
        self._revoking: dict[PartitionId, int] = {}  # -> since when, as this leader saw it
        self._released: dict[PartitionId, tuple[SessionId, Epoch]] = {}
        self._cooling: dict[PartitionId, int] = {}  # -> until when; ends ascend
        self._urgent: deque[PlannedMove] = deque()
        self._urgent_stale = False
        self._improving: deque[PlannedMove] = deque()
        self._window = Coalescing()
        self._proposals = Proposals()
        self._load = LoadMeter()
        self._story: deque[str] = deque(maxlen=STORY_LINES_MAX)
        self.stats = CoordinatorStats()

    # -- inputs

    def became_leader(self, now_ms: int) -> None:
        """Begin; call it once an entry of the own term is applied."""
        self.lost_leadership()
        self._leading = True
        self._keeper.became_leader(now_ms, self._table.sessions)
        self._load.begin(self._table.partitions, now_ms)
        self._tell(now_ms, "leads")
        for partition in map(PartitionId, range(self._table.partitions)):
            self._follow(partition, now_ms)
        self._standings_changed(now_ms)

    def lost_leadership(self) -> None:
        """Forget everything: it may be wrong by the time this member leads again."""
        self._leading = False
        self._keeper.lost_leadership()
        self._proposals.clear()
        self._window.clear()
        self._urgent_stale = False
        self._receivers = frozenset()
        for kept in (
            self._reports,
            self._standings,
            self._reasons,
            self._free,
            self._revoking,
            self._released,
            self._cooling,
            self._urgent,
            self._improving,
        ):
            kept.clear()

    def renewal(self, renew: Renew, now_ms: int) -> RenewRefusal | None:
        """Take a renewal and its report; None means that the keeper's next round answers it."""
        refusal = self._keeper.received(
            renew.session, renew.member, renew.seq, renew.acknowledged_seq, now_ms
        )
        if refusal is not None:
            return refusal
        report = Report(
            renew.session, renew.worker_ready, renew.draining, renew.applied_index, now_ms
        )
        before = self._reports.get(renew.member)
        self._reports[renew.member] = report
        if before is None or _said(before) != _said(report):
            self._standings_changed(now_ms)
        for partition, epoch in renew.released:
            if partition < self._table.partitions:
                self._released[partition] = (renew.session, epoch)
        self._load.add(renew.load)
        return None

    def table_changed(self, partitions: Iterable[PartitionId], now_ms: int) -> None:
        """Follow what was applied; call it after every applied entry or group of entries."""
        if not self._leading:
            return
        for partition in partitions:
            self._proposals.settle(partition)
            self._follow(partition, now_ms)
        if self._table.roster_revision != self._roster_revision:
            self._keeper.sessions_changed(now_ms, self._table.sessions)
            self._standings_changed(now_ms)

    def rejected(self, command: Command) -> None:
        """Note that the table refused a command; it is decided anew."""
        self.stats.rejected += 1
        self._proposals.failed(command)

    def dropped(self, batch: Sequence[Command]) -> None:
        """Note that a batch did not reach the log."""
        for command in batch:
            self._proposals.failed(command)
        self._urgent_stale = True

    # -- outputs

    def turn(self, now_ms: int) -> list[list[Command]]:
        """Return the batches to be proposed now, in this order, one entry each."""
        if not self._leading:
            return []
        self._proposals.expire(now_ms)
        self._cool_down(now_ms)
        if self._load.turn(now_ms) and self._table.policy.load_aware:
            self._window.note(now_ms)
        self._stop_overdue(now_ms)
        batches: list[list[Command]] = []
        for commands in (self._expire(now_ms), self._place(now_ms), self._move(now_ms)):
            self._proposals.add(commands, now_ms)
            batches.extend(_entries(commands))
        return batches

    def plan(self) -> list[PlannedMove]:
        """Return what placement would do if nothing had to wait. Changes nothing."""
        plan = self._make_plan(respect_cooldown=False)
        moves = plan.orphans + plan.urgent
        return moves + plan.improving if self._table.policy.rebalance else moves

    def next_wake_ms(self, now_ms: int) -> int | None:
        """Return when `turn` may have something to do although nothing happens."""
        if not self._leading:
            return None
        ends = [
            self._keeper.next_wake_ms(now_ms),
            self._proposals.next_wake_ms(),
            next(iter(self._cooling.values()), None),
            self._improvement_due_ms(),
            self._load.next_wake_ms(),
            next(iter(self._revoking.values()), now_ms) + self._table.policy.move_deadline_ms,
        ]
        ahead = [end for end in ends if end is not None and end > now_ms]
        return min(ahead, default=None)

    def standing(self, member: MemberId) -> tuple[Standing, str] | None:
        """Return what a member may do now and why; None when this member does not lead."""
        if member not in self._standings:
            return None
        return self._standings[member], self._reasons[member]

    def report(self, member: MemberId) -> Report | None:
        return self._reports.get(member)

    def under_way(self, partition: PartitionId) -> Command | None:
        return self._proposals.of(partition)

    def story(self) -> list[str]:
        return list(self._story)

    @property
    def leading(self) -> bool:
        return self._leading

    @property
    def moves_in_flight(self) -> int:
        targets = self._table.target
        return sum(1 for p in self._revoking if targets[p]) + self._proposals.moving

    def check_invariants(self) -> None:
        self._proposals.check_invariants()
        self._keeper.check_invariants()
        if not self._leading:
            kept = (self._free, self._revoking, self._released, self._urgent)
            assert not any(kept), kept
            return
        phases = self._table.phase
        assert self._free == {p for p, phase in enumerate(phases) if phase == Phase.FREE}
        revoking = {p for p, phase in enumerate(phases) if phase == Phase.REVOKING}
        assert self._revoking.keys() == revoking, (self._revoking, revoking)

    # -- following the table

    def _follow(self, partition: PartitionId, now_ms: int) -> None:
        table = self._table
        phase = table.phase[partition]
        self._free.discard(partition)
        self._revoking.pop(partition, None)
        if phase == Phase.FREE:
            self._free.add(partition)
            self._window.note(now_ms)
        elif phase == Phase.REVOKING:
            self._revoking[partition] = now_ms
        else:
            self._follow_owned(partition, now_ms)

    def _follow_owned(self, partition: PartitionId, now_ms: int) -> None:
        table, owner = self._table, self._table.owner[partition]
        if table.history[partition][-1].cause is Cause.REBALANCE and table.policy.rebalance:
            self._cooling.pop(partition, None)
            self._cooling[partition] = now_ms + table.policy.partition_cooldown_ms
        pinned = table.pins.get(partition, owner)
        if pinned != owner or owner not in self._receivers:
            self._urgent_stale = True

    def _standings_changed(self, now_ms: int) -> None:
        """Judge everybody anew and plan anew: urgent moves at once, improvements after quiet."""
        self._roster_revision = self._table.roster_revision
        self._reports = {m: r for m, r in self._reports.items() if m in self._table.members}
        judged = {
            member: judge(
                record,
                self._reports.get(member),
                stopped=self._keeper.is_stopped(record.session),
            )
            for member, record in self._table.members.items()
        }
        self._standings = {member: standing for member, (standing, _) in judged.items()}
        self._receivers = receivers(self._standings)
        reasons = {member: reason for member, (_, reason) in judged.items()}
        for member, reason in reasons.items():
            if self._reasons.get(member) != reason:
                self._tell(now_ms, f"member {member:#x} {reason}")
        self._reasons = reasons
        self._urgent_stale = True
        self._improving.clear()
        self._window.note(now_ms)

    def _make_plan(
        self, ended: frozenset[SessionId] = frozenset(), *, respect_cooldown: bool = True
    ) -> Plan:
        self.stats.plans += 1
        given = Circumstances(
            standings=self._standings,
            ended=ended,
            cooling=frozenset(self._cooling) if respect_cooldown else frozenset(),
            load=self._load.loads if self._table.policy.load_aware else None,
        )
        return make_plan(self._table, given)

    def _cool_down(self, now_ms: int) -> None:
        while self._cooling:
            partition, until_ms = next(iter(self._cooling.items()))
            if now_ms < until_ms:
                return
            del self._cooling[partition]
            self._window.note(now_ms)

    # -- sessions

    def _stop_overdue(self, now_ms: int) -> None:
        """A holder that does not let go in time loses its session, so that others go on."""
        for partition, since_ms in self._revoking.items():
            if now_ms - since_ms < self._table.policy.move_deadline_ms:
                return
            session = self._table.session[partition]
            if partition in self._released or self._keeper.is_stopped(session):
                continue
            self._keeper.stop(session)
            self.stats.moves_overdue += 1
            self._tell(now_ms, f"partition {partition} overdue, session {session} is stopped")
            self._standings_changed(now_ms)

    def _expire(self, now_ms: int) -> list[Command]:
        over = [s for s in self._keeper.expirable(now_ms) if not self._proposals.has_session(s)]
        if not over:
            return []
        self._standings_changed(now_ms)
        ended = frozenset(over)
        plan = self._make_plan(ended)
        commands: list[Command] = [ExpireSession(session) for session in over]
        for move in plan.orphans:
            if self._table.session[move.partition] in ended and move.target:
                if isinstance(self._proposals.of(move.partition), Grant):
                    continue
                commands.append(self._grant(move.partition, move.target, Cause.EXPIRED))
        self.stats.expired += len(over)
        self._tell(now_ms, f"expires sessions {over} with {len(commands) - len(over)} grants")
        return commands

    # -- partitions without an owner that serves them

    def _place(self, now_ms: int) -> list[Command]:
        """Grant what was released, and what nobody owns."""
        commands: list[Command] = []
        homeless: dict[PartitionId, Cause] = {}
        for partition in sorted(self._released):
            self._answer_release(partition, commands, homeless)
        if self._receivers:
            free = (p for p in sorted(self._free) if self._proposals.of(p) is None)
            homeless.update(dict.fromkeys(free, Cause.ORPHAN))
        if homeless:
            targets = self._make_plan().targets
            for partition, cause in homeless.items():
                self._house(partition, targets.get(partition, NO_MEMBER), cause, commands)
            self.stats.orphans_placed += len(homeless)
            self._tell(now_ms, f"places {len(homeless)} partitions")
            self._window.note(now_ms)
        return commands

    def _answer_release(
        self,
        partition: PartitionId,
        commands: list[Command],
        homeless: dict[PartitionId, Cause],
    ) -> None:
        table = self._table
        session, epoch = self._released[partition]
        if epoch > table.epoch[partition]:
            return  # its table is ahead of this one
        if epoch < table.epoch[partition] or session != table.session[partition]:
            del self._released[partition]
            return
        under_way = self._proposals.of(partition)
        if isinstance(under_way, Grant | Release):
            return
        self.stats.releases_answered += 1
        revoking = table.phase[partition] == Phase.REVOKING
        heir = table.target[partition] if revoking else table.owner[partition]
        cause = table.history[partition][-1].cause if revoking else Cause.WORKER_REPLACED
        if heir in self._receivers:
            commands.append(self._grant(partition, heir, cause))
        else:
            homeless[partition] = cause if revoking else Cause.NO_WORKER

    def _house(
        self, partition: PartitionId, target: MemberId, cause: Cause, commands: list[Command]
    ) -> None:
        table = self._table
        if target in self._receivers:
            commands.append(self._grant(partition, target, cause))
        elif table.phase[partition] != Phase.FREE:
            epoch, session = table.epoch[partition], table.session[partition]
            commands.append(Release(partition, epoch, session))

    def _grant(self, partition: PartitionId, member: MemberId, cause: Cause) -> Grant:
        session = self._table.members[member].session
        return Grant(partition, self._table.epoch[partition], member, session, cause)

    # -- moves

    def _move(self, now_ms: int) -> list[Command]:
        if self._urgent_stale:
            self._urgent_stale = False
            self._urgent = deque(self._make_plan().urgent)
        self._plan_improvements(now_ms)
        if not (self._urgent or self._improving):
            return []
        budget = self._table.policy.moves_in_flight_max - self.moves_in_flight
        commands: list[Command] = []
        for moves in (self._urgent, self._improving):
            while moves and (budget > 0 or moves[0].target == NO_MEMBER):
                move = moves.popleft()
                if self._still_stands(move):
                    commands.append(self._revoke(move))
                    budget -= move.target != NO_MEMBER
        self.stats.revokes += len(commands)
        return commands

    def _improvement_due_ms(self) -> int | None:
        """Return when to rebalance; None while something keeps it from being done."""
        policy = self._table.policy
        if not policy.rebalance or self._free or self._urgent:
            return None
        if any(self._keeper.is_stopped(session) for session in self._table.sessions):
            return None
        return self._window.due_ms(policy.coalesce_quiet_ms, policy.coalesce_max_ms)

    def _plan_improvements(self, now_ms: int) -> None:
        due_ms = self._improvement_due_ms()
        if due_ms is None or now_ms < due_ms:
            return
        self._window.clear()
        self._improving = deque(self._make_plan().improving)
        if self._improving:
            self._tell(now_ms, f"rebalances {len(self._improving)} partitions")

    def _revoke(self, move: PlannedMove) -> Revoke:
        epoch = self._table.epoch[move.partition]
        return Revoke(move.partition, epoch, move.target, move.cause)

    def _still_stands(self, move: PlannedMove) -> bool:
        """Things may have changed while the move waited for its turn."""
        table, partition = self._table, move.partition
        if table.phase[partition] != Phase.OWNED or table.owner[partition] != move.source:
            return False
        if partition in self._released or self._proposals.of(partition) is not None:
            return False
        return not move.target or move.target in self._receivers

    def _tell(self, now_ms: int, line: str) -> None:
        self._story.append(f"{now_ms} ms: {line}")


def _said(report: Report) -> tuple[SessionId, bool, bool]:
    return report.session, report.worker_ready, report.draining


def _entries(commands: list[Command]) -> Iterable[list[Command]]:
    """Cut a batch that is too long for one entry; an expiry stays with the first grants."""
    for start in range(0, len(commands), COMMANDS_MAX):
        yield commands[start : start + COMMANDS_MAX]
