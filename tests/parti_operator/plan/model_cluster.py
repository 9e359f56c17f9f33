"""A parti cluster as a model that goes forward by ticks: members, votes, leases, moves.

Who votes is decided by the leader's real voter controller (`parti_shard.membership`); consensus,
leases and moves are coarse. A drain with nobody to drain to frees partitions, as the real one does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from parti_operator.observed import (
    ClusterView,
    Intent,
    MemberSeen,
    PartitionCounts,
    Role,
)
from parti_operator.spec.values import Policy
from parti_raft.types import ConfState, LogIndex, MemberId
from parti_shard import membership
from parti_shard.commands import Intent as TableIntent
from parti_shard.policy import Policy as TablePolicy
from parti_shard.policy import Strategy

TICK_MS = 500
LEASE_MS = 2_000
REMOVAL_GRACE_MS = 60_000
ELECTION_TICKS = 2
MOVES_PER_TICK = 3

_TABLE_INTENTS = {
    Intent.NONE: TableIntent.NONE,
    Intent.CORDON: TableIntent.CORDON,
    Intent.DRAIN: TableIntent.DRAIN,
    Intent.REMOVE: TableIntent.REMOVE,
}


@dataclass(slots=True)
class Disk:
    """A data directory."""

    member_id: int = 0
    cluster_id: str = ""
    incarnation: int = 0


@dataclass(slots=True)
class Process:
    """A sidecar that runs and can be reached by the others."""

    name: str
    disk: Disk
    worker: bool = True
    draining: bool = False


@dataclass(slots=True)
class Member:
    """A row of the table, and the member's place in the configuration."""

    member_id: int
    name: str
    role: Role | None = Role.LEARNER  # None: in no configuration any more
    session: int = 0
    silent_ms: int = 0
    intent: Intent = Intent.NONE
    zone: str = ""
    capacity: int = 100
    worker: bool = False
    draining: bool = False
    removed_ms: int = 0  # since only its session holds up its removal
    fresh_ticks: int = 2  # until its log is caught up


class RefusedError(Exception):
    """The cluster does not do what it was told."""


@dataclass(slots=True)
class ClusterModel:
    """The state that a majority of the voters' disks holds."""

    cluster_id: str
    policy: Policy
    owners: list[int]
    members: dict[int, Member] = field(default_factory=dict)
    leader: int = 0
    term: int = 1
    config_index: int = 1
    incarnation: int = 0
    leaderless_ticks: int = 0
    next_session: int = 1
    next_member: int = 1
    alive: set[int] = field(default_factory=set)

    # --- questions

    def owned(self, member_id: int) -> int:
        return self.owners.count(member_id)

    def voters(self) -> list[Member]:
        return [m for m in self.members.values() if m.role is Role.VOTER]

    def has_majority(self, *, without: int = 0) -> bool:
        voters = self.voters()
        alive = sum(1 for m in voters if m.member_id in self.alive and m.member_id != without)
        return alive * 2 > len(voters)

    def view(self) -> ClusterView | None:
        if not self.leader:
            return None
        free = self.owners.count(0)
        return ClusterView(
            cluster_id=self.cluster_id,
            incarnation=self.incarnation,
            term=self.term,
            leader=self.leader,
            config_index=self.config_index,
            policy=self.policy,
            members=tuple(map(self._seen, self.members.values())),
            partitions=PartitionCounts(len(self.owners), len(self.owners) - free, 0, free),
        )

    def _seen(self, member: Member) -> MemberSeen:
        return MemberSeen(
            member_id=member.member_id,
            name=member.name,
            role=member.role or Role.LEARNER,
            leader=member.member_id == self.leader,
            session=member.session,
            intent=member.intent,
            ready=member.worker,
            draining=member.draining,
            caught_up=not member.fresh_ticks,
            partitions_owned=self.owned(member.member_id),
            capacity=member.capacity,
            zone=member.zone,
            last_heard_ms=member.silent_ms if member.session else -1,
            version="1.0.0",
            address="",
            lag=member.fresh_ticks,
        )

    # --- what the operator tells it

    def changed(self) -> None:
        self.config_index += 1

    def set_intent(self, member_id: int, intent: Intent, expected: int) -> None:
        if expected not in (0, self.config_index):
            raise RefusedError("CONFLICT")
        if member_id not in self.members:
            raise RefusedError("UNKNOWN_MEMBER")
        self.members[member_id].intent = intent
        self.changed()

    def transfer(self, to: int) -> None:
        heir = self.members.get(to)
        if heir is None or heir.role is not Role.VOTER or to not in self.alive:
            raise RefusedError("not a voter that lives")
        self.leader, self.term = to, self.term + 1

    def force(self, survivor: int) -> None:
        self.incarnation += 1
        for member in self.members.values():
            member.role = Role.VOTER if member.member_id == survivor else None
        self.changed()

    # --- time

    def tick(self, processes: list[Process]) -> None:
        """A moment passes; `processes` run and reach each other."""
        own = [p for p in processes if p.disk.cluster_id == self.cluster_id]
        running = {p.disk.member_id: p for p in own if p.disk.incarnation == self.incarnation}
        self.alive = {m for m in running if m in self.members}
        self._elect()
        if not self.leader:
            return
        self._sessions(running)
        self._join([p for p in processes if not p.disk.cluster_id])
        self._vote()
        self._move()

    def _elect(self) -> None:
        led = self.leader in self.alive and self.members[self.leader].role is Role.VOTER
        if led and self.has_majority():
            return
        self.leader = 0
        if not self.has_majority():
            self.leaderless_ticks = 0
            return
        self.leaderless_ticks += 1
        if self.leaderless_ticks < ELECTION_TICKS:
            return
        fit = [m.member_id for m in self.voters() if m.member_id in self.alive]
        self.leader, self.term, self.leaderless_ticks = min(fit), self.term + 1, 0
        for member in self.members.values():
            member.silent_ms = 0  # a new leader gives everybody a lease

    def _sessions(self, running: dict[int, Process]) -> None:
        for member in self.members.values():
            process = running.get(member.member_id)
            if process is None:
                member.silent_ms += TICK_MS
                member.worker = member.draining = False
                if member.silent_ms > LEASE_MS:
                    self._end_session(member)
                continue
            member.silent_ms = 0
            member.worker, member.draining = process.worker, process.draining
            member.fresh_ticks = max(0, member.fresh_ticks - 1)
            if member.intent is Intent.REMOVE and not self.owned(member.member_id):
                member.removed_ms += TICK_MS
                if member.removed_ms > REMOVAL_GRACE_MS:
                    self._end_session(member)
            elif not member.session and member.intent is not Intent.REMOVE:
                member.session = self.next_session
                self.next_session += 1

    def _end_session(self, member: Member) -> None:
        member.session = 0
        self.owners = [0 if owner == member.member_id else owner for owner in self.owners]

    def _join(self, blank: list[Process]) -> None:
        for process in blank:
            former = [
                m
                for m in self.members.values()
                if m.name == process.name and m.intent is not Intent.REMOVE
            ]
            if any(m.session for m in former):
                continue
            for member in former:
                member.intent = Intent.REMOVE
            self.admit(process)

    def admit(self, process: Process, role: Role = Role.LEARNER) -> Member:
        """Take a process with a blank disk in."""
        member = Member(self.next_member, process.name, role)
        self.next_member += 1
        process.disk.member_id = member.member_id
        process.disk.cluster_id = self.cluster_id
        process.disk.incarnation = self.incarnation
        self.members[member.member_id] = member
        self.alive.add(member.member_id)
        self.changed()
        return member

    # --- the leader's voter controller

    def _vote(self) -> None:
        action = membership.next_action(self._membership())
        match action:
            case membership.Promote(member):
                self.members[member].role = Role.VOTER
            case membership.Demote(member):
                self.members[member].role = Role.LEARNER
            case membership.Replace(voter, learner):
                self.members[voter].role = Role.LEARNER
                self.members[learner].role = Role.VOTER
            case membership.Remove(member):
                self._end_session(self.members[member])
                del self.members[member]
            case membership.TransferLeader(to):
                self.leader, self.term = to, self.term + 1
                return
            case None:
                return
        self.changed()

    def _membership(self) -> membership.Membership:
        def ids(role: Role) -> tuple[MemberId, ...]:
            return tuple(MemberId(m.member_id) for m in self.members.values() if m.role is role)

        return membership.Membership(
            leader=MemberId(self.leader),
            conf=ConfState(voters=ids(Role.VOTER), learners=ids(Role.LEARNER)),
            commit=LogIndex(1_000),
            members={MemberId(m.member_id): self._candidate(m) for m in self.members.values()},
            policy=_table_policy(self.policy),
            busy=False,
        )

    def _candidate(self, member: Member) -> membership.Candidate:
        return membership.Candidate(
            zone=member.zone,
            intent=_TABLE_INTENTS[member.intent],
            match=LogIndex(1 if member.fresh_ticks else 1_000),
            heard_ms_ago=member.silent_ms,
            live=member.member_id in self.alive,
            session_open=bool(member.session),
            owns_partitions=bool(self.owned(member.member_id)),
        )

    # --- partitions

    def _move(self) -> None:
        for _ in range(MOVES_PER_TICK):
            partition = self._next_partition()
            if partition is None:
                return
            self.owners[partition] = self._least_loaded()

    def _next_partition(self) -> int | None:
        """Orphans first, then drains, then the balance."""
        receivers = self._receivers()
        if receivers and 0 in self.owners:
            return self.owners.index(0)
        for partition, owner in enumerate(self.owners):
            if owner and self._sheds(self.members[owner]):
                return partition
        if not receivers:
            return None
        loads = {m.member_id: self.owned(m.member_id) for m in receivers}
        heaviest = max(loads, key=lambda m: loads[m])
        if loads[heaviest] - min(loads.values()) <= 1:
            return None
        return self.owners.index(heaviest)

    def _receivers(self) -> list[Member]:
        return [
            m
            for m in self.members.values()
            if m.session and m.intent is Intent.NONE and m.worker and not m.draining
        ]

    def _sheds(self, member: Member) -> bool:
        leaving = member.intent in (Intent.DRAIN, Intent.REMOVE)
        return bool(member.session) and (leaving or member.draining or not member.worker)

    def _least_loaded(self) -> int:
        receivers = self._receivers()
        if not receivers:
            return 0
        return min(receivers, key=lambda m: (self.owned(m.member_id), m.member_id)).member_id


def _table_policy(policy: Policy) -> TablePolicy:
    return TablePolicy(
        strategy=Strategy(policy.strategy.value),
        voters_max=policy.voters_max,
        voter_replace_after_ms=policy.voter_replace_after_ms,
    )
