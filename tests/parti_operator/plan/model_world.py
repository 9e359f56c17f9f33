"""The operator's actions in the model, and what must never come of them.

Each is carried out as an API server and the sidecars would, with its preconditions. What must never
happen raises `ForbiddenError`, whoever planned it and from whatever look.
"""

from __future__ import annotations

from typing import Any

from parti_operator import names
from parti_operator.actions import (
    Action,
    ApplyChild,
    Bootstrap,
    ClearAnnotation,
    DeleteChild,
    DeleteClaim,
    DeletePod,
    DescribeMember,
    EvictPod,
    ForceNewQuorum,
    SetIntent,
    SetPolicy,
    TransferLeader,
)
from parti_operator.children.common import digest
from parti_operator.observed import ChildKey, Intent, NodeState, Role
from tests.parti_operator.plan.model_cluster import ClusterModel, Process, RefusedError
from tests.parti_operator.plan.model_kubernetes import (
    GRACE_TICKS,
    START_MS,
    STATEFUL_SET,
    UID,
    Kubernetes,
    Pod,
)

__all__ = ["UID", "ForbiddenError", "World"]


class ForbiddenError(AssertionError):
    """The operator did what it never may."""


class World(Kubernetes):
    """A PartiCluster named orders, all that belongs to it, and the watch over it."""

    def carry_out(self, action: Action) -> None:
        """Do it, refuse it, or object to it."""
        self.log.append(f"{(self.now_ms - START_MS) / 1000:.1f} s: {action}"[:160])
        match action:
            case SetIntent() | DescribeMember() | SetPolicy() | TransferLeader():
                self._tell(action)
            case Bootstrap():
                self._bootstrap(action)
            case ForceNewQuorum():
                self._force(action)
            case _:
                self._write_object(action)

    def _write_object(self, action: Action) -> None:
        match action:
            case ApplyChild():
                self._apply(action)
            case DeleteChild():
                self.children.pop(ChildKey(action.kind, action.object_name), None)
            case EvictPod():
                self._evict(action)
            case DeletePod():
                self._delete_pod(action)
            case DeleteClaim():
                self._delete_claim(action)
            case ClearAnnotation():
                self.annotate(action.key, None)
            case _:
                raise ForbiddenError(f"{action.name} has no reason here")

    def _apply(self, action: ApplyChild) -> None:
        child: dict[str, Any] = {**action.child}
        key = ChildKey(child["kind"], child["metadata"]["name"])
        live = self.children.get(key)
        metadata = dict(child["metadata"])
        wanted = {k: metadata.pop(k) for k in ("uid", "resourceVersion") if k in metadata}
        found = {} if live is None else live["metadata"]
        if any(found.get(k) != value for k, value in wanted.items()):
            raise RefusedError("the child has changed")
        if key == STATEFUL_SET:
            self._check_replicas(int(child["spec"]["replicas"]), guarded=bool(wanted))
            self.revision = digest(child["spec"]["template"])
        uid = found.get("uid") or self.new_uid()
        metadata |= {"uid": uid, "resourceVersion": str(len(self.log))}
        self.children[key] = {**child, "metadata": metadata}

    def _check_replicas(self, replicas: int, *, guarded: bool) -> None:
        ending = [pod for pod in self.pods.values() if pod.ordinal >= replicas]
        if replicas < self.replicas and not guarded:
            raise ForbiddenError("replicas are lowered without a precondition")
        if replicas < self.replicas:
            for pod in ending:
                self._check_end(pod, "scaled away")

    def _check_end(self, pod: Pod, how: str) -> None:
        """A pod is about to be ended by us."""
        cluster, member_id = self.cluster, pod.disk.member_id
        if cluster is None or member_id not in cluster.alive & cluster.members.keys():
            return
        skipped = names.SKIP_DRAIN_CHECK_ANNOTATION in self.resource["metadata"].get(
            "annotations", {}
        )
        alone = len(cluster.members) == 1
        if cluster.owned(member_id) and not (skipped or alone):
            raise ForbiddenError(f"{pod.name} is {how} though its member owns partitions")
        member = cluster.members[member_id]
        sole_vote = len(cluster.voters()) == 1 == self.spec.voters_for(self.spec.replicas)
        if (
            member.role is Role.VOTER
            and not sole_vote
            and not cluster.has_majority(without=member_id)
        ):
            raise ForbiddenError(f"{pod.name} is {how} though the quorum needs it")

    def _pod(self, name: str, uid: str) -> Pod:
        pod = self.pods.get(names.ordinal(name))
        if pod is None or pod.uid != uid:
            raise RefusedError(f"{name} is not the one that was meant")
        return pod

    def _evict(self, action: EvictPod) -> None:
        pod = self._pod(action.pod, action.uid)
        healthy = sum(1 for p in self.pods.values() if self.is_ready(p))
        if self.is_ready(pod) and healthy < self.replicas:
            raise RefusedError("the disruption budget is used up")
        self._check_end(pod, "evicted")
        if pod.ending is None:
            pod.ending = GRACE_TICKS

    def _delete_pod(self, action: DeletePod) -> None:
        pod = self._pod(action.pod, action.uid)
        if action.force:
            if self.nodes.get(pod.node) in (NodeState.READY, NodeState.UNREACHABLE):
                raise ForbiddenError(f"{pod.name} is forced off a node that may run it")
            del self.pods[pod.ordinal]
            return
        self._check_end(pod, "deleted")
        if pod.ending is None:
            pod.ending = GRACE_TICKS

    def _delete_claim(self, action: DeleteClaim) -> None:
        ordinal = names.ordinal(action.claim)
        claim = self.claims.get(ordinal)
        if claim is None or claim.uid != action.uid:
            raise RefusedError("the claim is not the one that was meant")
        cluster = self.cluster
        if cluster is not None and claim.disk.member_id in cluster.alive & cluster.members.keys():
            raise ForbiddenError(f"the disk of the living member {ordinal} is deleted")
        if cluster is not None and not cluster.has_majority():
            raise ForbiddenError("a disk is deleted without a quorum")
        claim.deleting = True

    def _bootstrap(self, action: Bootstrap) -> None:
        pod = self._pod(action.pod, action.pod_uid)
        if not self.is_running(pod):
            raise RefusedError("the sidecar does not answer")
        if self.cluster is not None and pod.disk.cluster_id == action.cluster_id:
            return
        if self.cluster is not None or pod.disk.cluster_id:
            raise ForbiddenError("a second history begins")
        self.founded.append(pod.uid)
        owners = [0] * action.partitions
        self.cluster = ClusterModel(action.cluster_id, action.policy, owners)
        process = Process(pod.name, pod.disk)
        self.cluster.leader = self.cluster.admit(process, Role.VOTER).member_id

    def _force(self, action: ForceNewQuorum) -> None:
        pod = self._pod(action.pod, action.pod_uid)
        if not self.is_running(pod):
            raise RefusedError("the sidecar does not answer")
        cluster = self.cluster
        if cluster is None or cluster.leader or pod.disk.incarnation != cluster.incarnation:
            raise ForbiddenError("a quorum is forced that is not lost, or twice")
        cluster.force(pod.disk.member_id)
        pod.disk.incarnation = cluster.incarnation
        pod.down = 2

    def _tell(self, action: SetIntent | DescribeMember | SetPolicy | TransferLeader) -> None:
        cluster = self.cluster
        if cluster is None or not cluster.leader:
            raise RefusedError("nobody leads")
        match action:
            case SetIntent(member_id, intent, expected):
                if intent is Intent.REMOVE:
                    self._check_removal(cluster, member_id, expected)
                cluster.set_intent(member_id, intent, expected)
            case DescribeMember(member_id, zone, capacity):
                if member_id not in cluster.members:
                    raise RefusedError("UNKNOWN_MEMBER")
                cluster.members[member_id].zone = zone
                cluster.members[member_id].capacity = capacity
                cluster.changed()
            case SetPolicy(policy):
                cluster.policy = policy
                cluster.changed()
            case TransferLeader(to):
                cluster.transfer(to)

    def _check_removal(self, cluster: ClusterModel, member_id: int, expected: int) -> None:
        if expected != cluster.config_index:
            return  # it will be refused
        others = [m for m in cluster.members.values() if m.intent is Intent.REMOVE]
        if any(m.member_id != member_id for m in others):
            raise ForbiddenError("two members are removed at once")
