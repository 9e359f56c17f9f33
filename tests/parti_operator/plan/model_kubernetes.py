"""Kubernetes round a cluster as a model: the PartiCluster, its children, pods, disks and nodes.

Goes forward by ticks, as its controllers and kubelets do, and keeps what it held before, for looks
from old caches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from parti_operator import names
from parti_operator.observed import (
    ChildKey,
    ClaimSeen,
    ClusterView,
    NodeSeen,
    NodeState,
    Observed,
    PodSeen,
    SidecarSeen,
    SidecarState,
    StatefulSetSeen,
    Trouble,
)
from parti_operator.spec import ClusterSpec, parse
from tests.parti_operator.defaults import SIDECAR_IMAGE, particluster
from tests.parti_operator.plan.model_cluster import (
    TICK_MS,
    ClusterModel,
    Disk,
    Process,
    RefusedError,
)

UID = "5ba1b1e2-3c1f-4c5e-9d59-0a3f1c2d4e5f"
START_MS = 1_795_000_000_000
GRACE_TICKS = 12
NO_NODE = Trouble("Unschedulable", "no node has its volume")
EVICTION_TICKS = 3  # until a cut node's pods are told to go
STATEFUL_SET = ChildKey("StatefulSet", "orders")
SETTINGS: Mapping[str, Any] = {
    "partitions": 8,
    "timeouts": {"failure": "20s", "drain": "6s", "handover": "2s"},
}


@dataclass(slots=True)
class Pod:
    """A pod of the StatefulSet."""

    uid: str
    ordinal: int
    revision: str
    node: str
    disk: Disk
    broken: bool = False  # its application never attaches a worker
    age: int = 0
    down: int = 0  # ticks until the kubelet has started the containers again
    ending: int | None = None  # ticks of grace that are left

    @property
    def name(self) -> str:
        return names.pod("orders", self.ordinal)


@dataclass(slots=True)
class Claim:
    """A claim and what is on the disk."""

    uid: str
    ordinal: int
    node: str
    cluster_id: str
    disk: Disk = field(default_factory=Disk)
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class Objects:
    """What the API server held at a moment."""

    resource: Mapping[str, Any]
    children: Mapping[ChildKey, Mapping[str, Any]]
    stateful_set: StatefulSetSeen | None
    pods: tuple[PodSeen, ...]
    claims: tuple[ClaimSeen, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """What the sidecars said at a moment."""

    sidecars: Mapping[str, SidecarSeen]
    view: ClusterView | None


class Kubernetes:
    """One PartiCluster named orders."""

    def __init__(self, *, nodes: int = 4, uid: str = UID, **spec: Any) -> None:
        self.now_ms = START_MS
        self.resource = particluster(uid=uid, **{**SETTINGS, **spec})
        self.version = 1
        self.children: dict[ChildKey, dict[str, Any]] = {}
        self.revision = ""
        self.bad_images: set[str] = {"bad"}
        self.pods: dict[int, Pod] = {}
        self.claims: dict[int, Claim] = {}
        self.nodes = {f"node-{i}": NodeState.READY for i in range(nodes)}
        self.cut_ticks: dict[str, int] = {}
        self.cluster: ClusterModel | None = None
        self.founded: list[str] = []  # disks of bootstraps, by pod uid
        self.uids = 0
        self.log: list[str] = []
        self.objects_before = [self.objects()]
        self.said_before = [self.said()]

    # --- what is seen

    @property
    def spec(self) -> ClusterSpec:
        return parse(self.resource, SIDECAR_IMAGE)

    @property
    def status(self) -> Mapping[str, Any]:
        status: Mapping[str, Any] = self.resource.get("status", {})
        return status

    @property
    def replicas(self) -> int:
        child = self.children.get(STATEFUL_SET)
        return int(child["spec"]["replicas"]) if child is not None else 0

    def objects(self) -> Objects:
        stateful_set = None
        if STATEFUL_SET in self.children:
            child = self.children[STATEFUL_SET]
            stateful_set = StatefulSetSeen(
                uid=child["metadata"]["uid"],
                resource_version=child["metadata"]["resourceVersion"],
                replicas=self.replicas,
                update_revision=self.revision,
                claim_size=self.spec.storage.size,
            )
        return Objects(
            resource=self.resource,
            children=dict(self.children),
            stateful_set=stateful_set,
            pods=tuple(self._pod_seen(pod) for pod in self.pods.values()),
            claims=tuple(self._claim_seen(claim) for claim in self.claims.values()),
        )

    def said(self) -> Said:
        processes = {p.name: p for p in self.processes()}
        sidecars = {name: self._sidecar_seen(p) for name, p in processes.items()}
        view = self.cluster.view() if self.cluster is not None else None
        return Said(sidecars, view)

    def look(self, objects: Objects, said: Said, *, live: bool) -> Observed:
        return Observed(
            cluster=parse(objects.resource, SIDECAR_IMAGE),
            status=objects.resource.get("status", {}),
            annotations=objects.resource["metadata"].get("annotations", {}),
            deleting=False,
            live=live,
            stateful_set=objects.stateful_set,
            pods=objects.pods,
            claims=objects.claims,
            children=objects.children,
            foreign=(),
            optional_kinds=frozenset(),
            nodes={
                name: NodeSeen(name, state, f"zone-{name}") for name, state in self.nodes.items()
            },
            sidecars=said.sidecars,
            view=said.view,
        )

    def _pod_seen(self, pod: Pod) -> PodSeen:
        return PodSeen(
            name=pod.name,
            uid=pod.uid,
            ordinal=pod.ordinal,
            revision=pod.revision,
            node=pod.node,
            ready=self.is_ready(pod),
            deleting=pod.ending is not None,
            trouble=None if pod.node else NO_NODE,
        )

    def _claim_seen(self, claim: Claim) -> ClaimSeen:
        return ClaimSeen(
            name=names.data_claim("orders", claim.ordinal),
            uid=claim.uid,
            ordinal=claim.ordinal,
            cluster_id=claim.cluster_id,
            size=self.spec.storage.size,
            node=claim.node,
            deleting=claim.deleting,
        )

    def _sidecar_seen(self, process: Process) -> SidecarSeen:
        disk, cluster = process.disk, self.cluster
        current = cluster is not None and disk.incarnation == cluster.incarnation
        in_cluster = cluster is not None and current and disk.member_id in cluster.members
        state = SidecarState.JOINING if not disk.cluster_id else SidecarState.REMOVED
        if in_cluster:
            state = SidecarState.DRAINING if process.draining else SidecarState.READY
        return SidecarSeen(
            member_id=disk.member_id,
            state=state,
            cluster_id=disk.cluster_id,
            incarnation=disk.incarnation,
            leader=cluster.leader if cluster is not None and in_cluster else 0,
            term=cluster.term if cluster is not None else 0,
            commit_index=0 if cluster is None else cluster.config_index,
            apply_lag=0,
            partitions_owned=cluster.owned(disk.member_id) if cluster and disk.member_id else 0,
            version="1.0.0",
        )

    # --- time

    def processes(self) -> list[Process]:
        """The sidecars that run and can be reached."""
        return [
            Process(pod.name, pod.disk, not pod.broken, pod.ending is not None)
            for pod in self.pods.values()
            if self.is_running(pod)
        ]

    def is_running(self, pod: Pod) -> bool:
        on_line = self.nodes.get(pod.node) is NodeState.READY
        return on_line and pod.age > 0 and not pod.down

    def is_ready(self, pod: Pod) -> bool:
        if pod.broken or pod.age < 2 or not self.is_running(pod) or self.cluster is None:
            return False
        member = self.cluster.members.get(pod.disk.member_id)
        return member is not None and member.session != 0

    def tick(self) -> None:
        self.now_ms += TICK_MS
        for pod in list(self.pods.values()):
            self._age(pod)
        self._control_nodes()
        self._control_claims()
        self._control_pods()
        if self.cluster is not None:
            self.cluster.tick(self.processes())
        self.objects_before.append(self.objects())
        self.said_before.append(self.said())

    def _age(self, pod: Pod) -> None:
        pod.age += bool(pod.node)
        pod.down = max(0, pod.down - 1)
        if pod.ending is None or self.nodes.get(pod.node, NodeState.READY) is not NodeState.READY:
            return
        if pod.node and pod.node not in self.nodes:
            return  # nobody is left to confirm its end
        pod.ending -= 1
        cluster, member_id = self.cluster, pod.disk.member_id
        drained = cluster is None or not cluster.owned(member_id)
        if pod.ending > 0 and not drained and self.is_running(pod):
            return
        if cluster is not None and member_id in cluster.members and self.is_running(pod):
            cluster._end_session(cluster.members[member_id])
        del self.pods[pod.ordinal]

    def _control_nodes(self) -> None:
        """Kubernetes tells pods of a node to go that is silent for long, or gone."""
        for name, state in self.nodes.items():
            self.cut_ticks[name] = self.cut_ticks.get(name, 0) + 1 if state != "ready" else 0
        for pod in self.pods.values():
            if self.cut_ticks.get(pod.node, 0) > EVICTION_TICKS and pod.ending is None:
                pod.ending = GRACE_TICKS

    def _control_claims(self) -> None:
        for claim in list(self.claims.values()):
            scaled_down = claim.ordinal >= self.replicas > 0
            if (claim.deleting or scaled_down) and claim.ordinal not in self.pods:
                del self.claims[claim.ordinal]

    def _control_pods(self) -> None:
        for ordinal in range(self.replicas):
            if ordinal not in self.pods:
                self._start_pod(ordinal)
        for pod in self.pods.values():
            if pod.ordinal >= self.replicas and pod.ending is None:
                pod.ending = GRACE_TICKS
            if not pod.node:
                pod.node = self._place(self.claims[pod.ordinal])

    def _start_pod(self, ordinal: int) -> None:
        claim = self.claims.get(ordinal)
        if claim is not None and claim.deleting:
            return
        if claim is None:
            template = self.children[STATEFUL_SET]["spec"]["volumeClaimTemplates"][0]
            cluster_id = template["metadata"]["labels"][names.CLUSTER_ID_LABEL]
            claim = Claim(self.new_uid(), ordinal, "", cluster_id)
            self.claims[ordinal] = claim
        image = self.resource["spec"]["template"]["spec"]["containers"][0]["image"]
        broken = image in self.bad_images
        node = self._place(claim)
        self.pods[ordinal] = Pod(self.new_uid(), ordinal, self.revision, node, claim.disk, broken)

    def _place(self, claim: Claim) -> str:
        """A local disk binds its pod to its node."""
        if claim.node:
            return claim.node if self.nodes.get(claim.node) is NodeState.READY else ""
        up = [name for name, state in self.nodes.items() if state is NodeState.READY]
        if up:
            claim.node = up[claim.ordinal % len(up)]
        return claim.node

    def new_uid(self) -> str:
        self.uids += 1
        return f"uid-{self.uids}"

    # --- the PartiCluster

    def edit(self, **spec: Any) -> None:
        """A person changes the spec."""
        metadata = {**self.resource["metadata"]}
        metadata["generation"] += 1
        self._write({**self.resource, "metadata": metadata, "spec": {**self._spec(), **spec}})

    def _spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.resource["spec"]
        return spec

    def set_image(self, image: str) -> None:
        template = {"spec": {"containers": [{"name": "app", "image": image}]}}
        self.edit(template=template)

    def annotate(self, key: str, value: str | None) -> None:
        known = self.resource["metadata"].get("annotations", {})
        annotations = {k: v for k, v in known.items() if k != key}
        if value is not None:
            annotations[key] = value
        metadata = {**self.resource["metadata"], "annotations": annotations}
        self._write({**self.resource, "metadata": metadata})

    def write_status(self, status: Mapping[str, Any], version: int) -> None:
        if version != self.version:
            raise RefusedError("the PartiCluster has changed")
        if status != self.status:
            self._write({**self.resource, "status": dict(status)})

    def _write(self, resource: dict[str, Any]) -> None:
        self.resource = resource
        self.version += 1
