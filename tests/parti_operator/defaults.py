"""PartiClusters as the API server hands them out: defaults of the CRD filled in.

The CRD is the one place where defaults stand, so tests take them from there. The filling is the
structural defaulting of API servers: a missing field, or one that is null, gets its default, and
what was filled in is looked at again.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from parti_operator.spec import ClusterSpec, parse

_CRD = Path(__file__).parents[2] / "manifests" / "crd.yaml"
SIDECAR_IMAGE = "example/parti-sidecar:1"
TEMPLATE = {"spec": {"containers": [{"name": "app", "image": "example/orders:1"}]}}


@cache
def crd_schema() -> Mapping[str, Any]:
    """The schema of the served version."""
    crd = yaml.safe_load(_CRD.read_text(encoding="utf-8"))
    schema: Mapping[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def with_defaults(resource: Mapping[str, Any]) -> dict[str, Any]:
    """`resource` as the API server stores it."""
    filled: dict[str, Any] = deepcopy(dict(resource))
    _fill(filled, crd_schema())
    return filled


def particluster(
    *, name: str = "orders", namespace: str = "shop", uid: str = "", **spec: Any
) -> dict[str, Any]:
    """A PartiCluster with these fields of the spec, and defaults for all others."""
    return with_defaults(
        {
            "apiVersion": "parti.dev/v1alpha1",
            "kind": "PartiCluster",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": uid or "5ba1b1e2-3c1f-4c5e-9d59-0a3f1c2d4e5f",
                "generation": 1,
            },
            "spec": {"template": TEMPLATE, **spec},
        }
    )


def cluster_spec(**fields: Any) -> ClusterSpec:
    """The parsed spec of `particluster`."""
    return parse(particluster(**fields), SIDECAR_IMAGE)


def _fill(value: Any, schema: Mapping[str, Any]) -> None:
    if isinstance(value, dict):
        for name, field in schema.get("properties", {}).items():
            if value.get(name) is None and "default" in field:
                value[name] = deepcopy(field["default"])
            if name in value:
                _fill(value[name], field)
    elif isinstance(value, list) and "items" in schema:
        for item in value:
            _fill(item, schema["items"])
