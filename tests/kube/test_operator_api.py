"""The operator's adapters on a real API server.

What the in-memory API of the operator's tests claims is held against the real one here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
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
from tests.kube.operator_objects import (
    chart_operator_stopped,
    config_map,
    crd_served,
    particluster,
)
from tests.kube.testbed.kubectl import Kubectl
from tests.kube.testbed.layout import PAUSE_IMAGE

READY_S = 30.0


@pytest.fixture(scope="module", autouse=True)
def alone(kubectl: Kubectl) -> Iterator[None]:
    """The CRD, and no operator that would look after what is made here."""
    with crd_served(kubectl), chart_operator_stopped(kubectl):
        yield


@asynccontextmanager
async def _connected(cluster: Cluster) -> AsyncIterator[Kube]:
    kube = await connect(lambda *_: None, {"KUBECONFIG": str(cluster.kubeconfig)})
    try:
        yield kube
    finally:
        await kube.close()


# --- what the in-memory API claims


async def test_apply_makes_changes_and_takes_away(cluster: Cluster, namespace: Kubectl) -> None:
    async with _connected(cluster) as kube:
        made = await kube.apply(config_map(namespace, a="1", b="2"), force=False)
        same = await kube.apply(config_map(namespace, a="1", b="2"))
        assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
        changed = await kube.apply(config_map(namespace, a="3"))
    assert changed["data"] == {"a": "3"}
    assert changed["metadata"]["uid"] == made["metadata"]["uid"]


async def test_what_others_made_is_not_taken_over_without_force(
    cluster: Cluster, namespace: Kubectl
) -> None:
    namespace.apply(config_map(namespace, a="theirs"))
    async with _connected(cluster) as kube:
        with pytest.raises(KubeError) as refusal:
            await kube.apply(config_map(namespace, a="ours"), force=False)
        assert refusal.value.is_conflict
        found = await kube.get(CONFIG_MAP, namespace.namespace, "c")
        assert found["data"] == {"a": "theirs"}
        taken = await kube.apply(config_map(namespace, a="ours"))
    assert taken["data"] == {"a": "ours"}


async def test_identity_and_version_are_preconditions_of_apply(
    cluster: Cluster, namespace: Kubectl
) -> None:
    async with _connected(cluster) as kube:
        wanted = config_map(namespace, a="1")
        wanted["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
        with pytest.raises(KubeError) as missing:
            await kube.apply(wanted)
        assert missing.value.is_conflict
        made = await kube.apply(config_map(namespace, a="1"))
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
        made = await kube.apply(config_map(namespace, a="1"))
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
        made = await kube.apply(config_map(namespace, a="1"))
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
    namespace.apply(particluster(namespace))
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
        api_returned=lambda: None,
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
        self.heard: list[str] = []
        self.watches = Watches(
            self.cache,
            kinds=(SERVICE, CONFIG_MAP),
            namespaces=(namespace.namespace,),
            heard=self.heard.append,
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
    before = _sockets()
    found = _Watching(cluster, namespace)
    await found.watches.start(lambda: None)
    try:
        yield found
    finally:
        await found.watches.stop()
        await _until(lambda: _sockets() <= before, 5)  # TLS says good-bye after the close


def _sockets() -> int:
    """What the running loop listens to."""
    selector: Any = vars(asyncio.get_running_loop())["_selector"]
    return len(selector.get_map())


async def test_watches_tell_of_labelled_objects(
    cluster: Cluster, namespace: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace.apply(config_map(namespace, a="before"))
    async with _watching(cluster, namespace, monkeypatch) as seen:
        assert seen.watches.dead_watches() == 0
        await seen.until({"a": "before"})
        namespace.apply(config_map(namespace, a="changed"))
        await seen.until({"a": "changed"})
        namespace("label", "configmap", "c", f"{names.CLUSTER_LABEL}-")
        await seen.until()
        namespace("label", "configmap", "c", f"{names.CLUSTER_LABEL}=orders")
        await seen.until({"a": "changed"})
        namespace("delete", "configmap", "c")
        await seen.until()
        assert set(seen.heard) == {"configmaps"}
        managed = namespace("get", "configmaps", "--show-managed-fields", "-o", "yaml")
        assert "kopf" not in managed


async def test_watches_outlive_the_api_server(
    cluster: Cluster, namespace: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What vanished meanwhile is told by no watch: that is what comparisons are for."""
    testbed = cluster.nodes()
    namespace.apply(
        config_map(namespace, a="1"), {**config_map(namespace), "metadata": _d(namespace)}
    )
    async with _watching(cluster, namespace, monkeypatch) as seen, _connected(cluster) as kube:
        await seen.until({"a": "1"}, {})
        await asyncio.to_thread(testbed.stop_apiserver)
        await asyncio.sleep(5)
        await asyncio.to_thread(testbed.start_apiserver)
        namespace("delete", "configmap", "d")
        namespace.apply(config_map(namespace, a="2"))
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
    return {**config_map(namespace)["metadata"], "name": "d"}


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
