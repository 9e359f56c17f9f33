"""The PodMonitor: tells the Prometheus operator where the members' metrics are. Pure."""

from __future__ import annotations

from typing import Any

from parti_operator import names
from parti_operator.children.common import child
from parti_operator.spec import ClusterSpec

POD_MONITOR_KIND = "PodMonitor"


def pod_monitor(cluster: ClusterSpec) -> dict[str, Any]:
    return child(
        cluster.ref,
        kind=("monitoring.coreos.com/v1", POD_MONITOR_KIND),
        name=names.pod_monitor(cluster.ref.name),
        component="metrics",
        body={
            "spec": {
                "selector": {"matchLabels": names.selector_labels(cluster.ref.name)},
                "podTargetLabels": [names.CLUSTER_LABEL],
                "podMetricsEndpoints": [{"port": names.HTTP_PORT_NAME, "path": "/metrics"}],
            }
        },
    )
