"""The operator's adapters and its process on a real API server.

What the in-memory API of the operator's tests claims is held against the real one here. The pods
of the clusters made here never run: their image does not exist, and nothing here needs them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from parti_operator import names
from parti_operator.cache import Cache, ClusterKey
from parti_operator.election import Election, ElectionTimes
from parti_operator.kube import Kube, connect
from parti_operator.kube_api import (
    CONFIG_MAP,
    DISRUPTION_BUDGET,
    LEASE,
    PARTI_CLUSTER,
    POD,
    SERVICE,
    KubeError,
    Object,
)
from parti_operator.resync import Resync
from parti_operator.watching import Watches
from tests.kube.clusters import Cluster
from tests.kube.testbed.commands import TestbedError, wait_for
from tests.kube.testbed.kubectl import Kubectl
from tests.kube.testbed.layout import PAUSE_IMAGE

ROOT = Path(__file__).parents[2]
CRD = f"{names.PLURAL}.{names.GROUP}"
CHART_NAMESPACE = "parti-system"
READY_S = 30.0
REPAIR_S = 5.0
TEMPLATE = {"spec": {"containers": [{"name": "app", "image": "localhost/nothing:none"}]}}


@pytest.fixture(scope="module", autouse=True)
def crd(kubectl: Kubectl) -> Iterator[None]:
    """The CRD; one that is there already stays."""
    was_there = _exists(kubectl, "crd", CRD)
    if not was_there:
        kubectl("apply", "--server-side", "--filename", str(ROOT / "manifests" / "crd.yaml"))
        wait_for(lambda: _exists(kubectl, CRD, "--all-namespaces"), READY_S, "the CRD")
    yield
    if not was_there:
        kubectl("delete", "crd", CRD)


@pytest.fixture(scope="module", autouse=True)
def alone(kubectl: Kubectl) -> Iterator[None]:
    """An operator that the chart has installed stands still meanwhile."""
    chart = kubectl.within(CHART_NAMESPACE)
    if not _exists(chart, "deployment", "parti-operator"):
        yield
        return
    replicas = chart.json("deployment", "parti-operator")["spec"]["replicas"]
    chart("scale", "deployment", "parti-operator", "--replicas=0")
    label = f"--selector={names.NAME_LABEL}=parti-operator"
    wait_for(lambda: not chart.items("pods", label), 90, "the chart's operator to stand still")
    yield
    chart("scale", "deployment", "parti-operator", f"--replicas={replicas}")


def _exists(kubectl: Kubectl, *what: str) -> bool:
    try:
        kubectl("get", *what)
    except TestbedError:
        return False
    return True


@asynccontextmanager
async def _connected(cluster: Cluster) -> AsyncIterator[Kube]:
    kube = await connect(lambda *_: None, {"KUBECONFIG": str(cluster.kubeconfig)})
    try:
        yield kube
    finally:
        await kube.close()


def _config_map(namespace: Kubectl, **data: str) -> Object:
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


def _particluster(namespace: Kubectl, **spec: Any) -> Object:
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "orders", "namespace": namespace.namespace},
        "spec": {"template": TEMPLATE, **spec},
    }


# --- what the in-memory API claims


async def test_apply_makes_changes_and_takes_away(cluster: Cluster, namespace: Kubectl) -> None:
    async with _connected(cluster) as kube:
        made = await kube.apply(_config_map(namespace, a="1", b="2"), force=False)
        same = await kube.apply(_config_map(namespace, a="1", b="2"))
        assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
        changed = await kube.apply(_config_map(namespace, a="3"))
    assert changed["data"] == {"a": "3"}
    assert changed["metadata"]["uid"] == made["metadata"]["uid"]


async def test_what_others_made_is_not_taken_over_without_force(
    cluster: Cluster, namespace: Kubectl
) -> None:
    namespace.apply(_config_map(namespace, a="theirs"))
    async with _connected(cluster) as kube:
        with pytest.raises(KubeError) as refusal:
            await kube.apply(_config_map(namespace, a="ours"), force=False)
        assert refusal.value.is_conflict
        found = await kube.get(CONFIG_MAP, namespace.namespace, "c")
        assert found["data"] == {"a": "theirs"}
        taken = await kube.apply(_config_map(namespace, a="ours"))
    assert taken["data"] == {"a": "ours"}


async def test_identity_and_version_are_preconditions_of_apply(
    cluster: Cluster, namespace: Kubectl
) -> None:
    async with _connected(cluster) as kube:
        wanted = _config_map(namespace, a="1")
        wanted["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
        with pytest.raises(KubeError) as missing:
            await kube.apply(wanted)
        assert missing.value.is_conflict
        made = await kube.apply(_config_map(namespace, a="1"))
        with pytest.raises(KubeError) as namesake:
            await kube.apply(wanted)
        assert namesake.value.is_conflict
        wanted["metadata"]["uid"] = made["metadata"]["uid"]
        wanted["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
        wanted["data"] = {"a": "2"}
        await kube.apply(wanted)
        wanted["data"] = {"a": "3"}
        with pytest.raises(KubeError) as stale:
            await kube.apply(wanted)
        assert stale.value.is_conflict


async def test_merges_keep_their_preconditions(cluster: Cluster, namespace: Kubectl) -> None:
    async with _connected(cluster) as kube:
        made = await kube.apply(_config_map(namespace, a="1"))
        where = (CONFIG_MAP, namespace.namespace, "c")
        with pytest.raises(KubeError) as other:
            await kube.merge(*where, {"metadata": {"uid": "other"}, "data": {"a": "2"}})
        assert other.value.is_conflict
        version = made["metadata"]["resourceVersion"]
        patch = {"metadata": {"resourceVersion": version}, "data": {"a": None, "b": "2"}}
        merged = await kube.merge(*where, patch)
        assert merged["data"] == {"b": "2"}
        with pytest.raises(KubeError) as stale:
            await kube.merge(*where, patch)
        assert stale.value.is_conflict


async def test_deletes_spare_namesakes(cluster: Cluster, namespace: Kubectl) -> None:
    where = (CONFIG_MAP, namespace.namespace, "c")
    async with _connected(cluster) as kube:
        made = await kube.apply(_config_map(namespace, a="1"))
        await kube.delete(*where, uid="00000000-0000-0000-0000-000000000000")
        await kube.get(*where)
        await kube.delete(*where, uid=made["metadata"]["uid"])
        with pytest.raises(KubeError) as gone:
            await kube.get(*where)
        assert gone.value.is_missing
        await kube.delete(*where, uid=made["metadata"]["uid"])


async def test_the_status_is_written_only_for_what_was_read(
    cluster: Cluster, namespace: Kubectl
) -> None:
    """What the CRD does not know is dropped: an operator may be newer than the CRD."""
    namespace.apply(_particluster(namespace))
    where = (PARTI_CLUSTER, namespace.namespace, "orders")
    async with _connected(cluster) as kube:

        async def write(found: Object, **status: object) -> Object:
            version = {"resourceVersion": found["metadata"]["resourceVersion"]}
            patch = {"metadata": version, "status": status}
            return await kube.merge(*where, patch, subresource="status")

        found = await kube.get(*where)
        assert found["spec"]["partitions"] == 64  # defaults are the API server's
        first = await write(found, phase="Pending", ready="0/3", unknown="x")
        assert first["status"] == {"phase": "Pending", "ready": "0/3"}
        assert first["metadata"]["generation"] == found["metadata"]["generation"]
        with pytest.raises(KubeError) as stale:
            await write(found, phase="Ready")
        assert stale.value.is_conflict
        second = await write(first, phase="Ready", ready=None)
        assert second["status"] == {"phase": "Ready"}
        namespace("delete", names.PLURAL, "orders")
        with pytest.raises(KubeError) as gone:
            await write(second, phase="Pending")
        assert gone.value.is_missing


async def test_an_eviction_asks_the_budget(cluster: Cluster, namespace: Kubectl) -> None:
    cluster.nodes()  # the image of the pod is on a testbed's nodes only
    namespace.apply(_pod(namespace), _budget(namespace, 0))
    namespace("wait", "--for=condition=Ready", "pod/orders-0", "--timeout=60s")
    async with _connected(cluster) as kube:
        where = (POD, namespace.namespace, "orders-0")
        uid = (await kube.get(*where))["metadata"]["uid"]
        await _budget_allows(kube, namespace, 0)
        with pytest.raises(KubeError) as refused:
            await kube.evict(namespace.namespace, "orders-0", uid=uid)
        assert refused.value.status == 429
        namespace("delete", "poddisruptionbudget", "orders")
        await kube.evict(namespace.namespace, "orders-0", uid="another")
        assert "deletionTimestamp" not in (await kube.get(*where))["metadata"]
        namespace.apply(_budget(namespace, 1))
        await _budget_allows(kube, namespace, 1)
        await kube.evict(namespace.namespace, "orders-0", uid=uid)
        assert "deletionTimestamp" in (await kube.get(*where))["metadata"]
        await kube.evict(namespace.namespace, "gone", uid=uid)


async def _budget_allows(kube: Kube, namespace: Kubectl, pods: int) -> None:
    """Until the controller has counted; before, every eviction is refused."""
    async with asyncio.timeout(READY_S):
        while True:
            budget = await kube.get(DISRUPTION_BUDGET, namespace.namespace, "orders")
            status = budget.get("status") or {}
            if (status.get("currentHealthy"), status.get("disruptionsAllowed")) == (1, pods):
                return
            await asyncio.sleep(0.1)


def _budget(namespace: Kubectl, pods: int) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "orders", "namespace": namespace.namespace},
        "spec": {
            "maxUnavailable": pods,
            "selector": {"matchLabels": {names.CLUSTER_LABEL: "orders"}},
        },
    }


def _pod(namespace: Kubectl) -> Object:
    """A pod that a controller could have made: without one, a budget cannot count it."""
    labels = {names.CLUSTER_LABEL: "orders"}
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "app", "image": PAUSE_IMAGE, "securityContext": security}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "orders", "namespace": namespace.namespace},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 10},
            },
        },
    }


# --- election


async def test_two_candidates_on_one_lease(cluster: Cluster, namespace: Kubectl) -> None:
    times = ElectionTimes(lease_ms=3_000, renew_ms=2_500, retry_ms=200)
    async with _connected(cluster) as kube:
        first, second = (_candidate(kube, namespace, each, times) for each in ("one", "two"))
        await first.win()
        keeping = asyncio.create_task(first.keep())
        standing_by = asyncio.create_task(second.win())
        await asyncio.sleep(2 * times.lease_ms / 1_000)
        assert first.may_act
        assert not standing_by.done()
        keeping.cancel()
        began_s = time.monotonic()
        await asyncio.wait_for(standing_by, 10)
        assert time.monotonic() - began_s >= (times.lease_ms - times.retry_ms) / 1_000 - 0.5
        assert not first.may_act
        await second.resign()
        lease = await kube.get(LEASE, namespace.namespace, "operator")
        assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseTransitions"]) == ("", 1)


def _candidate(kube: Kube, namespace: Kubectl, name: str, times: ElectionTimes) -> Election:
    return Election(
        kube,
        namespace=namespace.namespace,
        name="operator",
        identity=name,
        clock_ms=lambda: time.monotonic_ns() // 1_000_000,
        wall_ms=lambda: time.time_ns() // 1_000_000,
        times=times,
    )


# --- watches


async def _until(condition: Callable[[], bool], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while True:
            if condition():
                return
            await asyncio.sleep(0.02)


class _Watching:
    """Watches of Services and ConfigMaps in one namespace, and what they told."""

    def __init__(self, cluster: Cluster, namespace: Kubectl) -> None:
        self.key = ClusterKey(namespace.namespace, "orders")
        self.cache = Cache(lambda _: None)
        self.watches = Watches(
            self.cache,
            kinds=(SERVICE, CONFIG_MAP),
            namespaces=(namespace.namespace,),
            environ={"KUBECONFIG": str(cluster.kubeconfig)},
        )

    def data(self) -> list[dict[str, str]]:
        return [each.get("data", {}) for each in self.cache.of_cluster(self.key, CONFIG_MAP)]

    async def until(self, *data: dict[str, str]) -> None:
        await _until(lambda: self.data() == list(data), 5)


@asynccontextmanager
async def _watching(
    cluster: Cluster, namespace: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[_Watching]:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))  # kopf reads it itself
    found = _Watching(cluster, namespace)
    await found.watches.start(lambda: None)
    try:
        yield found
    finally:
        await found.watches.stop()


async def test_watches_tell_of_labelled_objects(
    cluster: Cluster, namespace: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace.apply(_config_map(namespace, a="before"))
    async with _watching(cluster, namespace, monkeypatch) as seen:
        assert seen.watches.dead_watches() == 0
        await seen.until({"a": "before"})
        namespace.apply(_config_map(namespace, a="changed"))
        await seen.until({"a": "changed"})
        namespace("label", "configmap", "c", f"{names.CLUSTER_LABEL}-")
        await seen.until()
        namespace("label", "configmap", "c", f"{names.CLUSTER_LABEL}=orders")
        await seen.until({"a": "changed"})
        namespace("delete", "configmap", "c")
        await seen.until()
        managed = namespace("get", "configmaps", "--show-managed-fields", "-o", "yaml")
        assert "kopf" not in managed


async def test_watches_outlive_the_api_server(
    cluster: Cluster, namespace: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What vanished meanwhile is told by no watch: that is what comparisons are for."""
    testbed = cluster.nodes()
    namespace.apply(
        _config_map(namespace, a="1"), {**_config_map(namespace), "metadata": _d(namespace)}
    )
    async with _watching(cluster, namespace, monkeypatch) as seen, _connected(cluster) as kube:
        await seen.until({"a": "1"}, {})
        await asyncio.to_thread(testbed.stop_apiserver)
        await asyncio.sleep(5)
        await asyncio.to_thread(testbed.start_apiserver)
        namespace("delete", "configmap", "d")
        namespace.apply(_config_map(namespace, a="2"))
        await _until(lambda: {"a": "2"} in seen.data(), 30)
        assert seen.watches.dead_watches() == 0
        resync = Resync(
            kube,
            seen.cache,
            kinds=(SERVICE, CONFIG_MAP),
            optional=(),
            namespaces=(namespace.namespace,),
            missed=lambda *_: None,
        )
        await resync.once()
        assert seen.data() == [{"a": "2"}]


def _d(namespace: Kubectl) -> Object:
    return {**_config_map(namespace)["metadata"], "name": "d"}


async def test_a_watch_that_ended_is_noticed(
    cluster: Cluster, namespace: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the name that kopf gives to its task, which a newer kopf may change."""
    async with _watching(cluster, namespace, monkeypatch) as seen:
        [task] = [
            each
            for each in asyncio.all_tasks()
            if each.get_name().startswith("watcher for ") and "configmaps" in each.get_name()
        ]
        task.cancel()
        await asyncio.wait([task], timeout=10)
        assert seen.watches.dead_watches() == 1


# --- the process


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
        namespace.apply(_particluster(namespace))
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


def test_an_idle_cluster_is_not_written(cluster: Cluster, namespace: Kubectl) -> None:
    """What the API server makes of our objects is not taken for an edit of somebody else."""
    with _operator(cluster, namespace):
        namespace.apply(_particluster(namespace))
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


def test_an_object_of_somebody_else_is_left_alone(cluster: Cluster, namespace: Kubectl) -> None:
    foreign = _config_map(namespace, mine="yes")
    foreign["metadata"] |= {"name": "orders-sidecar", "labels": {}}
    namespace.apply(foreign)
    with _operator(cluster, namespace):
        namespace.apply(_particluster(namespace))

        def is_told() -> bool:
            found = namespace.json(names.PLURAL, "orders").get("status") or {}
            conditions = {c["type"]: c for c in found.get("conditions", [])}
            return bool(conditions.get("Degraded", {}).get("reason") == "NameConflict")

        wait_for(is_told, READY_S, "the conflict to be told")
        assert namespace.json("configmap", "orders-sidecar")["data"] == {"mine": "yes"}


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
    namespace.apply(_particluster(namespace))
    failpoint = {"PARTI_OPERATOR_FAILPOINT": "after:ApplyChild#2"}
    with _operator(cluster, namespace, **failpoint) as process:
        assert process.wait(timeout=60) == 86
    assert len(_children(namespace)) == 2
    with _operator(cluster, namespace):
        wait_for(lambda: _children(namespace) == ALL_CHILDREN, READY_S + 20, "the children")
