"""The ConfigMap: the sidecar's settings that are the same for all members. Pure.

It does not depend on the number of members, so scaling changes no pod. What differs from member to
member (its name, its address) is in the environment of the container; what may change while the
sidecars run (placement, voters) is the replicated policy and goes through the admin API.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import yaml

from parti_operator import names
from parti_operator.children.common import child, digest
from parti_operator.spec import ClusterRef, ClusterSpec

# Members that a new one asks by name; the headless Service stands for all others.
_JOIN_ORDINALS = 5
# A removed member serves its application until its pod ends: what the operator, the controller and
# the kubelet take for that, at most. With a dead operator nothing waits for ever.
_REMOVAL_GRACE_MS = 60_000
# Texts that are kept: YAML is slow to write, and every look at a cluster asks for the same one.
_TEXTS_MAX = 2_048
_GRACE_MARGIN_S = 10  # for the application and the sidecar to end when all is handed over


def config_map(cluster: ClusterSpec) -> dict[str, Any]:
    """The settings as the file that the sidecar reads at its start."""
    return child(
        cluster.ref,
        kind=("v1", "ConfigMap"),
        name=names.config_map(cluster.ref.name),
        component="config",
        body={"data": {names.CONFIG_FILE: _text(cluster)}},
    )


def config_hash(cluster: ClusterSpec) -> str:
    """Changes with the settings: on the pods, it makes them roll."""
    return digest(_text(cluster))


def grace_period_s(cluster: ClusterSpec) -> int:
    """How long a pod may take to end: its drain, a last handover and a margin."""
    times = cluster.timeouts
    return -(-(times.drain_ms + times.handover_ms) // 1_000) + _GRACE_MARGIN_S


def _text(cluster: ClusterSpec) -> str:
    return _as_yaml(json.dumps(_settings(cluster)))


@lru_cache(maxsize=_TEXTS_MAX)
def _as_yaml(settings: str) -> str:
    return yaml.safe_dump(json.loads(settings), sort_keys=False)


def _settings(cluster: ClusterSpec) -> dict[str, Any]:
    times = cluster.timeouts
    return {
        "cluster_id": cluster.cluster_id,
        "data_dir": names.DATA_DIRECTORY,
        "app_address": names.APP_ADDRESS,
        "peer_address": f"0.0.0.0:{names.PEER_PORT}",
        "peer_stream_address": f"0.0.0.0:{names.PEER_STREAM_PORT}",
        "admin_address": f"0.0.0.0:{names.ADMIN_PORT}",
        "http_address": f"0.0.0.0:{names.HTTP_PORT}",
        "join": _join(cluster.ref),
        "mode": cluster.mode.lower(),
        "available_for_ms": cluster.available_for_ms,
        "drain_ms": times.drain_ms,
        "handover_ms": times.handover_ms,
        "worker_grace_ms": times.worker_grace_ms,
        "termination_grace_ms": grace_period_s(cluster) * 1_000,
        "removal_grace_ms": _REMOVAL_GRACE_MS,
        "log_level": cluster.sidecar.log_level,
    }


def _join(ref: ClusterRef) -> list[str]:
    hosts = [
        *(names.pod_host(ref.name, ref.namespace, ordinal) for ordinal in range(_JOIN_ORDINALS)),
        names.peers_host(ref.name, ref.namespace),
    ]
    return [f"{host}:{names.PEER_PORT}" for host in hosts]
