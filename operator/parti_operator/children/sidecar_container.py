"""The sidecar's container: a restartable init container, which Kubernetes calls a sidecar. Pure.

It starts before the application's containers, which wait for its startup probe, and it is told to
end after them: SIGTERM reaches it when they are gone. Its preStop hook, however, runs as soon as
the pod begins to end. So the hook drains while the application still works, and SIGTERM finds
nothing left to do.

It comes first among the init containers: a member votes and holds the log, and must not depend on
what the application's own init containers wait for.
"""

from __future__ import annotations

from typing import Any

from parti_operator import names
from parti_operator.spec import ClusterSpec

USER_ID = 65_532  # of the image; the volume's group too
_STARTUP_PERIOD_S = 1
_STARTUP_FAILURES = 120  # a store of a large log is read at the start
_LIVENESS_PERIOD_S = 10
_LIVENESS_FAILURES = 6  # a restart costs more than a pause
_READINESS_PERIOD_S = 2
_READINESS_FAILURES = 2
_PROBE_TIMEOUT_S = 5


def sidecar_container(cluster: ClusterSpec) -> dict[str, Any]:
    """The whole container, whatever the user's containers look like."""
    sidecar = cluster.sidecar
    return {
        "name": names.SIDECAR_CONTAINER,
        "image": sidecar.image,
        "imagePullPolicy": sidecar.image_pull_policy,
        "command": ["parti-sidecar"],
        "restartPolicy": "Always",
        "env": [*_own_variables(cluster), *sidecar.env],
        "ports": [
            _port(names.PEER_PORT_NAME, names.PEER_PORT),
            _port(names.ADMIN_PORT_NAME, names.ADMIN_PORT),
            _port(names.HTTP_PORT_NAME, names.HTTP_PORT),
            _port(names.PEER_STREAM_PORT_NAME, names.PEER_STREAM_PORT),
        ],
        "startupProbe": _probe("/startupz", _STARTUP_PERIOD_S, _STARTUP_FAILURES),
        "livenessProbe": _probe("/healthz", _LIVENESS_PERIOD_S, _LIVENESS_FAILURES),
        "readinessProbe": _probe("/readyz", _READINESS_PERIOD_S, _READINESS_FAILURES),
        "lifecycle": {"preStop": {"exec": {"command": _drain_command(cluster)}}},
        "volumeMounts": [
            {"name": names.DATA_VOLUME, "mountPath": names.DATA_MOUNT},
            {"name": names.CONFIG_VOLUME, "mountPath": names.CONFIG_MOUNT, "readOnly": True},
        ],
        "securityContext": _restricted(),
        "resources": dict(sidecar.resources),
    }


def pod_name_variable(name: str) -> dict[str, Any]:
    """A variable that holds the name of the pod."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}


def _own_variables(cluster: ClusterSpec) -> list[dict[str, Any]]:
    """What differs from member to member, and where the rest stands."""
    peers = names.peers_host(cluster.ref.name, cluster.ref.namespace)
    address = f"$(PARTI_NAME).{peers}:{names.PEER_PORT}"
    return [
        {"name": "PARTI_CONFIG", "value": f"{names.CONFIG_MOUNT}/{names.CONFIG_FILE}"},
        pod_name_variable("PARTI_NAME"),
        {"name": "PARTI_ADVERTISE_ADDRESS", "value": address},
    ]


def _drain_command(cluster: ClusterSpec) -> list[str]:
    wait_s = -(-cluster.timeouts.drain_ms // 1_000)
    return ["parti", "prepare-to-stop", "--wait", f"{wait_s}s"]


def _port(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def _probe(path: str, period_s: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": names.HTTP_PORT},
        "periodSeconds": period_s,
        "timeoutSeconds": _PROBE_TIMEOUT_S,
        "failureThreshold": failures,
    }


def _restricted() -> dict[str, Any]:
    """As the restricted profile of Pod Security asks for, and a root file system as it was built.

    The user and the seccomp profile stand here too, since the pod's own may be the application's.
    """
    return {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
