"""From objects of the Kubernetes API to the values a plan reads. Pure.

Objects come from the cache (cut down to what is read here) or live; both look the same. A field
that is missing means what its absence means in Kubernetes, never an error: an object that was
created a moment ago has no status yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from parti_operator import names
from parti_operator.kube_api import (
    CONFIG_MAP,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    POD_MONITOR,
    SERVICE,
    STATEFUL_SET,
    Kind,
    Object,
)
from parti_operator.observed import (
    ChildKey,
    ClaimSeen,
    NodeSeen,
    NodeState,
    PodSeen,
    StatefulSetSeen,
    Trouble,
)

_OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"
_REVISION_LABEL: Final = "controller-revision-hash"
_ZONE_LABEL: Final = "topology.kubernetes.io/zone"
_SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
# A container that waits for one of these will run by itself in a moment.
_CREATING: Final = "ContainerCreating"
_STARTING: Final = frozenset({_CREATING, "PodInitializing"})
_CRASHING: Final = "CrashLoopBackOff"
# Words that take turns from one attempt to the next; the second one stays.
_ALIASES: Final = {"ErrImagePull": "ImagePullBackOff"}


def child_places(cluster: str) -> tuple[tuple[Kind, str], ...]:
    """Kind and name of everything that may be a child."""
    return (
        (CONFIG_MAP, names.config_map(cluster)),
        (SERVICE, names.headless_service(cluster)),
        (SERVICE, names.client_service(cluster)),
        (DISRUPTION_BUDGET, names.disruption_budget(cluster)),
        (NETWORK_POLICY, names.network_policy(cluster)),
        (POD_MONITOR, names.pod_monitor(cluster)),
        (STATEFUL_SET, names.stateful_set(cluster)),
    )


def is_controlled_by(object_: Mapping[str, Any], uid: str) -> bool:
    """Whether the object belongs to the owner with this uid, and to nobody else."""
    owners = object_["metadata"].get("ownerReferences") or ()
    return any(owner.get("controller") and owner["uid"] == uid for owner in owners)


def sort_children(
    uid: str, found: Iterable[tuple[Kind, Object]]
) -> tuple[dict[ChildKey, Object], tuple[ChildKey, ...]]:
    """The children of the PartiCluster with this uid, and what others have under their names."""
    own: dict[ChildKey, Object] = {}
    foreign: list[ChildKey] = []
    for kind, object_ in found:
        key = ChildKey(kind.name, object_["metadata"]["name"])
        if is_controlled_by(object_, uid):
            own[key] = object_
        else:
            foreign.append(key)
    return own, tuple(foreign)


def stateful_set_seen(object_: Mapping[str, Any]) -> StatefulSetSeen:
    """The StatefulSet; its status counts only for the newest template."""
    metadata, spec, status = object_["metadata"], object_["spec"], object_.get("status") or {}
    is_current = status.get("observedGeneration", 0) >= metadata.get("generation", 0)
    return StatefulSetSeen(
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        replicas=spec.get("replicas", 1),
        update_revision=status.get("updateRevision", "") if is_current else "",
        claim_size=_claim_size(spec),
    )


def pod_seen(object_: Mapping[str, Any]) -> PodSeen:
    metadata, status = object_["metadata"], object_.get("status") or {}
    labels = metadata.get("labels") or {}
    return PodSeen(
        name=metadata["name"],
        uid=metadata["uid"],
        ordinal=names.ordinal(metadata["name"]),
        revision=labels.get(_REVISION_LABEL, ""),
        node=(object_.get("spec") or {}).get("nodeName") or "",
        ready=_condition(status, "Ready").get("status") == "True",
        deleting="deletionTimestamp" in metadata,
        labels=labels,
        trouble=_trouble(status),
        creating_since=str(status.get("startTime") or "") if _is_creating(status) else "",
        sidecar_exit_code=_sidecar_exit_code(status),
    )


def pod_address(object_: Mapping[str, Any], port: int) -> str:
    """Where the pod listens; "" while it has no address or has ended."""
    status = object_.get("status") or {}
    address = status.get("podIP") or ""
    if not address or status.get("phase") in ("Succeeded", "Failed"):
        return ""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def claim_seen(cluster: str, object_: Mapping[str, Any]) -> ClaimSeen | None:
    """The claim of a pod; None if it is another claim that carries the cluster's label."""
    metadata = object_["metadata"]
    name = metadata["name"]
    ordinal = names.ordinal(name)
    if ordinal < 0 or name != names.data_claim(cluster, ordinal):
        return None
    requests = (object_["spec"].get("resources") or {}).get("requests") or {}
    return ClaimSeen(
        name=name,
        uid=metadata["uid"],
        ordinal=ordinal,
        cluster_id=(metadata.get("labels") or {}).get(names.CLUSTER_ID_LABEL, ""),
        size=requests.get("storage", ""),
        node=(metadata.get("annotations") or {}).get(_SELECTED_NODE, ""),
        deleting="deletionTimestamp" in metadata,
    )


def node_seen(object_: Mapping[str, Any]) -> NodeSeen:
    metadata = object_["metadata"]
    labels = metadata.get("labels") or {}
    return NodeSeen(metadata["name"], _node_state(object_), labels.get(_ZONE_LABEL, ""), labels)


def _node_state(object_: Mapping[str, Any]) -> NodeState:
    taints = (object_.get("spec") or {}).get("taints") or ()
    if any(taint.get("key") == _OUT_OF_SERVICE for taint in taints):
        return NodeState.OUT_OF_SERVICE
    ready = _condition(object_.get("status") or {}, "Ready").get("status") == "True"
    return NodeState.READY if ready else NodeState.UNREACHABLE


def _claim_size(spec: Mapping[str, Any]) -> str:
    for template in spec.get("volumeClaimTemplates") or ():
        if template["metadata"]["name"] == names.DATA_VOLUME:
            requests = (template["spec"].get("resources") or {}).get("requests") or {}
            return str(requests.get("storage", ""))
    return ""


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    conditions: list[Mapping[str, Any]] = status.get("conditions") or []
    return next((row for row in conditions if row["type"] == kind), {})


def _trouble(status: Mapping[str, Any]) -> Trouble | None:
    """Why the pod does not run; None if it does or is about to."""
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") == "False":
        return _told(scheduled)
    for container in _containers(status):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting and waiting.get("reason") not in _STARTING:
            return _waiting(container, waiting)
    return _told(status) if status.get("phase") == "Failed" else None


def _is_creating(status: Mapping[str, Any]) -> bool:
    states = [container.get("state") or {} for container in _containers(status)]
    return any((state.get("waiting") or {}).get("reason") == _CREATING for state in states)


def _waiting(container: Mapping[str, Any], waiting: Mapping[str, Any]) -> Trouble:
    """How it ended says more than how long the kubelet waits, and does not change all the time."""
    told = _told(waiting)
    ended = (container.get("lastState") or {}).get("terminated") or {}
    message = told.message
    if told.reason == _CRASHING and ended:
        message = f"it ended with exit code {ended['exitCode']} ({ended.get('reason') or 'Error'})"
    return Trouble(_ALIASES.get(told.reason, told.reason), message, str(container["name"]))


def _told(row: Mapping[str, Any]) -> Trouble:
    return Trouble(row.get("reason") or "Unknown", row.get("message") or "")


def _sidecar_exit_code(status: Mapping[str, Any]) -> int | None:
    for container in _containers(status):
        if container["name"] != names.SIDECAR_CONTAINER:
            continue
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            code = (state.get("terminated") or {}).get("exitCode")
            if code is not None:
                return int(code)
    return None


def _containers(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
