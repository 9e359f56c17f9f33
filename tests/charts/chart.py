"""Rendering the chart: settings that the tests of this folder render it with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tools.render_manifests import Object

# The matrix: each way of using the chart that changes what is rendered.
EVERYTHING: Mapping[str, Any] = {
    "replicas": 3,
    "image": {"tag": "1.2.3", "pullPolicy": "Always"},
    "sidecarImage": {"repository": "example/sidecar", "digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "registry"}],
    "watch": {"all": True},
    "serviceAccount": {"annotations": {"example/role": "arn"}},
    "log": {"level": "debug", "format": "human"},
    "extraEnv": [
        {"name": "HTTPS_PROXY", "value": "proxy:3128"},
        {"name": "ZONE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ],
    "resources": {"requests": {"cpu": 1}, "limits": {"cpu": 2, "memory": "1Gi"}},
    "podLabels": {"team": "orders"},
    "podAnnotations": {"example/scrape": "false"},
    "priorityClassName": "high",
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": {"a": "b"}},
                }
            ]
        }
    },
    "topologySpreadConstraints": [
        {
            "topologyKey": "topology.kubernetes.io/zone",
            "maxSkew": 2,
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"a": "b"}},
        }
    ],
    "networkPolicy": {
        "enabled": True,
        "from": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
    },
    "monitoring": {
        "podMonitor": {"enabled": True, "interval": "1m", "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboards": {"enabled": True, "annotations": {"grafana_folder": "parti"}},
    },
}

MATRIX: Mapping[str, Mapping[str, Any]] = {
    "defaults": {},
    "whole cluster": {"watch": {"all": True}},
    "two namespaces": {"watch": {"namespaces": ["shop", "stock"]}},
    "everything": EVERYTHING,
    "rights by somebody else": {
        "rbac": {"create": False, "aggregate": False},
        "serviceAccount": {"create": False, "name": "given"},
        "crds": {"install": False},
    },
    "one replica": {"replicas": 1},
    "no budget": {"podDisruptionBudget": {"enabled": False}},
    "metrics for everybody": {"networkPolicy": {"enabled": True}},
    "by digest": {"image": {"digest": "sha256:" + "a" * 64}},
    "another name": {"fullnameOverride": "sharding"},
    "as a part of another chart": {"global": {"anything": 1}},
}


def one(documents: Iterable[Object], kind: str, name: str = "") -> Object:
    """The only object of a kind, or the one with this name."""
    [found] = [
        document
        for document in documents
        if document["kind"] == kind and name in ("", document["metadata"]["name"])
    ]
    return found


def container(documents: Iterable[Object]) -> Object:
    """The operator's container."""
    [found] = one(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    result: Object = found
    return result
