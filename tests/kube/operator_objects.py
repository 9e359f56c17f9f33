"""What tests of the operator on a real API server share: objects, and a place without others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parti_operator import names
from parti_operator.kube_api import Object
from tests.kube.testbed.commands import TestbedError, wait_for
from tests.kube.testbed.kubectl import Kubectl

ROOT = Path(__file__).parents[2]
CRD = f"{names.PLURAL}.{names.GROUP}"
CHART_NAMESPACE = "parti-system"
CRD_S = 30.0
STOP_S = 90.0
TEMPLATE = {"spec": {"containers": [{"name": "app", "image": "localhost/nothing:none"}]}}


@contextmanager
def crd_served(kubectl: Kubectl) -> Iterator[None]:
    """The CRD; one that is there already stays."""
    was_there = _exists(kubectl, "crd", CRD)
    if not was_there:
        kubectl("apply", "--server-side", "--filename", str(ROOT / "manifests" / "crd.yaml"))
        wait_for(lambda: _exists(kubectl, CRD, "--all-namespaces"), CRD_S, "the CRD")
    try:
        yield
    finally:
        if not was_there:
            kubectl("delete", "crd", CRD)


@contextmanager
def chart_operator_stopped(kubectl: Kubectl) -> Iterator[None]:
    """An operator that the chart has installed stands still meanwhile."""
    chart = kubectl.within(CHART_NAMESPACE)
    if not _exists(chart, "deployment", "parti-operator"):
        yield
        return
    replicas = chart.json("deployment", "parti-operator")["spec"]["replicas"]
    chart("scale", "deployment", "parti-operator", "--replicas=0")
    label = f"--selector={names.NAME_LABEL}=parti-operator"
    wait_for(lambda: not chart.items("pods", label), STOP_S, "the chart's operator to stop")
    try:
        yield
    finally:
        chart("scale", "deployment", "parti-operator", f"--replicas={replicas}")


def config_map(namespace: Kubectl, **data: str) -> Object:
    """A labelled ConfigMap, as a stand-in for any child."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "c",
            "namespace": namespace.namespace,
            "labels": {names.CLUSTER_LABEL: "orders"},
        },
        "data": data,
    }


def particluster(namespace: Kubectl, **spec: Any) -> Object:
    """A PartiCluster whose pods cannot run."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "orders", "namespace": namespace.namespace},
        "spec": {"template": TEMPLATE, **spec},
    }


def _exists(kubectl: Kubectl, *what: str) -> bool:
    try:
        kubectl("get", *what)
    except TestbedError:
        return False
    return True
