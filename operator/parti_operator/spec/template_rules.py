"""What a pod template must not contain, since the operator adds the same or needs otherwise. Pure.

Everything else of a pod template is taken as it is. What only Kubernetes can judge (an unknown
field, an image that does not exist) is left to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from parti_operator import names
from parti_operator.spec.problems import Problem

_ROOT = "spec.template"
_POD = f"{_ROOT}.spec"
# Fields of a pod that no StatefulSet can have, and why.
_IMPOSSIBLE = {
    "hostname": "is set to the pod's name by the StatefulSet",
    "subdomain": "is set to the Service of the members by the StatefulSet",
    "activeDeadlineSeconds": "does not fit pods that are to run for ever",
    "ephemeralContainers": "cannot stand in a template",
}


def template_problems(template: Mapping[str, Any]) -> list[Problem]:
    """Everything in the user's pod template that contradicts what the operator adds."""
    pod = template.get("spec")
    if not isinstance(pod, Mapping):
        return [Problem(_POD, "must be an object")]
    if not pod.get("containers"):
        return [Problem(f"{_POD}.containers", "must name a container")]
    found = [*_label_problems(template), *_pod_problems(pod)]
    for path, container in _containers(pod):
        found += _container_problems(path, container)
    return found


def _label_problems(template: Mapping[str, Any]) -> Iterator[Problem]:
    metadata = template.get("metadata") or {}
    for kind, key in (
        ("labels", names.CLUSTER_LABEL),
        ("annotations", names.CONFIG_HASH_ANNOTATION),
    ):
        if key in (metadata.get(kind) or {}):
            yield Problem(f"{_ROOT}.metadata.{kind}", f"{key} is set by the operator")


def _pod_problems(pod: Mapping[str, Any]) -> Iterator[Problem]:
    for field, why in _IMPOSSIBLE.items():
        if pod.get(field):
            yield Problem(f"{_POD}.{field}", why)
    if pod.get("restartPolicy") not in {None, "", "Always"}:
        yield Problem(f"{_POD}.restartPolicy", "must be Always")
    for at, volume in enumerate(_objects(pod, "volumes")):
        if _is_ours(volume):
            text = f"{volume['name']}: names with {names.VOLUME_PREFIX} belong to the operator"
            yield Problem(f"{_POD}.volumes[{at}].name", text)


def _containers(pod: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for kind in ("containers", "initContainers"):
        for at, container in enumerate(_objects(pod, kind)):
            yield f"{_POD}.{kind}[{at}]", container


def _container_problems(path: str, container: Mapping[str, Any]) -> Iterator[Problem]:
    if container.get("name") == names.SIDECAR_CONTAINER:
        yield Problem(f"{path}.name", f"{names.SIDECAR_CONTAINER} is added by the operator")
    for at, port in enumerate(_objects(container, "ports")):
        number = port.get("containerPort")
        if number in names.SIDECAR_PORTS and port.get("protocol", "TCP") == "TCP":
            text = f"{number} is a port of the sidecar, which shares the pod's network"
            yield Problem(f"{path}.ports[{at}].containerPort", text)
    for at, mount in enumerate(_objects(container, "volumeMounts")):
        if _is_ours(mount):
            text = f"{mount['name']} belongs to the sidecar alone"
            yield Problem(f"{path}.volumeMounts[{at}].name", text)


def _is_ours(named: Mapping[str, Any]) -> bool:
    return str(named.get("name", "")).startswith(names.VOLUME_PREFIX)


def _objects(parent: Mapping[str, Any], field: str) -> list[Mapping[str, Any]]:
    """The objects of a list; what is none is left for the API server to refuse."""
    items = parent.get(field)
    if not isinstance(items, Sequence) or isinstance(items, str):
        return []
    return [item for item in items if isinstance(item, Mapping)]
