"""Every name that other programs see: labels, annotations, children, ports, paths, reasons.

They are an interface: `kubectl` users, dashboards, alerts and the pods of running clusters know
them. A change of a label, a child's name or a port breaks clusters that exist. Pure.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

GROUP: Final = "parti.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "PartiCluster"
PLURAL: Final = "particlusters"

FIELD_MANAGER: Final = "parti-operator"

# A StatefulSet's pods carry its name and a hash of ten characters in one label value (63).
NAME_LENGTH_MAX: Final = 52

CLUSTER_LABEL: Final = f"{GROUP}/cluster"
# On claims, which may outlive their PartiCluster: the cluster that they were made for.
CLUSTER_ID_LABEL: Final = f"{GROUP}/cluster-id"
NAME_LABEL: Final = "app.kubernetes.io/name"
INSTANCE_LABEL: Final = "app.kubernetes.io/instance"
COMPONENT_LABEL: Final = "app.kubernetes.io/component"
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
APPLICATION: Final = "particluster"
OPERATOR: Final = "parti-operator"

# What the operator writes.
SPEC_HASH_ANNOTATION: Final = f"{GROUP}/spec-hash"
CONFIG_HASH_ANNOTATION: Final = f"{GROUP}/config-hash"
# What people write on a PartiCluster.
SKIP_DRAIN_CHECK_ANNOTATION: Final = f"{GROUP}/skip-drain-check"
FORCE_NEW_QUORUM_ANNOTATION: Final = f"{GROUP}/force-new-quorum"

SIDECAR_CONTAINER: Final = "parti-sidecar"

APP_PORT: Final = 5100
PEER_PORT: Final = 5101
ADMIN_PORT: Final = 5102
HTTP_PORT: Final = 5103
PEER_STREAM_PORT: Final = 5104
SIDECAR_PORTS: Final = (APP_PORT, PEER_PORT, ADMIN_PORT, HTTP_PORT, PEER_STREAM_PORT)
PEER_PORT_NAME: Final = "parti-peer"
ADMIN_PORT_NAME: Final = "parti-admin"
HTTP_PORT_NAME: Final = "parti-http"
PEER_STREAM_PORT_NAME: Final = "parti-stream"

VOLUME_PREFIX: Final = "parti-"
DATA_VOLUME: Final = f"{VOLUME_PREFIX}data"
CONFIG_VOLUME: Final = f"{VOLUME_PREFIX}config"
DATA_MOUNT: Final = "/var/lib/parti"
# Below the mount: a fresh file system has a folder of its own there.
DATA_DIRECTORY: Final = f"{DATA_MOUNT}/member"
CONFIG_MOUNT: Final = "/etc/parti"
CONFIG_FILE: Final = "sidecar.yaml"

ADDRESS_VARIABLE: Final = "PARTI_ADDRESS"  # read by the SDK
POD_NAME_VARIABLE: Final = "PARTI_POD_NAME"
APP_ADDRESS: Final = f"127.0.0.1:{APP_PORT}"


class ConditionType(StrEnum):
    """The conditions of a PartiCluster."""

    READY = "Ready"
    PROGRESSING = "Progressing"
    DEGRADED = "Degraded"
    QUORUM_HEALTHY = "QuorumHealthy"
    REBALANCING = "Rebalancing"
    PAUSED = "Paused"


class EventReason(StrEnum):
    """Why an Event was written: a closed list, so that alerts can rely on it."""

    INVALID_SPEC = "InvalidSpec"
    SPEC_WARNING = "SpecWarning"
    NAME_CONFLICT = "NameConflict"
    CHILD_CREATED = "ChildCreated"
    CHILD_REPAIRED = "ChildRepaired"
    ACTION_FAILED = "ActionFailed"
    PAUSED = "Paused"
    RESUMED = "Resumed"
    BOOTSTRAPPED = "Bootstrapped"
    BOOTSTRAP_REFUSED = "BootstrapRefused"
    POLICY_CHANGED = "PolicyChanged"
    VOTERS_LOWERED = "VotersLowered"
    STORAGE_GROWN = "StorageGrown"
    SCALING_UP = "ScalingUp"
    SCALING_DOWN = "ScalingDown"
    SCALING_CANCELLED = "ScalingCancelled"
    SCALED = "Scaled"
    DRAIN_STALLED = "DrainStalled"
    DRAIN_CHECK_SKIPPED = "DrainCheckSkipped"
    LEADER_TRANSFERRED = "LeaderTransferred"
    MEMBER_REMOVED = "MemberRemoved"
    ROLL_STARTED = "RollStarted"
    POD_FAILING = "PodFailing"
    POD_REPLACED = "PodReplaced"
    ROLL_WAITING = "RollWaiting"
    ROLL_COMPLETED = "RollCompleted"
    MEMBER_LOST = "MemberLost"
    MEMBER_REPLACED = "MemberReplaced"
    QUORUM_LOST = "QuorumLost"
    QUORUM_RESTORED = "QuorumRestored"
    QUORUM_FORCED = "QuorumForced"


def stateful_set(cluster: str) -> str:
    """The StatefulSet; its pods are named after it."""
    return cluster


def pod(cluster: str, ordinal: int) -> str:
    return f"{stateful_set(cluster)}-{ordinal}"


def ordinal(pod_name: str) -> int:
    """The ordinal in a pod's name; -1 if it is not the name of a StatefulSet's pod."""
    _, dash, digits = pod_name.rpartition("-")
    return int(digits) if dash and digits.isascii() and digits.isdigit() else -1


def data_claim(cluster: str, ordinal: int) -> str:
    """The claim that the StatefulSet makes for a pod."""
    return f"{DATA_VOLUME}-{pod(cluster, ordinal)}"


def headless_service(cluster: str) -> str:
    return f"{cluster}-peers"


def client_service(cluster: str) -> str:
    return cluster


def disruption_budget(cluster: str) -> str:
    return cluster


def config_map(cluster: str) -> str:
    return f"{cluster}-sidecar"


def network_policy(cluster: str) -> str:
    return cluster


def pod_monitor(cluster: str) -> str:
    return cluster


def peers_host(cluster: str, namespace: str) -> str:
    """The DNS name of all members; below it each pod has its own."""
    return f"{headless_service(cluster)}.{namespace}.svc"


def pod_host(cluster: str, namespace: str, ordinal: int) -> str:
    return f"{pod(cluster, ordinal)}.{peers_host(cluster, namespace)}"


def selector_labels(cluster: str) -> dict[str, str]:
    """What selects the pods of a cluster; a StatefulSet can never change it."""
    return {CLUSTER_LABEL: cluster}


def selector(cluster: str) -> str:
    """The same as text, for the scale subresource."""
    return f"{CLUSTER_LABEL}={cluster}"
