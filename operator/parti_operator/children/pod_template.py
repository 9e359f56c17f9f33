"""The pod template: the user's, with the sidecar added and a few defaults. Pure.

Whatever the user wrote stays as it is. The operator adds what the sidecar needs, raises the time a
pod has to end, and fills in fields that the user left out. Contradictions were refused by `parse`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parti_operator import names
from parti_operator.children.common import labels
from parti_operator.children.config_map import config_hash, grace_period_s
from parti_operator.children.sidecar_container import (
    USER_ID,
    pod_name_variable,
    sidecar_container,
)
from parti_operator.spec import ClusterSpec, TopologySpread

_SPREAD_KEYS = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")


def pod_template(cluster: ClusterSpec) -> dict[str, Any]:
    """The template of all pods; it does not depend on their number."""
    template: dict[str, Any] = _without_nulls(cluster.template)
    template["metadata"] = _metadata(cluster, template.get("metadata", {}))
    pod = template["spec"]
    for container in pod["containers"]:
        container["env"] = _variables(container.get("env", []))
    pod["initContainers"] = [sidecar_container(cluster), *pod.get("initContainers", [])]
    pod["volumes"] = [*pod.get("volumes", []), *_volumes(cluster)]
    pod["securityContext"] = {**_pod_security(), **pod.get("securityContext", {})}
    pod["terminationGracePeriodSeconds"] = max(
        grace_period_s(cluster), pod.get("terminationGracePeriodSeconds", 0)
    )
    _fill_in(cluster, pod)
    return template


def _without_nulls(value: Any) -> Any:
    """A copy without fields that are null, which the API server takes as absent."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(field) for name, field in value.items() if field is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _metadata(cluster: ClusterSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **given,
        # The user's labels win over ours, but for the one that selects the pods.
        "labels": {
            **labels(cluster.ref, "member"),
            **given.get("labels", {}),
            **names.selector_labels(cluster.ref.name),
        },
        "annotations": {
            **given.get("annotations", {}),
            names.CONFIG_HASH_ANNOTATION: config_hash(cluster),
        },
    }


def _variables(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the SDK reads, unless the user says otherwise; first, so that others may refer to it."""
    named = {variable.get("name") for variable in given}
    own = [
        {"name": names.ADDRESS_VARIABLE, "value": names.APP_ADDRESS},
        pod_name_variable(names.POD_NAME_VARIABLE),
    ]
    return [*(variable for variable in own if variable["name"] not in named), *given]


def _volumes(cluster: ClusterSpec) -> list[dict[str, Any]]:
    config = {
        "name": names.CONFIG_VOLUME,
        "configMap": {"name": names.config_map(cluster.ref.name)},
    }
    if not cluster.storage.ephemeral:
        return [config]  # the StatefulSet adds the volume of the claim
    return [config, {"name": names.DATA_VOLUME, "emptyDir": {}}]


def _pod_security() -> dict[str, Any]:
    return {
        "runAsNonRoot": True,
        "fsGroup": USER_ID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _fill_in(cluster: ClusterSpec, pod: dict[str, Any]) -> None:
    """Fields that the user left out."""
    pod.setdefault("automountServiceAccountToken", False)
    if pod.get("hostNetwork") and not pod.get("dnsPolicy"):
        pod["dnsPolicy"] = "ClusterFirstWithHostNet"  # members find each other by names
    if cluster.topology_spread is TopologySpread.DISABLED:
        return
    if not pod.get("topologySpreadConstraints"):
        pod["topologySpreadConstraints"] = [_spread(cluster, key) for key in _SPREAD_KEYS]


def _spread(cluster: ClusterSpec, key: str) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": names.selector_labels(cluster.ref.name)},
    }
