"""The two Services: one by which members find each other, one in front of the application. Pure.

The members' Service is headless and publishes addresses before pods are ready: a cluster that
starts has no ready pod, and its members must find each other to become ready.
The clients' Service carries the application's own ports, and two of the sidecar for people: the
admin API (for the CLI through a port-forward) and the page with metrics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from parti_operator import names
from parti_operator.children.common import child
from parti_operator.spec import ClusterSpec

_SERVICE = ("v1", "Service")


def headless_service(cluster: ClusterSpec) -> dict[str, Any]:
    """Names and addresses of all members, ready or not."""
    return child(
        cluster.ref,
        kind=_SERVICE,
        name=names.headless_service(cluster.ref.name),
        component="peers",
        body={
            "spec": {
                "clusterIP": "None",
                "publishNotReadyAddresses": True,
                "selector": names.selector_labels(cluster.ref.name),
                "ports": [
                    _port(names.PEER_PORT_NAME, names.PEER_PORT),
                    _port(names.PEER_STREAM_PORT_NAME, names.PEER_STREAM_PORT),
                ],
            }
        },
    )


def client_service(cluster: ClusterSpec) -> dict[str, Any]:
    """One address for the ready pods: any of them takes a request and passes it to the owner."""
    own = [
        _port(names.ADMIN_PORT_NAME, names.ADMIN_PORT),
        _port(names.HTTP_PORT_NAME, names.HTTP_PORT),
    ]
    return child(
        cluster.ref,
        kind=_SERVICE,
        name=names.client_service(cluster.ref.name),
        component="clients",
        annotations=cluster.service_annotations,
        body={
            "spec": {
                "type": "ClusterIP",
                "selector": names.selector_labels(cluster.ref.name),
                "ports": [*_application_ports(cluster.template["spec"]), *own],
            }
        },
    )


def _application_ports(pod: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each port once; its name if that is free, else one made of its number."""
    seen: set[tuple[int, str]] = set()
    taken = {names.ADMIN_PORT_NAME, names.HTTP_PORT_NAME}
    for container in (*pod["containers"], *_sidecars(pod)):
        for port in container.get("ports") or ():
            number, protocol = port["containerPort"], port.get("protocol") or "TCP"
            if (number, protocol) in seen:
                continue
            name = port.get("name")
            if not name or name in taken:
                name = f"port-{number}-{protocol.lower()}"
            seen.add((number, protocol))
            taken.add(name)
            yield _port(name, number, protocol)


def _sidecars(pod: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The user's own init containers that go on running."""
    for container in pod.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            yield container


def _port(name: str, number: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"name": name, "port": number, "targetPort": number, "protocol": protocol}
