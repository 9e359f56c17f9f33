"""The StatefulSet: stable names and disks for the members. Pure.

- Parallel: a member becomes ready with a majority of the others; started one after the other, a
  whole cluster would never come back.
- OnDelete: the operator chooses which pod is replaced next, the leader last. The controller's own
  order is by ordinals.
- The claim template can never change; a larger size goes to the claims themselves, and the
  template keeps the size that it was made with.
"""

from __future__ import annotations

from typing import Any

from parti_operator import names
from parti_operator.children.common import child
from parti_operator.children.pod_template import pod_template
from parti_operator.spec import ClusterSpec


def stateful_set(cluster: ClusterSpec, replicas: int, claim_size: str = "") -> dict[str, Any]:
    """For so many pods; `claim_size` is that of the existing one's claim template, if any."""
    spec: dict[str, Any] = {
        "replicas": replicas,
        "serviceName": names.headless_service(cluster.ref.name),
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "OnDelete"},
        "selector": {"matchLabels": names.selector_labels(cluster.ref.name)},
        "template": pod_template(cluster),
    }
    if not cluster.storage.ephemeral:
        spec["volumeClaimTemplates"] = [_claim_template(cluster, claim_size)]
        spec["persistentVolumeClaimRetentionPolicy"] = {
            "whenDeleted": cluster.storage.when_deleted.value,
            "whenScaled": cluster.storage.when_scaled.value,
        }
    return child(
        cluster.ref,
        kind=("apps/v1", "StatefulSet"),
        name=names.stateful_set(cluster.ref.name),
        component="members",
        body={"spec": spec},
    )


def _claim_template(cluster: ClusterSpec, claim_size: str) -> dict[str, Any]:
    storage = cluster.storage
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": claim_size or storage.size}},
    }
    if storage.class_name is not None:
        spec["storageClassName"] = storage.class_name
    return {
        "metadata": {
            "name": names.DATA_VOLUME,
            "labels": {
                **names.selector_labels(cluster.ref.name),
                names.CLUSTER_ID_LABEL: cluster.cluster_id,
            },
        },
        "spec": spec,
    }
