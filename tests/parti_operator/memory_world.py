"""What Kubernetes does by itself, in memory: the StatefulSet controller, kubelets, nodes.

`step` lets a fifth of a second pass. A pod that is deleted drains, as its preStop does, and ends;
one on a lost node never ends by itself. Names of pods are taken anew only when they are free, and a
disk lives as long as its claim: the rules by which members keep or lose their identity.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from parti_operator import names
from parti_operator.kube_api import CLAIM, NODE, POD, STATEFUL_SET, Object
from tests.parti_operator.memory_kube import MemoryKube
from tests.parti_operator.memory_sidecars import Disk, MemorySidecars, Process

NODES = ("node-1", "node-2", "node-3")
_GRACE_STEPS = 100


class MemoryWorld:
    """Everything around the operator."""

    def __init__(self, kube: MemoryKube, sidecars: MemorySidecars) -> None:
        self.kube = kube
        self.sidecars = sidecars
        self.partitions_lost = 0  # owned by members whose pods ended gracefully
        self.dead_nodes: set[str] = set()
        self._disks: dict[str, Disk] = {}  # by uid of the claim, or of the pod without one
        self._ending: dict[str, int] = {}  # steps since a pod began to end, by uid
        self._addresses = 0
        self._revisions: dict[tuple[str, int], str] = {}  # by uid and generation
        for name in NODES:
            kube.put(_node(name))

    def step(self) -> None:
        for stateful_set in list(self.kube.all(STATEFUL_SET)):
            self._control(stateful_set)
        for pod in list(self.kube.all(POD)):
            self._tend(pod)
        self._free_claims()
        self._forget_ended()
        self.sidecars.step()

    # --- what tests do

    def kill_node(self, name: str) -> None:
        """The machine is gone; Kubernetes notices and can do nothing."""
        self.dead_nodes.add(name)
        self.kube.set_status(NODE, "", name, {"conditions": [_condition("Ready", "Unknown")]})
        for pod in list(self.kube.all(POD)):
            if pod["spec"].get("nodeName") == name:
                self._set_ready(pod, ready=False)
                self.sidecars.processes.pop(pod["status"]["podIP"] + f":{names.ADMIN_PORT}", None)

    def lose_disk(self, namespace: str, pod: str, claim: str) -> None:
        """The claim and its pod are deleted by hand."""
        self.kube.begin_removal(CLAIM, namespace, claim, force=False)
        self.kube.begin_removal(POD, namespace, pod, force=False)

    # --- the StatefulSet controller

    def _control(self, stateful_set: Object) -> None:
        metadata, spec = stateful_set["metadata"], stateful_set["spec"]
        namespace = metadata["namespace"]
        revision = self._revision(stateful_set)
        for ordinal in range(spec["replicas"]):
            self._ensure_pod(stateful_set, ordinal, revision)
        own = [pod for pod in self.kube.all(POD, namespace) if _is_owned(pod, metadata["uid"])]
        for pod in own:
            if names.ordinal(pod["metadata"]["name"]) >= spec["replicas"]:
                self.kube.begin_removal(POD, namespace, pod["metadata"]["name"], force=False)
        ready = sum(1 for pod in own if _is_ready(pod))
        status = {
            "observedGeneration": metadata["generation"],
            "replicas": len(own),
            "readyReplicas": ready,
            "updateRevision": revision,
        }
        self.kube.set_status(STATEFUL_SET, namespace, metadata["name"], status)

    def _revision(self, stateful_set: Object) -> str:
        metadata = stateful_set["metadata"]
        key = (metadata["uid"], metadata["generation"])
        if key not in self._revisions:
            self._revisions[key] = _revision(stateful_set["spec"]["template"])
        return self._revisions[key]

    def _ensure_pod(self, stateful_set: Object, ordinal: int, revision: str) -> None:
        metadata, spec = stateful_set["metadata"], stateful_set["spec"]
        namespace = metadata["namespace"]
        name = names.pod(metadata["name"], ordinal)
        if self.kube.find(POD, namespace, name) is not None:
            return
        claim = self._ensure_claim(stateful_set, ordinal)
        if claim is not None and "deletionTimestamp" in claim["metadata"]:
            return
        template = spec["template"]
        labels = {
            **template["metadata"].get("labels", {}),
            **spec["selector"]["matchLabels"],
            "controller-revision-hash": revision,
        }
        self.kube.put(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "labels": labels,
                    "ownerReferences": [
                        {"kind": "StatefulSet", "uid": metadata["uid"], "controller": True}
                    ],
                },
                "spec": {},
                "status": {"phase": "Pending"},
            }
        )

    def _ensure_claim(self, stateful_set: Object, ordinal: int) -> Object | None:
        metadata = stateful_set["metadata"]
        templates = stateful_set["spec"].get("volumeClaimTemplates") or []
        if not templates:
            return None
        namespace = metadata["namespace"]
        name = names.data_claim(metadata["name"], ordinal)
        found = self.kube.find(CLAIM, namespace, name)
        if found is not None:
            return found
        template = templates[0]
        return self.kube.put(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {**template["metadata"], "name": name, "namespace": namespace},
                "spec": template["spec"],
            }
        )

    # --- kubelets

    def _tend(self, pod: Object) -> None:
        if pod["spec"].get("nodeName") in self.dead_nodes:
            return
        if "deletionTimestamp" in pod["metadata"]:
            self._end(pod)
        elif pod["status"]["phase"] == "Pending":
            self._start(pod)
        else:
            process = self.sidecars.processes[_address(pod)]
            self._set_ready(pod, ready=self._serves(process))

    def _start(self, pod: Object) -> None:
        metadata = pod["metadata"]
        free = [name for name in NODES if name not in self.dead_nodes]
        node = free[names.ordinal(metadata["name"]) % len(free)]
        self._addresses += 1
        address = f"10.0.{self._addresses >> 8}.{self._addresses & 255}"
        patch = {"spec": {"nodeName": node}, "status": {"phase": "Running", "podIP": address}}
        self.kube.edit(POD, metadata["namespace"], metadata["name"], patch)
        cluster = metadata["labels"][names.CLUSTER_LABEL]
        self.sidecars.start(
            Process(
                group=f"{metadata['namespace']}/{cluster}",
                pod=metadata["name"],
                address=f"{address}:{names.ADMIN_PORT}",
                disk=self._disk_of(pod, cluster),
            )
        )

    def _disk_of(self, pod: Object, cluster: str) -> Disk:
        metadata = pod["metadata"]
        name = names.data_claim(cluster, names.ordinal(metadata["name"]))
        claim = self.kube.find(CLAIM, metadata["namespace"], name)
        key = (claim or pod)["metadata"]["uid"]
        return self._disks.setdefault(key, Disk())

    def _end(self, pod: Object) -> None:
        """Drain, then end; after the grace period end as it is."""
        uid, address = pod["metadata"]["uid"], _address(pod)
        process = self.sidecars.processes.get(address)
        steps = self._ending[uid] = self._ending.get(uid, 0) + 1
        if process is not None:
            process.draining = True
            cluster = self.sidecars.clusters.get(process.disk.cluster_id)
            owns = cluster.owned(process.disk.member_id) if cluster is not None else 0
            if owns and steps < _GRACE_STEPS:
                return
            self.partitions_lost += self.sidecars.stop(address)
        self.kube.remove(POD, pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _serves(self, process: Process) -> bool:
        cluster = self.sidecars.clusters.get(process.disk.cluster_id)
        member = cluster.members.get(process.disk.member_id) if cluster is not None else None
        return member is not None and member.session != 0 and not process.frozen

    def _set_ready(self, pod: Object, *, ready: bool) -> None:
        metadata = pod["metadata"]
        row = _condition("Ready", "True" if ready else "False")
        status = {**pod["status"], "conditions": [row]}
        self.kube.set_status(POD, metadata["namespace"], metadata["name"], status)

    def _free_claims(self) -> None:
        """Claims that are being deleted go when no pod uses them; so do those of scaled pods."""
        for claim in list(self.kube.all(CLAIM)):
            metadata = claim["metadata"]
            ordinal = names.ordinal(metadata["name"])
            cluster = metadata["labels"][names.CLUSTER_LABEL]
            namespace = metadata["namespace"]
            if self.kube.find(POD, namespace, names.pod(cluster, ordinal)) is not None:
                continue
            if "deletionTimestamp" in metadata or self._is_scaled_away(namespace, cluster, ordinal):
                self.kube.remove(CLAIM, namespace, metadata["name"])

    def _is_scaled_away(self, namespace: str, cluster: str, ordinal: int) -> bool:
        stateful_set = self.kube.find(STATEFUL_SET, namespace, cluster)
        if stateful_set is None:
            return False
        policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
        beyond: bool = ordinal >= stateful_set["spec"]["replicas"]
        return beyond and policy.get("whenScaled") == "Delete"

    def _forget_ended(self) -> None:
        """Processes of pods that were deleted by force have ended, too."""
        alive = {_address(pod) for pod in self.kube.all(POD)}
        for address in set(self.sidecars.processes) - alive:
            self.sidecars.stop(address)


def _node(name: str) -> Object:
    zone = {"topology.kubernetes.io/zone": f"zone-{name[-1]}"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": zone},
        "spec": {},
        "status": {"conditions": [_condition("Ready", "True")]},
    }


def _address(pod: Object) -> str:
    return f"{pod['status'].get('podIP', '')}:{names.ADMIN_PORT}"


def _condition(kind: str, status: str) -> dict[str, str]:
    return {"type": kind, "status": status}


def _is_ready(pod: Object) -> bool:
    return _condition("Ready", "True") in pod["status"].get("conditions", [])


def _is_owned(pod: Object, uid: str) -> bool:
    return any(owner["uid"] == uid for owner in pod["metadata"]["ownerReferences"])


def _revision(template: Any) -> str:
    text = json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
