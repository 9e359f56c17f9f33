"""The sidecars of all clusters in memory: disks, members, sessions, leaders, partitions, drains.

A coarse model that goes forward by `step` (a fifth of a second): nothing of consensus, but all that
the admin API shows of it and all that an operator can break. It watches over what must never
happen, whoever asks for it:

- a second cluster of one name (`bootstraps`), or one from a disk that has been in a cluster;
- a pod that ends while its member owns partitions though it had all the time it needs
  (`partitions_lost`, where the world ends pods gracefully);
- a change of members while the one before is not done, or without a majority.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from parti_operator.actions import (
    Bootstrap,
    DescribeMember,
    ForceNewQuorum,
    SetIntent,
    SetPolicy,
    TransferLeader,
)
from parti_operator.observed import (
    ClusterView,
    Intent,
    MemberSeen,
    PartitionCounts,
    Role,
    SidecarSeen,
    SidecarState,
)
from parti_operator.sidecars import SidecarAction, SidecarError, SidecarsSeen
from parti_operator.spec.values import Policy

MOVES_PER_STEP = 8
_STEPS_UNTIL_EXPIRED = 10
_FREE = 0
_DRAINED = (Intent.DRAIN, Intent.REMOVE)


@dataclass(slots=True)
class Disk:
    """What a data directory holds."""

    member_id: int = 0
    cluster_id: str = ""
    incarnation: int = 0


@dataclass(slots=True)
class Process:
    """A sidecar that runs."""

    group: str  # namespace/name of the cluster it was configured for
    pod: str
    address: str
    disk: Disk
    has_worker: bool = True
    draining: bool = False
    frozen: bool = False


@dataclass(slots=True)
class Member:
    """A member in the table."""

    member_id: int
    name: str
    voter: bool = False
    intent: Intent = Intent.NONE
    silent_steps: int = 0
    session: int = 0
    zone: str = ""
    capacity: int = 100


@dataclass(slots=True)
class Cluster:
    """One cluster: its table and who leads it."""

    cluster_id: str
    group: str
    policy: Policy
    owners: list[int]
    incarnation: int = 0
    term: int = 1
    leader: int = 0
    config_index: int = 1
    members: dict[int, Member] = field(default_factory=dict)

    def owned(self, member_id: int) -> int:
        return self.owners.count(member_id)

    def voters(self) -> list[Member]:
        return [member for member in self.members.values() if member.voter]


class MemorySidecars:
    """All sidecars; the twin of `GrpcSidecars`."""

    def __init__(self) -> None:
        self.processes: dict[str, Process] = {}  # by address
        self.clusters: dict[str, Cluster] = {}
        self.bootstraps: list[str] = []  # groups
        self.told: list[SidecarAction] = []
        self.fail: Callable[[str, str], None] = lambda _method, _moment: None
        self.looks = 0
        self._ids = itertools.count(101)

    # --- the admin API

    async def look(self, addresses: Mapping[str, str]) -> SidecarsSeen:
        await asyncio.sleep(0)
        self.looks += 1
        running = {pod: self._running(address) for pod, address in addresses.items()}
        up = {pod: process for pod, process in running.items() if process is not None}
        seen = {pod: self._status(process) for pod, process in up.items()}
        leading = [each for each in (self._cluster_led_by(p) for p in up.values()) if each]
        newest = max(leading, key=lambda cluster: cluster.term, default=None)
        return SidecarsSeen(seen, None if newest is None else self._view(newest))

    async def carry_out(self, address: str, action: SidecarAction) -> None:
        await asyncio.sleep(0)
        self.fail(action.name, "before")
        process = self._running(address)
        if process is None:
            raise SidecarError(action.name, "CONNECTION_LOST", "nobody answers")
        self._carry_out(process, action)
        self.told.append(action)
        self.fail(action.name, "after")

    def _carry_out(self, process: Process, action: SidecarAction) -> None:
        if isinstance(action, Bootstrap):
            self._bootstrap(process, action)
            return
        if isinstance(action, ForceNewQuorum):
            self._force(process, action)
            return
        cluster = self._cluster_led_by(process)
        if cluster is None:
            raise SidecarError(action.name, "NO_LEADER", "not the leader")
        self._change(cluster, action)

    def _change(
        self, cluster: Cluster, action: SetIntent | DescribeMember | SetPolicy | TransferLeader
    ) -> None:
        if isinstance(action, SetPolicy):
            cluster.policy = action.policy
        elif isinstance(action, TransferLeader):
            self._check_voter(cluster, action.to_member_id)
            cluster.leader = action.to_member_id
            cluster.term += 1
        else:
            member = cluster.members.get(action.member_id)
            if member is None:
                raise SidecarError(action.name, "UNKNOWN_MEMBER", str(action.member_id))
            if isinstance(action, DescribeMember):
                member.zone, member.capacity = action.zone, action.capacity
            else:
                self._set_intent(cluster, member, action)
        cluster.config_index += 1

    def _set_intent(self, cluster: Cluster, member: Member, action: SetIntent) -> None:
        if action.expected_config_index not in (0, cluster.config_index):
            raise SidecarError("SetIntent", "CONFLICT", "the cluster has moved on")
        if action.intent is Intent.REMOVE:
            going = [m for m in cluster.members.values() if m.intent is Intent.REMOVE]
            assert not [m for m in going if m is not member], "two members removed at a time"
        member.intent = action.intent

    def _check_voter(self, cluster: Cluster, member_id: int) -> None:
        member = cluster.members.get(member_id)
        if member is None or not member.voter or self._process_of(member_id) is None:
            raise SidecarError("TransferLeader", "INVALID_ARGUMENT", "not a live voter")

    def _bootstrap(self, process: Process, action: Bootstrap) -> None:
        if process.disk.cluster_id == action.cluster_id:
            return  # asked again
        if process.disk.cluster_id:
            raise SidecarError("Bootstrap", "CONFLICT", "has state of another cluster")
        assert action.cluster_id not in self.clusters, "a second history of one cluster"
        self.bootstraps.append(process.group)
        process.disk.member_id = next(self._ids)
        process.disk.cluster_id = action.cluster_id
        member = Member(process.disk.member_id, process.pod, voter=True, session=1)
        self.clusters[action.cluster_id] = Cluster(
            cluster_id=action.cluster_id,
            group=process.group,
            policy=action.policy,
            owners=[_FREE] * action.partitions,
            leader=member.member_id,
            members={member.member_id: member},
        )

    def _force(self, process: Process, action: ForceNewQuorum) -> None:
        cluster = self.clusters.get(action.cluster_id)
        if cluster is None or process.disk.cluster_id != action.cluster_id:
            raise SidecarError("ForceNewQuorum", "WRONG_CLUSTER", action.cluster_id)
        if cluster.leader or action.incarnation != process.disk.incarnation:
            raise SidecarError("ForceNewQuorum", "CONFLICT", "it leads, or it was done already")
        survivor = cluster.members[process.disk.member_id]
        cluster.members = {survivor.member_id: survivor}
        survivor.voter = True
        cluster.owners = [o if o == survivor.member_id else _FREE for o in cluster.owners]
        cluster.incarnation += 1
        process.disk.incarnation = cluster.incarnation
        cluster.term += 1
        cluster.leader = survivor.member_id
        cluster.config_index += 1

    # --- what goes on by itself

    def start(self, process: Process) -> None:
        self.processes[process.address] = process

    def stop(self, address: str) -> int:
        """The process ends; gives how many partitions its member still owned."""
        process = self.processes.pop(address)
        cluster = self.clusters.get(process.disk.cluster_id)
        return cluster.owned(process.disk.member_id) if cluster is not None else 0

    def step(self) -> None:
        for process in list(self.processes.values()):
            if not process.disk.cluster_id and not process.frozen:
                self._join(process)
        for cluster in self.clusters.values():
            self._elect(cluster)
            if cluster.leader:
                self._tend(cluster)

    def is_removed(self, process: Process) -> bool:
        """Whether the process has ended because its member was removed."""
        cluster = self.clusters.get(process.disk.cluster_id)
        return cluster is not None and process.disk.member_id not in cluster.members

    def _join(self, process: Process) -> None:
        for cluster in self.clusters.values():
            if cluster.group != process.group or not cluster.leader:
                continue
            for old in list(cluster.members.values()):
                if old.name == process.pod and not old.session and not old.voter:
                    del cluster.members[old.member_id]
            process.disk.member_id = next(self._ids)
            process.disk.cluster_id = cluster.cluster_id
            process.disk.incarnation = cluster.incarnation
            member = Member(process.disk.member_id, process.pod)
            cluster.members[member.member_id] = member
            cluster.config_index += 1
            return

    def _elect(self, cluster: Cluster) -> None:
        alive = [m for m in cluster.voters() if self._process_of(m.member_id) is not None]
        if len(alive) * 2 <= len(cluster.voters()):
            cluster.leader = 0
        elif cluster.leader not in {member.member_id for member in alive}:
            cluster.leader = alive[0].member_id
            cluster.term += 1

    def _tend(self, cluster: Cluster) -> None:
        for member in cluster.members.values():
            self._tend_session(cluster, member)
        self._promote(cluster)
        self._remove_one(cluster)
        self._place(cluster)

    def _tend_session(self, cluster: Cluster, member: Member) -> None:
        process = self._process_of(member.member_id)
        if process is not None:
            member.silent_steps = 0
            member.session = member.session or cluster.config_index
            return
        member.silent_steps += 1
        if member.silent_steps >= _STEPS_UNTIL_EXPIRED and member.session:
            member.session = 0
            mine = member.member_id
            cluster.owners = [_FREE if owner == mine else owner for owner in cluster.owners]

    def _promote(self, cluster: Cluster) -> None:
        voters = cluster.voters()
        surplus = len(voters) - cluster.policy.voters_max
        candidates = [m for m in cluster.members.values() if not m.voter and self._may_own(m)]
        dead = [m for m in voters if not m.session or m.intent is Intent.REMOVE]
        if dead and candidates and len(voters) >= cluster.policy.voters_max:
            dead[0].voter, candidates[0].voter = False, True
        elif surplus < 0 and candidates:
            candidates[0].voter = True
        elif surplus > 0:
            spare = [m for m in voters if m.member_id != cluster.leader]
            spare[-1].voter = False
        else:
            return
        cluster.config_index += 1

    def _remove_one(self, cluster: Cluster) -> None:
        for member in list(cluster.members.values()):
            if member.intent is not Intent.REMOVE or cluster.owned(member.member_id):
                continue
            if member.voter and len(cluster.voters()) == 1:
                return
            if member.member_id == cluster.leader:
                others = [m for m in cluster.voters() if m is not member and m.session]
                cluster.leader = others[0].member_id if others else cluster.leader
                cluster.term += 1
                return
            del cluster.members[member.member_id]
            cluster.config_index += 1
            return

    def _place(self, cluster: Cluster) -> None:
        receivers = [m for m in cluster.members.values() if self._may_own(m)]
        if not receivers:
            return
        ids = {member.member_id for member in receivers}
        share = -(-len(cluster.owners) // len(receivers))
        moves = MOVES_PER_STEP
        for partition, owner in enumerate(cluster.owners):
            is_well = owner in ids and cluster.owned(owner) <= share
            if is_well or self._is_stuck(cluster, owner):
                continue
            if owner != _FREE and moves == 0:
                continue
            moves -= owner != _FREE
            cluster.owners[partition] = min(ids, key=cluster.owned)

    def _is_stuck(self, cluster: Cluster, owner: int) -> bool:
        """The owner does not answer, and its session has not expired yet; or it just stays."""
        member = cluster.members.get(owner)
        if member is None:
            return False
        drained = member.intent is not Intent.NONE or self._drains(member)
        if self._process_of(owner) is None:
            return True
        return member.intent is Intent.CORDON and not self._drains(member) if drained else False

    def _may_own(self, member: Member) -> bool:
        process = self._process_of(member.member_id)
        free = member.intent is Intent.NONE and member.session != 0
        return free and process is not None and process.has_worker and not process.draining

    def _drains(self, member: Member) -> bool:
        process = self._process_of(member.member_id)
        return process is not None and process.draining

    def _process_of(self, member_id: int) -> Process | None:
        found: Iterable[Process] = self.processes.values()
        alive = (p for p in found if p.disk.member_id == member_id and not p.frozen)
        return next(alive, None)

    def _running(self, address: str) -> Process | None:
        process = self.processes.get(address)
        return None if process is None or process.frozen else process

    def _cluster_led_by(self, process: Process) -> Cluster | None:
        cluster = self.clusters.get(process.disk.cluster_id)
        leads = cluster is not None and cluster.leader == process.disk.member_id
        return cluster if leads else None

    # --- views

    def _status(self, process: Process) -> SidecarSeen:
        cluster = self.clusters.get(process.disk.cluster_id)
        return SidecarSeen(
            member_id=process.disk.member_id,
            state=self._state(process),
            cluster_id=process.disk.cluster_id,
            incarnation=process.disk.incarnation,
            leader=cluster.leader if cluster else 0,
            term=cluster.term if cluster else 0,
            commit_index=10 * cluster.config_index if cluster else 0,
            apply_lag=0,
            partitions_owned=cluster.owned(process.disk.member_id) if cluster else 0,
            version="0.1.0",
        )

    def _state(self, process: Process) -> SidecarState:
        if not process.disk.cluster_id:
            return SidecarState.JOINING
        if self.is_removed(process):
            return SidecarState.REMOVED
        return SidecarState.DRAINING if process.draining else SidecarState.READY

    def _view(self, cluster: Cluster) -> ClusterView:
        free = cluster.owners.count(_FREE)
        total = len(cluster.owners)
        return ClusterView(
            cluster_id=cluster.cluster_id,
            incarnation=cluster.incarnation,
            term=cluster.term,
            leader=cluster.leader,
            config_index=cluster.config_index,
            policy=cluster.policy,
            members=tuple(self._member(cluster, m) for m in cluster.members.values()),
            partitions=PartitionCounts(total=total, owned=total - free, moving=0, free=free),
        )

    def _member(self, cluster: Cluster, member: Member) -> MemberSeen:
        process = self._process_of(member.member_id)
        return MemberSeen(
            member_id=member.member_id,
            name=member.name,
            role=Role.VOTER if member.voter else Role.LEARNER,
            leader=member.member_id == cluster.leader,
            session=member.session,
            intent=member.intent,
            ready=process is not None and process.has_worker,
            draining=process is not None and process.draining,
            caught_up=process is not None,
            partitions_owned=cluster.owned(member.member_id),
            capacity=member.capacity,
            zone=member.zone,
            last_heard_ms=member.silent_steps * 200,
            version="0.1.0",
            address="",
            lag=0,
        )
