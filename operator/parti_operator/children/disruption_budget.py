"""The PodDisruptionBudget: how many members evictions may take away at a time. Pure.

A pod that is not ready may always be evicted: it serves nobody, and a budget that protects it
would hold up the drain of its node for ever.
"""

from __future__ import annotations

from typing import Any

from parti_operator import names
from parti_operator.children.common import child
from parti_operator.spec import ClusterSpec


def disruption_budget(cluster: ClusterSpec) -> dict[str, Any]:
    return child(
        cluster.ref,
        kind=("policy/v1", "PodDisruptionBudget"),
        name=names.disruption_budget(cluster.ref.name),
        component="budget",
        body={
            "spec": {
                "maxUnavailable": cluster.max_unavailable,
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
                "selector": {"matchLabels": names.selector_labels(cluster.ref.name)},
            }
        },
    )
