"""What a plan may ask for: a closed list of values. Pure.

Every action can be repeated: carried out twice it leaves the same as once. Each names what it is
about so exactly (uid, resource version, config index) that it fails instead of hitting something
that took the name's place meanwhile. `name` is stable: failpoints and metrics are known by it.

A destructive action cannot be taken back. A plan holds one only if its look was live.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from parti_operator.observed import Intent, KubeObject
from parti_operator.spec.values import Policy


@dataclass(frozen=True, slots=True)
class _Action:
    @property
    def name(self) -> str:
        """The kind of action, for failpoints, metrics and logs."""
        return type(self).__name__

    @property
    def destructive(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class _Destructive(_Action):
    @property
    def destructive(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class ApplyChild(_Action):
    """Server-side apply of a child. `guarded`: the object also carries uid or resourceVersion, or
    it must not exist; it lowers the number of pods or brings disks to life.
    """

    child: KubeObject
    guarded: bool = False

    @property
    def destructive(self) -> bool:
        return self.guarded


@dataclass(frozen=True, slots=True)
class DeleteChild(_Destructive):
    """Delete a child that is not wanted any more."""

    api_version: str
    kind: str
    object_name: str
    uid: str


@dataclass(frozen=True, slots=True)
class EvictPod(_Destructive):
    """Ask Kubernetes to evict a drained pod: refused while its disruption budget is used up."""

    pod: str
    uid: str


@dataclass(frozen=True, slots=True)
class DeletePod(_Destructive):
    """Delete a pod that is of no use. `force`: its node is gone and will never confirm."""

    pod: str
    uid: str
    force: bool = False


@dataclass(frozen=True, slots=True)
class DeleteClaim(_Destructive):
    """Delete the disk of a pod, so that it comes back as a new member."""

    claim: str
    uid: str


@dataclass(frozen=True, slots=True)
class GrowClaim(_Action):
    """Ask for a larger disk."""

    claim: str
    uid: str
    size: str


@dataclass(frozen=True, slots=True)
class ClearAnnotation(_Action):
    """Take an order off the PartiCluster, if it still has this value."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Bootstrap(_Destructive):
    """Make the sidecar of a pod the first member of the cluster. Not destructive by what it
    overwrites but by what it would begin: a second history of the same cluster.
    """

    pod: str
    pod_uid: str
    cluster_id: str
    partitions: int
    policy: Policy
    lease_ttl_ms: int


@dataclass(frozen=True, slots=True)
class ForceNewQuorum(_Destructive):
    """Make the sidecar of a pod the only voter; what only the others knew is lost."""

    pod: str
    pod_uid: str
    cluster_id: str
    incarnation: int  # of the cluster as the order found it; refused if it is another one by now


@dataclass(frozen=True, slots=True)
class SetIntent(_Action):
    """Cordon, drain or remove a member, or take that back."""

    member_id: int
    intent: Intent
    expected_config_index: int = 0  # refused if the cluster has moved on; 0: not checked

    @property
    def destructive(self) -> bool:
        return self.intent is Intent.REMOVE


@dataclass(frozen=True, slots=True)
class DescribeMember(_Action):
    """Tell the cluster what a sidecar cannot know of itself."""

    member_id: int
    zone: str
    capacity: int


@dataclass(frozen=True, slots=True)
class SetPolicy(_Action):
    """Replace the replicated policy."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class TransferLeader(_Action):
    """Hand leadership to a voter."""

    to_member_id: int


Action: TypeAlias = (
    ApplyChild
    | DeleteChild
    | EvictPod
    | DeletePod
    | DeleteClaim
    | GrowClaim
    | ClearAnnotation
    | Bootstrap
    | ForceNewQuorum
    | SetIntent
    | DescribeMember
    | SetPolicy
    | TransferLeader
)
