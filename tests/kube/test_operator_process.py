"""The operator's process on a real API server, from its start to its end.

The pods of the clusters made here never run: their image does not exist, and nothing here needs
them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from parti_operator import names
from tests.kube.clusters import Cluster
from tests.kube.operator_objects import (
    ROOT,
    chart_operator_stopped,
    config_map,
    crd_served,
    particluster,
)
from tests.kube.testbed.commands import TestbedError, wait_for
from tests.kube.testbed.kubectl import Kubectl

READY_S = 30.0
REPAIR_S = 5.0


@pytest.fixture(scope="module", autouse=True)
def alone(kubectl: Kubectl) -> Iterator[None]:
    """The CRD, and no other operator."""
    with crd_served(kubectl), chart_operator_stopped(kubectl):
        yield


@contextmanager
def _operator(
    cluster: Cluster, namespace: Kubectl, *flags: str, **environ: str
) -> Iterator[subprocess.Popen[str]]:
    """A process of the operator that looks after this namespace only."""
    where = namespace.namespace
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "parti_operator", "--namespaces", where, "--namespace", where),
            *("--http-address", "127.0.0.1:0", "--log-format", "human", *flags),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": "operator:sidecar:proto",
            "KUBECONFIG": str(cluster.kubeconfig),
            **environ,
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        _, said = process.communicate()
        print(said)  # noqa: T201 - shown if the test fails


def _children(namespace: Kubectl) -> set[str]:
    kinds = "statefulsets,services,configmaps,poddisruptionbudgets"
    found = namespace.items(kinds, f"--selector={names.CLUSTER_LABEL}=orders")
    return {f"{each['kind']}/{each['metadata']['name']}" for each in found}


ALL_CHILDREN = {
    "StatefulSet/orders",
    "Service/orders",
    "Service/orders-peers",
    "ConfigMap/orders-sidecar",
    "PodDisruptionBudget/orders",
}


def test_children_are_made_and_repaired(cluster: Cluster, namespace: Kubectl) -> None:
    with _operator(cluster, namespace):
        namespace.apply(particluster(namespace))
        wait_for(lambda: _children(namespace) == ALL_CHILDREN, READY_S, "the children")
        namespace("delete", "service/orders", "configmap/orders-sidecar")
        wait_for(lambda: _children(namespace) == ALL_CHILDREN, REPAIR_S, "deleted children")
        patch = '{"spec":{"replicas":9,"template":{"spec":{"terminationGracePeriodSeconds":1}}}}'
        namespace("patch", "statefulset", "orders", "--patch", patch)

        def is_repaired() -> bool:
            spec = namespace.json("statefulset", "orders")["spec"]
            grace_s = spec["template"]["spec"]["terminationGracePeriodSeconds"]
            return bool(spec["replicas"] == 3 and grace_s > 1)

        wait_for(is_repaired, REPAIR_S, "the edited child")
        status = namespace.json(names.PLURAL, "orders")["status"]
        assert status["phase"] in ("Pending", "Bootstrapping")
        assert status["observedGeneration"] == 1


EDITS = {
    "spec": {
        "minReadySeconds": 5,
        "template": {
            "metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}},
            "spec": {
                "nodeSelector": {"disk": "fast"},
                "tolerations": [{"key": "edited", "operator": "Exists"}],
                "containers": [{"name": "app", "args": ["-v"], "env": [{"name": "A"}]}],
            },
        },
    }
}


def test_what_others_add_is_taken_away_but_for_the_mark_of_a_restart(
    cluster: Cluster, namespace: Kubectl
) -> None:
    with _operator(cluster, namespace):
        namespace.apply(particluster(namespace))
        wait_for(lambda: _children(namespace) == ALL_CHILDREN, READY_S, "the children")
        before = namespace.json("statefulset", "orders")["spec"]
        namespace("patch", "statefulset", "orders", "--patch", json.dumps(EDITS))
        namespace("patch", "configmap", "orders-sidecar", "--patch", '{"data":{"more":"x"}}')
        pod = before["template"]
        pod["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "now"

        def is_repaired() -> bool:
            data = namespace.json("configmap", "orders-sidecar")["data"]
            spec = namespace.json("statefulset", "orders")["spec"]
            return "more" not in data and bool(spec == before)

        wait_for(is_repaired, REPAIR_S, "what was added")


def test_who_takes_everything_over_without_a_change_is_repaired_once(
    cluster: Cluster, namespace: Kubectl
) -> None:
    """As a restored backup does: it owns the defaults too, which come back when they are taken."""
    with _operator(cluster, namespace):
        namespace.apply(particluster(namespace))
        wait_for(lambda: _children(namespace) == ALL_CHILDREN, READY_S, "the children")
        for kind in ("statefulset", "service"):
            _take_over(namespace, kind, manager="restore")
        wait_for(lambda: "restore" not in _managers(namespace), REPAIR_S, "repair")
        before = _versions(namespace)
        until = time.monotonic() + 3
        wait_for(lambda: time.monotonic() > until, 5, "some passes")
        assert _versions(namespace) == before


def _take_over(namespace: Kubectl, kind: str, *, manager: str) -> None:
    found = namespace.json(kind, "orders")
    metadata = {key: found["metadata"][key] for key in ("name", "namespace", "labels")}
    whole = {key: found[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": metadata}
    flags = ("--server-side", "--force-conflicts", f"--field-manager={manager}")
    namespace("apply", *flags, "--filename=-", given=json.dumps(whole))


def _managers(namespace: Kubectl) -> set[str]:
    found = namespace.items("statefulset/orders", "service/orders", "--show-managed-fields")
    return {entry["manager"] for each in found for entry in each["metadata"]["managedFields"]}


def test_an_idle_cluster_is_not_written(cluster: Cluster, namespace: Kubectl) -> None:
    """What the API server makes of our objects is not taken for an edit of somebody else."""
    with _operator(cluster, namespace):
        namespace.apply(particluster(namespace))
        wait_for(lambda: _children(namespace) == ALL_CHILDREN, READY_S, "the children")
        before = _versions(namespace)
        until = time.monotonic() + 8
        wait_for(lambda: time.monotonic() > until, 10, "some passes")
        assert _versions(namespace) == before


def _versions(namespace: Kubectl) -> dict[str, str]:
    """Of what nobody but the operator writes once it is made."""
    found = namespace.items("services,configmaps", f"--selector={names.CLUSTER_LABEL}=orders")
    return {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in found} | {
        "generation": str(namespace.json("statefulset", "orders")["metadata"]["generation"])
    }


def test_a_template_that_is_not_valid_is_told_in_the_api_servers_words(
    cluster: Cluster, namespace: Kubectl
) -> None:
    mounts = [{"name": "nowhere", "mountPath": "/data"}]
    app = {"name": "app", "image": "localhost/nothing:none", "volumeMounts": mounts}
    with _operator(cluster, namespace):
        namespace.apply(particluster(namespace, template={"spec": {"containers": [app]}}))

        wait_for(
            lambda: _degraded(namespace).get("reason") == "ActionFailed", READY_S, "the refusal"
        )
        message = _degraded(namespace)["message"]
        assert "volumeMounts" in message
        assert "nowhere" in message


def test_an_object_of_somebody_else_is_left_alone(cluster: Cluster, namespace: Kubectl) -> None:
    foreign = config_map(namespace, mine="yes")
    foreign["metadata"] |= {"name": "orders-sidecar", "labels": {}}
    namespace.apply(foreign)
    with _operator(cluster, namespace):
        namespace.apply(particluster(namespace))

        wait_for(
            lambda: _degraded(namespace).get("reason") == "NameConflict", READY_S, "the conflict"
        )
        assert namespace.json("configmap", "orders-sidecar")["data"] == {"mine": "yes"}


def _degraded(namespace: Kubectl) -> dict[str, Any]:
    """The condition, once there is one."""
    status = namespace.json(names.PLURAL, "orders").get("status") or {}
    found = [row for row in status.get("conditions", ()) if row["type"] == "Degraded"]
    return found[0] if found else {}


def test_it_leaves_as_asked_and_the_next_one_follows_at_once(
    cluster: Cluster, namespace: Kubectl
) -> None:
    with _operator(cluster, namespace, "--pod-name", "first") as first:
        wait_for(lambda: _holder(namespace).startswith("first"), READY_S, "the first to lead")
        with _operator(cluster, namespace, "--pod-name", "second") as second:
            first.send_signal(signal.SIGTERM)
            assert first.wait(timeout=15) == 0
            wait_for(lambda: _holder(namespace).startswith("second"), 8, "the second to follow")
            second.send_signal(signal.SIGINT)
            assert second.wait(timeout=15) == 0
    assert _holder(namespace) == ""


def test_a_holder_whose_lease_is_taken_ends(cluster: Cluster, namespace: Kubectl) -> None:
    with _operator(cluster, namespace) as process:
        wait_for(lambda: _holder(namespace) != "", READY_S, "a leader")
        patch = '{"spec":{"holderIdentity":"somebody"}}'
        namespace("patch", "lease", "parti-operator", "--type=merge", "--patch", patch)
        assert process.wait(timeout=15) == 1


def _holder(namespace: Kubectl) -> str:
    try:
        lease = namespace.json("lease", "parti-operator")
    except TestbedError:
        return ""
    return str(lease["spec"].get("holderIdentity") or "")


def test_a_failpoint_ends_the_process_and_the_next_one_goes_on(
    cluster: Cluster, namespace: Kubectl
) -> None:
    namespace.apply(particluster(namespace))
    failpoint = {"PARTI_OPERATOR_FAILPOINT": "after:ApplyChild#2"}
    with _operator(cluster, namespace, **failpoint) as process:
        assert process.wait(timeout=60) == 86
    assert len(_children(namespace)) == 2
    # Under another lease, so that nobody waits for the first one's to run out.
    with _operator(cluster, namespace, "--lease-name", "second"):
        wait_for(lambda: _children(namespace) == ALL_CHILDREN, READY_S, "the children")
