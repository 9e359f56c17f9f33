"""Two PartiClusters for tests of what is made of them: six lines, and everything at once."""

from __future__ import annotations

from typing import Any

from parti_operator.spec import ClusterSpec
from tests.parti_operator.defaults import cluster_spec, particluster

FULL_TEMPLATE: dict[str, Any] = {
    "metadata": {
        "labels": {"app.kubernetes.io/name": "orders", "tier": "back"},
        "annotations": {"example.com/team": "orders"},
    },
    "spec": {
        "serviceAccountName": "orders",
        "automountServiceAccountToken": True,
        "terminationGracePeriodSeconds": 120,
        "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["legacy"]}],
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "orders", "operator": "Exists", "effect": "NoSchedule"}],
        "imagePullSecrets": [{"name": "registry"}],
        "priorityClassName": "important",
        "securityContext": {"fsGroup": 2000, "runAsUser": 1000},
        "initContainers": [
            {"name": "migrate", "image": "example/migrate:1", "env": [{"name": "A", "value": ""}]},
            {
                "name": "logs",
                "image": "example/logs:1",
                "restartPolicy": "Always",
                "ports": [{"containerPort": 9000}],
            },
        ],
        "containers": [
            {
                "name": "app",
                "image": "example/orders:2",
                "ports": [
                    {"name": "http", "containerPort": 8080},
                    {"name": "parti-http", "containerPort": 8081},
                    {"containerPort": 8080, "protocol": "UDP"},
                ],
                "env": [
                    {"name": "PARTI_ADDRESS", "value": "localhost:5100"},
                    {"name": "WHO", "value": "$(PARTI_POD_NAME)"},
                ],
                "resources": {"limits": {"cpu": 2, "memory": "1024Mi"}},
                "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
                "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
                "lifecycle": {"preStop": {"sleep": {"seconds": 2}}},
            },
            {"name": "proxy", "image": "example/proxy:1", "ports": [{"containerPort": 8080}]},
        ],
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "0.5Gi"}}],
        "topologySpreadConstraints": [
            {"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
        ],
    },
}

FULL: dict[str, Any] = {
    "replicas": 7,
    "partitions": 256,
    "voters": 5,
    "mode": "Available",
    "availableFor": "1m30s",
    "template": FULL_TEMPLATE,
    "placement": {
        "strategy": "balanced",
        "loadAware": True,
        "weights": [{"ordinals": "0-1", "weight": 200}, {"ordinals": "4", "weight": 50}],
        "coalescing": {"quiet": "300ms", "max": "3s"},
        "cooldown": "20s",
    },
    "rebalance": {"mode": "Manual", "maxConcurrentMoves": 4},
    "lease": {"ttl": "3s"},
    "timeouts": {"drain": "40s", "handover": "15s", "workerGrace": "8s", "failure": "10m"},
    "sidecar": {
        "image": "example/own-sidecar:3",
        "imagePullPolicy": "Always",
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}},
        "env": [{"name": "PARTI_PARKED_MESSAGES_MAX", "value": "90000"}],
        "logLevel": "debug",
    },
    "storage": {
        "size": "5Gi",
        "className": "fast",
        "retention": {"whenDeleted": "Delete", "whenScaled": "Retain"},
        "ephemeral": False,
    },
    "disruption": {"maxUnavailable": 2},
    "service": {"annotations": {"example.com/exposed": "yes"}},
    "networkPolicy": {"enabled": True},
    "monitoring": {"podMonitor": True},
    "topologySpread": "disabled",
    "paused": True,
}


def minimal() -> ClusterSpec:
    """What six lines ask for."""
    return cluster_spec()


def full() -> ClusterSpec:
    """Every field set to something else than its default, but for those that exclude others."""
    return cluster_spec(**FULL)


def full_resource() -> dict[str, Any]:
    return particluster(**FULL)


def ephemeral() -> ClusterSpec:
    """Without disks."""
    return cluster_spec(storage={"ephemeral": True}, monitoring={"podMonitor": False})
