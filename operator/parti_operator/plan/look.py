"""What follows from one look, asked by every concern: who is who, who is well, who may go. Pure.

Terms of this module:

- the *member of a pod* is the one that its own sidecar says it is; without an answer the newest of
  its name that nobody wants removed. A pod that lost its disk has two members for a while.
- *alive*: its session is open and the leader heard of it within a lease, or two seconds.
- *serving*: alive, its worker attached, its log caught up, not about to end.
- *leaving*: a member whose ordinal is beyond the replicas wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from parti_operator import names
from parti_operator.observed import (
    ClaimSeen,
    Intent,
    MemberSeen,
    NodeState,
    Observed,
    PodSeen,
    Role,
    SidecarSeen,
    SidecarState,
)
from parti_operator.plan.records import read_records
from parti_operator.plan.timestamps import elapsed_ms

FALSE_WORDS = frozenset({"", "false", "no", "0"})
SILENT_AFTER_MS_MIN = 2_000  # with a short lease a renewal may be under way when we look
BLANK_STATES = frozenset({SidecarState.WAITING, SidecarState.JOINING})


def is_set(annotations: Mapping[str, str], key: str) -> bool:
    """Whether a person has switched something on by an annotation."""
    return annotations.get(key, "").strip().lower() not in FALSE_WORDS


class Look:
    """An `Observed` with the answers that several concerns need. Computes, never decides."""

    def __init__(self, observed: Observed, now_ms: int) -> None:
        self.observed = observed
        self.now_ms = now_ms
        self.spec = observed.cluster
        self.ref = observed.cluster.ref
        self.want = observed.cluster.replicas
        self.view = observed.view
        self.status = observed.status

    # --- identity of the cluster

    @property
    def recorded_cluster_id(self) -> str:
        """The cluster that exists, by the status; "" while none was seen."""
        return str(self.status.get("clusterID", ""))

    @cached_property
    def claimed_cluster_ids(self) -> frozenset[str]:
        """The clusters that the disks of this name were made for."""
        return frozenset(claim.cluster_id for claim in self.observed.claims if claim.cluster_id)

    @cached_property
    def cluster_id(self) -> str:
        """The id that the cluster has or shall have: the PartiCluster's uid, unless disks of an
        earlier PartiCluster of this name were kept; then their cluster goes on.
        """
        if self.recorded_cluster_id:
            return self.recorded_cluster_id
        if len(self.claimed_cluster_ids) == 1:
            return next(iter(self.claimed_cluster_ids))
        return self.ref.uid

    @property
    def exists(self) -> bool:
        """There is a cluster, even if it cannot be reached now."""
        return bool(self.recorded_cluster_id)

    # --- pods

    @cached_property
    def pods(self) -> dict[int, PodSeen]:
        return {pod.ordinal: pod for pod in self.observed.pods}

    @cached_property
    def desired_pods(self) -> list[PodSeen]:
        return [self.pods[o] for o in range(self.want) if o in self.pods]

    @property
    def have(self) -> int:
        """Replicas that the StatefulSet is set to; 0 without one."""
        return self.observed.stateful_set.replicas if self.observed.stateful_set else 0

    def pod_name(self, ordinal: int) -> str:
        return names.pod(self.ref.name, ordinal)

    def sidecar(self, pod: PodSeen) -> SidecarSeen | None:
        return self.observed.sidecars.get(pod.name)

    def claim(self, ordinal: int) -> ClaimSeen | None:
        return next((c for c in self.observed.claims if c.ordinal == ordinal), None)

    # --- members

    @cached_property
    def members(self) -> dict[int, MemberSeen]:
        """All members by id, as the leader knows them; none without a leader."""
        return {member.member_id: member for member in self.view.members} if self.view else {}

    def ordinal(self, member: MemberSeen) -> int:
        """The ordinal of a member's pod, -1 if its name is none of ours."""
        ordinal = names.ordinal(member.name)
        return ordinal if ordinal >= 0 and self.pod_name(ordinal) == member.name else -1

    def member_at(self, ordinal: int) -> MemberSeen | None:
        """The member of a pod, see the module."""
        sidecar = self.observed.sidecars.get(self.pod_name(ordinal))
        if sidecar is not None:
            return self.members.get(sidecar.member_id)
        return self.newest_named(ordinal)

    def newest_named(self, ordinal: int) -> MemberSeen | None:
        """Of the members with the name of a pod the one that is likely to be it."""
        named = [m for m in self.members.values() if self.ordinal(m) == ordinal]
        return max(named, key=_likeliness, default=None)

    @cached_property
    def staying(self) -> list[MemberSeen]:
        """The members of the pods that are wanted, by ordinal."""
        found = (self.member_at(ordinal) for ordinal in range(self.want))
        return [member for member in found if member is not None]

    @cached_property
    def leaving(self) -> list[MemberSeen]:
        """Members beyond the replicas wanted, the highest first."""
        beyond = [m for m in self.members.values() if self.ordinal(m) >= self.want]
        return sorted(beyond, key=self.ordinal, reverse=True)

    @cached_property
    def leader(self) -> MemberSeen | None:
        return self.members.get(self.view.leader) if self.view else None

    def is_alive(self, member: MemberSeen) -> bool:
        if not member.session:
            return False
        return member.leader or 0 <= member.last_heard_ms <= self._silent_after_ms

    def is_lost(self, member: MemberSeen) -> bool:
        """Certainly silent. A leader that has only just been elected knows of nobody."""
        return not member.session or member.last_heard_ms > self._silent_after_ms

    @property
    def _silent_after_ms(self) -> int:
        return max(SILENT_AFTER_MS_MIN, self.spec.lease_ttl_ms)

    def has_joined(self, ordinal: int) -> bool:
        """The pod's member is there and knows what the others know."""
        member = self.member_at(ordinal)
        return member is not None and self.is_alive(member) and member.caught_up

    def is_serving(self, member: MemberSeen) -> bool:
        well = member.ready and member.caught_up and not member.draining
        return well and self.is_alive(member)

    def may_receive(self, member: MemberSeen) -> bool:
        """It can be given partitions, once a cordon of ours is lifted; a person's one stays."""
        ours = read_records(self.status).get(member.member_id)
        free = member.intent is Intent.NONE
        if member.intent is Intent.CORDON and ours is not None:
            free = ours.before is Intent.NONE
        return free and self.is_serving(member)

    # --- quorum

    def keeps_quorum_without(self, *gone: MemberSeen | None) -> bool:
        """Whether a majority of all voters lives even if these do not."""
        ids = {member.member_id for member in gone if member is not None}
        voters = [m for m in self.members.values() if m.role is Role.VOTER]
        alive = sum(1 for m in voters if m.member_id not in ids and self.is_alive(m))
        return alive * 2 > len(voters)

    def rest_is_live_majority(self, leaving: MemberSeen) -> bool:
        """Whether those voters that stay once this one votes no more have a live majority."""
        rest = [
            m
            for m in self.members.values()
            if m.role is Role.VOTER and m.member_id != leaving.member_id
        ]
        return sum(1 for m in rest if self.is_alive(m)) * 2 > len(rest)

    def heir(self, among: Iterable[MemberSeen]) -> MemberSeen | None:
        """The voter that leadership can go to; the one least behind, then the lowest ordinal."""
        fit = [
            m
            for m in among
            if m.role is Role.VOTER
            and not m.leader
            and self.is_alive(m)
            and m.caught_up
            and not m.draining
            and m.intent is not Intent.REMOVE
        ]
        return min(fit, key=lambda m: (m.lag, self.ordinal(m)), default=None)

    # --- nodes and people

    def node_is_gone(self, node: str) -> bool:
        """Nothing runs there any more: it is not listed, or a person vouches for it."""
        nodes = self.observed.nodes
        if nodes is None or not node:
            return False
        seen = nodes.get(node)
        return seen is None or seen.state is NodeState.OUT_OF_SERVICE

    def is_annotated(self, key: str) -> bool:
        return is_set(self.observed.annotations, key)

    def since_ms(self, text: Any) -> int:
        """How long ago a moment of the status was."""
        return elapsed_ms(text, self.now_ms)


def _likeliness(member: MemberSeen) -> tuple[bool, int]:
    """Orders the members of one name: a later session has a greater number."""
    return member.intent is not Intent.REMOVE, member.session
