"""Namespaces for tests, and what is in them when a test fails."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.kube.testbed.commands import TestbedError
from tests.kube.testbed.kubectl import Kubectl

_LOG_LINES = 40
_PODS_SHOWN = 12


@contextmanager
def scratch_namespace(kubectl: Kubectl) -> Iterator[Kubectl]:
    """kubectl for a new namespace, which holds pods to the restricted profile."""
    name = f"parti-{secrets.token_hex(3)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": name, "labels": labels}
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    try:
        yield kubectl.within(name)
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


def contents(kubectl: Kubectl) -> str:
    """What there is in a namespace: objects, events, logs."""
    objects = "statefulsets,deployments,pods,persistentvolumeclaims,poddisruptionbudgets"
    questions = [("get", objects, "-o", "wide"), ("get", "events", "--sort-by=.lastTimestamp")]
    with suppress(TestbedError):
        for pod in kubectl.items("pods")[:_PODS_SHOWN]:
            name, tail = pod["metadata"]["name"], f"--tail={_LOG_LINES}"
            questions.append(("logs", name, "--all-containers", "--prefix", tail))
    return "\n".join(f"--- kubectl {' '.join(q)}\n{_answer(kubectl, q)}" for q in questions)


def _answer(kubectl: Kubectl, question: tuple[str, ...]) -> str:
    try:
        return kubectl(*question)
    except TestbedError as error:
        return str(error)
