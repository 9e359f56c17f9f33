"""A world where all goes well at once: pods run when their StatefulSet is written, members join
when their cluster is bootstrapped. It takes no steps, so hundreds of clusters cost what the
operator costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from parti_operator import names
from parti_operator.actions import Bootstrap, DescribeMember
from parti_operator.kube_api import POD, STATEFUL_SET, Kind, Object
from parti_operator.observed import (
    ClusterView,
    Intent,
    MemberSeen,
    PartitionCounts,
    Role,
    SidecarSeen,
    SidecarState,
)
from parti_operator.sidecars import SidecarAction, SidecarsSeen
from parti_operator.spec.values import Policy
from tests.parti_operator.memory_kube import MemoryKube


@dataclass(slots=True)
class _Cluster:
    cluster_id: str
    number: int
    policy: Policy
    partitions: int
    described: dict[int, tuple[str, int]] = field(default_factory=dict)

    def member_id(self, pod: str) -> int:
        return self.number * 1_000 + names.ordinal(pod)


class InstantSidecars:
    """Sidecars whose pods have addresses that say their names."""

    def __init__(self) -> None:
        self.looks = 0
        self._clusters: dict[str, _Cluster] = {}  # by the name of its pods without the ordinal

    async def look(self, addresses: Mapping[str, str]) -> SidecarsSeen:
        self.looks += 1
        cluster = self._of(next(iter(addresses), ""))
        if cluster is None:
            joining = SidecarSeen(0, SidecarState.JOINING, "", 0, 0, 0, 0, 0, 0, "0.1.0")
            return SidecarsSeen(dict.fromkeys(addresses, joining))
        sidecars = {pod: _sidecar(cluster, pod) for pod in addresses}
        return SidecarsSeen(sidecars, _view(cluster, list(addresses)))

    async def carry_out(self, address: str, action: SidecarAction) -> None:
        if isinstance(action, Bootstrap):
            stem = action.pod.rpartition("-")[0]
            number = len(self._clusters) + 1
            self._clusters[stem] = _Cluster(
                action.cluster_id, number, action.policy, action.partitions
            )
            return
        cluster = self._of(address.rpartition(":")[0])
        assert cluster is not None
        assert isinstance(action, DescribeMember), action
        cluster.described[action.member_id] = (action.zone, action.capacity)

    def _of(self, pod: str) -> _Cluster | None:
        return self._clusters.get(pod.rpartition("-")[0])


def run_pods(kube: MemoryKube) -> None:
    """Let every StatefulSet that is written have its pods, ready, from then on."""

    def see(kind: Kind, object_: Object, event: str) -> None:
        if kind == STATEFUL_SET and event == "ADDED":
            _start_all(kube, object_)

    kube.on_write.append(see)


def _start_all(kube: MemoryKube, stateful_set: Object) -> None:
    metadata, spec = stateful_set["metadata"], stateful_set["spec"]
    stateful_set["status"] = {"observedGeneration": 1, "updateRevision": "r1"}
    for ordinal in range(spec["replicas"]):
        name = names.pod(metadata["name"], ordinal)
        labels = {**spec["selector"]["matchLabels"], "controller-revision-hash": "r1"}
        owner = {"kind": "StatefulSet", "uid": metadata["uid"], "controller": True}
        kube.put(
            {
                "apiVersion": POD.api_version,
                "kind": POD.name,
                "metadata": {
                    "name": name,
                    "namespace": metadata["namespace"],
                    "labels": labels,
                    "ownerReferences": [owner],
                },
                "spec": {"nodeName": f"node-{ordinal % 3 + 1}"},
                "status": {
                    "phase": "Running",
                    "podIP": name,
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }
        )


def _sidecar(cluster: _Cluster, pod: str) -> SidecarSeen:
    return SidecarSeen(
        member_id=cluster.member_id(pod),
        state=SidecarState.READY,
        cluster_id=cluster.cluster_id,
        incarnation=0,
        leader=cluster.number * 1_000,
        term=1,
        commit_index=100,
        apply_lag=0,
        partitions_owned=0,
        version="0.1.0",
    )


def _view(cluster: _Cluster, pods: list[str]) -> ClusterView:
    return ClusterView(
        cluster_id=cluster.cluster_id,
        incarnation=0,
        term=1,
        leader=cluster.number * 1_000,
        config_index=1,
        policy=cluster.policy,
        members=tuple(_member(cluster, pod) for pod in pods),
        partitions=PartitionCounts(cluster.partitions, cluster.partitions, 0, 0),
    )


def _member(cluster: _Cluster, pod: str) -> MemberSeen:
    member_id = cluster.member_id(pod)
    zone, capacity = cluster.described.get(member_id, ("", 100))
    return MemberSeen(
        member_id=member_id,
        name=pod,
        role=Role.VOTER,
        leader=names.ordinal(pod) == 0,
        session=1,
        intent=Intent.NONE,
        ready=True,
        draining=False,
        caught_up=True,
        partitions_owned=1,
        capacity=capacity,
        zone=zone,
        last_heard_ms=10,
        version="0.1.0",
        address="",
        lag=0,
    )
