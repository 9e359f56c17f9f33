"""The PartiClusters shown to users: the operator takes each, Kubernetes takes what it makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from parti_operator.children import children
from parti_operator.spec import parse
from tests.parti_operator.defaults import SIDECAR_IMAGE, with_defaults

FOLDER = Path(__file__).parents[2] / "manifests" / "samples"


def shown() -> list[Any]:
    return [
        pytest.param(resource, id=f"{file.stem}-{resource['metadata']['name']}")
        for file in sorted(FOLDER.glob("*.yaml"))
        for resource in yaml.safe_load_all(file.read_text(encoding="utf-8"))
        if resource["kind"] == "PartiCluster"
    ]


def test_there_are_samples() -> None:
    assert shown()


@pytest.mark.parametrize("resource", shown())
def test_a_sample_becomes_valid_objects(resource: dict[str, Any]) -> None:
    resource["metadata"] |= {"uid": "a-uid", "generation": 1}
    resource["metadata"].setdefault("namespace", "default")
    cluster = parse(with_defaults(resource), SIDECAR_IMAGE)
    for wanted in children(cluster, replicas=cluster.replicas):
        kubernetes_validate.validate(wanted, "1.34", strict=True)
