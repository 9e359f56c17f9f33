"""What an API server makes of an object that is applied: defaults, dropped fields, own additions.

Only what matters for comparing is done, as seen with Kubernetes 1.34: fields that say nothing are
dropped, quantities get their canonical form, defaults are filled in, status and bookkeeping added.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from parti_operator.children import amount

# Dropped when they hold their zero value; as opposed to pointers, whose zero is kept.
_OMITTED_ZEROS = {"value", "hostNetwork", "hostPID", "readOnly", "tty", "stdin", "subPath"}
_OMITTED_EMPTY = {"annotations", "nodeSelector", "limits", "requests"}

_CONTAINER = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
_PROBE = {
    "timeoutSeconds": 1,
    "periodSeconds": 10,
    "successThreshold": 1,
    "failureThreshold": 3,
}
_POD = {
    "dnsPolicy": "ClusterFirst",
    "restartPolicy": "Always",
    "schedulerName": "default-scheduler",
}


def stored(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The live object after `wanted` was applied."""
    live: dict[str, Any] = _shrunk(deepcopy(dict(wanted)))
    live["metadata"] |= {
        "uid": "0c7d9b53-6f0a-4d0c-8a51-0f0e0d0c0b0a",
        "resourceVersion": "4711",
        "generation": 1,
        "creationTimestamp": "2026-11-21T10:00:00Z",
        "managedFields": [{"manager": "parti-operator", "operation": "Apply"}],
    }
    spec = live.get("spec", {})
    match live["kind"]:
        case "StatefulSet":
            _stateful_set(live)
        case "Service":
            spec |= {"sessionAffinity": "None", "ipFamilies": ["IPv4"], "clusterIPs": ["None"]}
            spec.setdefault("type", "ClusterIP")
            spec.setdefault("clusterIP", "10.96.3.4")
        case "PodDisruptionBudget":
            live["status"] = {"currentHealthy": 3}
    return live


def _stateful_set(live: dict[str, Any]) -> None:
    spec = live["spec"]
    spec["revisionHistoryLimit"] = 10
    spec.setdefault(
        "persistentVolumeClaimRetentionPolicy", {"whenDeleted": "Retain", "whenScaled": "Retain"}
    )
    live["status"] = {"replicas": 3, "updateRevision": "orders-5d4c8f"}
    for claim in spec.get("volumeClaimTemplates", ()):
        claim |= {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        claim["status"] = {"phase": "Pending"}
        claim["spec"]["volumeMode"] = "Filesystem"
    spec["template"]["metadata"].setdefault("creationTimestamp", None)
    _pod(spec["template"]["spec"])


def _pod(pod: dict[str, Any]) -> None:
    _default(pod, _POD)
    if "serviceAccountName" in pod:
        pod["serviceAccount"] = pod["serviceAccountName"]
    for container in (*pod["containers"], *pod["initContainers"]):
        _container(container)
    for volume in pod.get("volumes", ()):
        if "configMap" in volume:
            volume["configMap"].setdefault("defaultMode", 420)


def _container(container: dict[str, Any]) -> None:
    _default(container, _CONTAINER)
    container.setdefault("imagePullPolicy", "IfNotPresent")
    for port in container.get("ports", ()):
        port.setdefault("protocol", "TCP")
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        if kind in container:
            _default(container[kind], _PROBE)
            container[kind].get("httpGet", {}).setdefault("scheme", "HTTP")
    for variable in container.get("env", ()):
        field = variable.get("valueFrom", {}).get("fieldRef")
        if field is not None:
            field.setdefault("apiVersion", "v1")
    resources = container.setdefault("resources", {})
    if "limits" in resources:
        resources["requests"] = {**resources["limits"], **resources.get("requests", {})}


def _default(value: dict[str, Any], defaults: Mapping[str, Any]) -> None:
    for name, default in defaults.items():
        if not value.get(name):
            value[name] = default


def _shrunk(value: Any, key: str = "") -> Any:
    """Without fields that say nothing, and quantities as the API server writes them."""
    if isinstance(value, dict):
        kept = {
            name: _shrunk(field, key if key in {"limits", "requests"} else name)
            for name, field in value.items()
            if not _says_nothing(name, field)
        }
        if key in {"limits", "requests"}:
            return {name: _canonical(field) for name, field in kept.items()}
        return kept | ({"sizeLimit": _canonical(kept["sizeLimit"])} if "sizeLimit" in kept else {})
    if isinstance(value, list):
        return [_shrunk(item) for item in value]
    return value


def _says_nothing(name: str, field: Any) -> bool:
    return (
        field is None
        or field == []
        or (field == {} and name in _OMITTED_EMPTY)
        or (not field and name in _OMITTED_ZEROS)
    )


def _canonical(quantity: Any) -> str:
    """The same amount in other words than people take."""
    value = amount(quantity)
    assert value is not None
    return str(int(value)) if value.denominator == 1 else f"{int(value * 1_000_000_000)}n"
