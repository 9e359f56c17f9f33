"""The objects that a PartiCluster consists of, as plain dicts for server-side apply. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from parti_operator.children.comparing import differs
from parti_operator.children.config_map import config_map, grace_period_s
from parti_operator.children.disruption_budget import disruption_budget
from parti_operator.children.network_policy import network_policy
from parti_operator.children.ownership import entries_of_others, repaired
from parti_operator.children.pod_monitor import POD_MONITOR_KIND, pod_monitor
from parti_operator.children.quantities import amount
from parti_operator.children.services import client_service, headless_service
from parti_operator.children.stateful_set import stateful_set
from parti_operator.spec import ClusterSpec

__all__ = [
    "amount",
    "children",
    "client_service",
    "config_map",
    "differs",
    "disruption_budget",
    "entries_of_others",
    "grace_period_s",
    "headless_service",
    "network_policy",
    "pod_monitor",
    "repaired",
    "stateful_set",
]


def children(
    cluster: ClusterSpec,
    *,
    replicas: int,
    claim_size: str = "",
    optional_kinds: Collection[str] = (),
) -> list[dict[str, Any]]:
    """All children in the order in which they are made: what pods need comes before the pods.

    `claim_size`: of the existing StatefulSet's claim template; `optional_kinds`: those of other
    projects that the API knows.
    """
    wanted = [
        config_map(cluster),
        headless_service(cluster),
        client_service(cluster),
        disruption_budget(cluster),
    ]
    if cluster.network_policy:
        wanted.append(network_policy(cluster))
    if cluster.pod_monitor and POD_MONITOR_KIND in optional_kinds:
        wanted.append(pod_monitor(cluster))
    return [*wanted, stateful_set(cluster, replicas, claim_size)]
