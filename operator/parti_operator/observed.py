"""One look at a cluster: everything that a plan may know, as values. Pure.

`observe` fills it, `plan` reads it. Nothing in here is computed: what follows from the facts is the
plan's business. Two rules make a look trustworthy:

- `live` says that the objects were read from the API server just now. A look from the watches'
  cache is enough for whatever can be repeated or taken back; nothing is destroyed on its word.
- `view` is the word of the leader alone, and None when no leader answered. A member's own opinion
  of the cluster, which may be old, is in `sidecars` and never mixed with it.

Absent means not seen: a sidecar that did not answer has no entry in `sidecars`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from parti_operator.spec.values import ClusterSpec, Policy

KubeObject: TypeAlias = Mapping[str, Any]


class ChildKey(NamedTuple):
    """A child of a PartiCluster, inside its namespace."""

    kind: str
    name: str


class Intent(StrEnum):
    """What people or the operator want of a member; as in the cluster's table."""

    NONE = "none"
    CORDON = "cordon"
    DRAIN = "drain"
    REMOVE = "remove"


class Role(StrEnum):
    """A member's part in consensus."""

    VOTER = "voter"
    LEARNER = "learner"


class SidecarState(StrEnum):
    """What a sidecar says of itself."""

    WAITING = "waiting"  # no state, not told to join or to bootstrap
    JOINING = "joining"  # no state, asks its peers to take it in
    READY = "ready"
    DRAINING = "draining"
    REMOVED = "removed"  # has state, and is no member any more
    OTHER = "other"  # a word that this operator does not know


class NodeState(StrEnum):
    """What Kubernetes knows of a node. A node that is not listed is gone."""

    READY = "ready"
    UNREACHABLE = "unreachable"  # what runs there may still run
    OUT_OF_SERVICE = "out-of-service"  # a person vouches that nothing runs there


@dataclass(frozen=True, slots=True)
class StatefulSetSeen:
    """The facts of the StatefulSet that plans turn on; the whole object is among the children."""

    uid: str
    resource_version: str
    replicas: int
    update_revision: str  # of the newest template; "" while the controller has not looked at it
    claim_size: str  # of its claim template, which can never change; "" without one


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a pod does not run and will not by itself in a moment, in Kubernetes' words."""

    reason: str  # one word: Unschedulable, ImagePullBackOff, CrashLoopBackOff, ...
    message: str = ""
    container: str = ""  # "": the pod as a whole

    def __str__(self) -> str:
        return ": ".join(part for part in (self.container, self.reason, self.message) if part)


@dataclass(frozen=True, slots=True)
class PodSeen:
    """A pod of the StatefulSet."""

    name: str
    uid: str
    ordinal: int
    revision: str  # label controller-revision-hash
    node: str = ""  # "" while it is not scheduled
    ready: bool = False
    deleting: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    trouble: Trouble | None = None
    creating_since: str = ""  # its containers are being created; "" when they are not
    sidecar_exit_code: int | None = None  # of its last end, None: it has not ended yet


@dataclass(frozen=True, slots=True)
class ClaimSeen:
    """A PersistentVolumeClaim of a pod, whether that pod exists or not."""

    name: str
    uid: str
    ordinal: int
    cluster_id: str  # label: the cluster that it was made for; "" without one
    size: str  # as requested
    node: str = ""  # annotation volume.kubernetes.io/selected-node
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A node of the Kubernetes cluster."""

    name: str
    state: NodeState
    zone: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SidecarSeen:
    """GetStatus of the sidecar in a pod, asked at the pod's own address."""

    member_id: int
    state: SidecarState
    cluster_id: str  # "" without state
    incarnation: int  # of the cluster as this disk knows it: +1 with every forced quorum
    leader: int  # member id, 0: it knows of none
    term: int
    commit_index: int
    apply_lag: int
    partitions_owned: int
    version: str


@dataclass(frozen=True, slots=True)
class MemberSeen:
    """A member as the leader knows it."""

    member_id: int
    name: str  # of its pod
    role: Role
    leader: bool
    session: int  # 0: none open
    intent: Intent
    ready: bool  # a worker is attached
    draining: bool  # it asked to be drained because it ends
    caught_up: bool
    partitions_owned: int
    capacity: int
    zone: str
    last_heard_ms: int  # since its last renewal; -1: not yet by this leader
    version: str
    address: str
    lag: int  # entries behind the leader's commit index


@dataclass(frozen=True, slots=True)
class PartitionCounts:
    """The table in four numbers."""

    total: int
    owned: int
    moving: int
    free: int


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The leader's word."""

    cluster_id: str
    incarnation: int
    term: int
    leader: int  # member id
    config_index: int  # moves with members, voters, intents, facts, pins and the policy
    policy: Policy
    members: tuple[MemberSeen, ...]
    partitions: PartitionCounts


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything seen in one look."""

    cluster: ClusterSpec
    status: KubeObject  # of the PartiCluster; {} when it has none yet
    annotations: Mapping[str, str]  # of the PartiCluster
    deleting: bool
    live: bool
    stateful_set: StatefulSetSeen | None
    pods: tuple[PodSeen, ...]  # controlled by that StatefulSet
    claims: tuple[ClaimSeen, ...]
    children: Mapping[ChildKey, KubeObject]  # whole objects, controlled by this PartiCluster
    foreign: tuple[ChildKey, ...]  # objects of a child's name that somebody else controls
    optional_kinds: frozenset[str]  # kinds of other projects that the API server knows (PodMonitor)
    nodes: Mapping[str, NodeSeen] | None  # None: this operator may not read nodes
    sidecars: Mapping[str, SidecarSeen]  # by pod name
    view: ClusterView | None
