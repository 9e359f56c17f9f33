"""The NetworkPolicy: who may reach the sidecars. Pure.

It selects the whole pod, so that whatever it does not name is shut. The application's ports are
the user's business, declared or not: every port that is no sidecar's stays open.
The port of pages and metrics stays open too; probes and scrapers come from many places.
"""

from __future__ import annotations

from typing import Any

from parti_operator import names
from parti_operator.children.common import child
from parti_operator.spec import ClusterSpec

_PORT_MAX = 65_535


def network_policy(cluster: ClusterSpec) -> dict[str, Any]:
    members = {"podSelector": {"matchLabels": names.selector_labels(cluster.ref.name)}}
    operator = {
        "namespaceSelector": {},
        "podSelector": {"matchLabels": {names.NAME_LABEL: names.OPERATOR}},
    }
    return child(
        cluster.ref,
        kind=("networking.k8s.io/v1", "NetworkPolicy"),
        name=names.network_policy(cluster.ref.name),
        component="network",
        body={
            "spec": {
                "podSelector": {"matchLabels": names.selector_labels(cluster.ref.name)},
                "policyTypes": ["Ingress"],
                "ingress": [
                    {
                        "from": [members],
                        "ports": [_tcp(names.PEER_PORT), _tcp(names.PEER_STREAM_PORT)],
                    },
                    {"from": [members, operator], "ports": [_tcp(names.ADMIN_PORT)]},
                    {"ports": [_tcp(names.HTTP_PORT), *_all_other_ports()]},
                ],
            }
        },
    )


def _tcp(port: int) -> dict[str, Any]:
    return {"protocol": "TCP", "port": port}


def _all_other_ports() -> list[dict[str, Any]]:
    first, last = min(names.SIDECAR_PORTS), max(names.SIDECAR_PORTS)
    return [
        {"protocol": "TCP", "port": 1, "endPort": first - 1},
        {"protocol": "TCP", "port": last + 1, "endPort": _PORT_MAX},
        {"protocol": "UDP", "port": 1, "endPort": _PORT_MAX},
        {"protocol": "SCTP", "port": 1, "endPort": _PORT_MAX},
    ]
