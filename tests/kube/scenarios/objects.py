"""The objects that the scenarios apply: a PartiCluster of our application, and its shared notes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAME = "orders"
PARTITIONS = 64
PER_S = 40  # messages from every pod
FOLDER = "/notes"
WORKER, LOAD, SIDECAR = "worker", "load", "parti-sidecar"
_CLAIM = "notes"

Document = dict[str, Any]


def notes_claim() -> Document:
    """The folder that all pods write into: its class must do for pods of several nodes."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": _CLAIM},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


def parti_cluster(image: str, spec: Mapping[str, Any]) -> Document:
    """The PartiCluster, its pods of an image of our application; `spec` adds to its spec."""
    load = ["tests.kube.app.load", FOLDER, str(PER_S), str(PARTITIONS)]
    pod = {
        "containers": [
            _container(WORKER, image, ["tests.kube.app.worker", FOLDER]),
            _container(LOAD, image, load),
        ],
        "volumes": [{"name": _CLAIM, "persistentVolumeClaim": {"claimName": _CLAIM}}],
    }
    return {
        "apiVersion": "parti.dev/v1alpha1",
        "kind": "PartiCluster",
        "metadata": {"name": NAME},
        "spec": {"replicas": 3, "partitions": PARTITIONS, "template": {"spec": pod}, **spec},
    }


def _container(name: str, image: str, arguments: list[str]) -> Document:
    return {
        "name": name,
        "image": image,
        "args": arguments,
        "volumeMounts": [{"name": _CLAIM, "mountPath": FOLDER}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
