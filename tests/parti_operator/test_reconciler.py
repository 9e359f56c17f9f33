"""One pass: two looks, what is written on every way out, what a failure does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parti_operator.act import Actor
from parti_operator.actions import ApplyChild, EvictPod
from parti_operator.cache import Cache, ClusterKey
from parti_operator.events import Recorder
from parti_operator.failpoints import Failpoints
from parti_operator.kube_api import EVENT, PARTI_CLUSTER, SERVICE, Object
from parti_operator.metrics import Metrics
from parti_operator.names import EventReason
from parti_operator.observe import Observer
from parti_operator.observed import Observed
from parti_operator.plan.values import Occurrence, Plan
from parti_operator.queue import RequeueMs
from parti_operator.reconciler import (
    WATCHFUL_LOOK_MS,
    WATCHFUL_MS,
    PassFailedError,
    Reconciler,
    _merge_patch,
)
from parti_operator.spec import InvalidSpecError
from parti_operator.spec.problems import Problem
from tests.parti_operator.defaults import SIDECAR_IMAGE, particluster
from tests.parti_operator.memory_kube import MemoryKube, _merged
from tests.parti_operator.memory_sidecars import MemorySidecars
from tests.parti_operator.virtual_time import run_virtual

ORDERS = ClusterKey("shop", "orders")
_STATUS = {"phase": "Ready", "conditions": [{"type": "Ready", "status": "True"}]}
_SERVICE: Object = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "orders", "namespace": "shop"},
    "spec": {},
}


class _Lease:
    remaining_ms = 10_000


class _Desk:
    """A reconciler that follows the plan of the test."""

    def __init__(self) -> None:
        self.kube = MemoryKube()
        self.cache = Cache(lambda _: None)
        self.kube.feed(self.cache)
        self.metrics = Metrics()
        self.looks: list[Observed] = []
        self.lease = _Lease()
        self.plan = Plan((), _STATUS, (), 60_000)
        self.bug: Exception | None = None
        self.now_ms = 1_000
        sidecars = MemorySidecars()
        observer = Observer(
            self.kube,
            self.cache,
            sidecars,
            sidecar_image=SIDECAR_IMAGE,
            reads_nodes=False,
            optional_kinds=frozenset,
        )
        actor = Actor(
            self.kube,
            sidecars,
            self.lease,
            failpoints=Failpoints(),
            count=lambda *_: None,
        )
        recorder = Recorder(
            self.kube,
            instance="op",
            clock_ms=lambda: 0,
            wall_ms=lambda: 0,
            dropped=lambda _: None,
        )
        self.reconciler = Reconciler(
            self.kube,
            observer,
            actor,
            recorder,
            self.metrics,
            make_plan=self._make_plan,
            refuse=_refuse,
            wall_ms=lambda: self.now_ms,
        )

    def _make_plan(self, observed: Observed, now_ms: int) -> Plan:
        if self.bug is not None:
            raise self.bug
        self.looks.append(observed)
        return self.plan

    def run(self, key: ClusterKey = ORDERS) -> RequeueMs:
        return run_virtual(self.reconciler.reconcile(key))

    def status(self) -> Mapping[str, Any] | None:
        found = self.kube.find(PARTI_CLUSTER, "shop", "orders")
        assert found is not None
        status: Mapping[str, Any] | None = found.get("status")
        return status

    def reasons(self) -> list[str]:
        return sorted(event["reason"] for event in self.kube.all(EVENT))

    def passes(self, outcome: str) -> float:
        value = self.metrics.registry.get_sample_value(
            "parti_operator_reconciles_total", {"outcome": outcome}
        )
        return value or 0.0


def _refuse(resource: Mapping[str, Any], error: InvalidSpecError, now_ms: int) -> Plan:
    told = Occurrence(EventReason.INVALID_SPEC, str(error), warning=True)
    return Plan((), {"phase": "Degraded"}, (told,), 60_000)


def _desk() -> _Desk:
    desk = _Desk()
    desk.kube.put(particluster())
    return desk


def test_a_plan_without_actions_costs_nothing_once_the_status_is_right() -> None:
    desk = _desk()
    desk.run()
    assert desk.status() == _STATUS
    requests = desk.kube.requests()
    assert requests == 1
    desk.run()
    assert desk.kube.requests() == requests
    assert [look.live for look in desk.looks] == [False, False]


def test_after_a_change_the_next_looks_come_soon() -> None:
    desk = _desk()
    assert desk.run() == WATCHFUL_LOOK_MS
    desk.now_ms += WATCHFUL_MS - 1
    assert desk.run() == WATCHFUL_LOOK_MS
    desk.now_ms += 1
    assert desk.run() == 60_000
    desk.plan = Plan((), {**_STATUS, "ready": "2/3"}, (), 60_000)
    assert desk.run() == WATCHFUL_LOOK_MS
    desk.plan = replace(desk.plan, requeue_after_ms=100)
    assert desk.run() == 100


@pytest.mark.parametrize("look_closer", [True, False])
def test_whoever_wants_to_do_something_looks_again(*, look_closer: bool) -> None:
    desk = _desk()
    actions = () if look_closer else (ApplyChild(_SERVICE),)
    desk.plan = replace(desk.plan, actions=actions, look_closer=look_closer)
    desk.run()
    assert [look.live for look in desk.looks] == [False, True]
    assert (desk.kube.find(SERVICE, "shop", "orders") is not None) != look_closer


def test_a_cluster_that_is_gone_is_forgotten() -> None:
    desk = _desk()
    desk.run()
    assert ORDERS in desk.metrics.clusters
    desk.kube.remove(PARTI_CLUSTER, "shop", "orders")
    assert desk.run() is None
    assert desk.metrics.clusters == {}
    assert desk.reconciler._written == {}


def test_a_cluster_that_vanishes_between_the_looks_is_forgotten_too() -> None:
    desk = _desk()
    desk.kube.unfeed(desk.cache)
    desk.kube.remove(PARTI_CLUSTER, "shop", "orders")
    desk.plan = replace(desk.plan, actions=(ApplyChild(_SERVICE),))
    assert desk.run() is None
    assert desk.kube.find(SERVICE, "shop", "orders") is None


def test_the_status_is_written_although_an_action_failed() -> None:
    desk = _desk()
    desk.plan = replace(desk.plan, actions=(ApplyChild(_SERVICE),))
    desk.kube.fail("apply", "services", 500)
    with pytest.raises(PassFailedError):
        desk.run()
    assert desk.status() == _STATUS
    assert desk.passes("failed") == 1
    assert desk.reasons() == []


def test_people_are_told_of_a_refusal() -> None:
    desk = _desk()
    desk.plan = replace(desk.plan, actions=(ApplyChild(_SERVICE),))
    desk.kube.fail("apply", "services", 403)
    with pytest.raises(PassFailedError):
        desk.run()
    assert desk.reasons() == ["ActionFailed"]


def test_an_eviction_that_must_wait_is_no_failure() -> None:
    desk = _desk()
    pod = desk.kube.put({**_SERVICE, "kind": "Pod"})
    desk.kube.evictions_allowed = False
    desk.plan = replace(desk.plan, actions=(EvictPod("orders", pod["metadata"]["uid"]),))
    assert desk.run() == 5_000
    assert desk.passes("failed") == 0


def test_events_of_the_plan_are_told() -> None:
    desk = _desk()
    desk.plan = replace(desk.plan, events=(Occurrence(EventReason.SCALED, "5"),))
    desk.run()
    assert desk.reasons() == ["Scaled"]


def test_a_status_is_not_written_over_a_newer_version() -> None:
    desk = _desk()
    desk.kube.unfeed(desk.cache)
    desk.kube.edit(PARTI_CLUSTER, "shop", "orders", {"spec": {"replicas": 5}})
    with pytest.raises(PassFailedError):
        desk.run()
    assert desk.status() is None


def test_what_the_api_server_drops_is_not_written_again_and_again() -> None:
    desk = _desk()
    merge = desk.kube.merge

    async def dropping(*where: Any, subresource: str = "") -> Object:
        answer = await merge(*where, subresource=subresource)
        desk.kube.edit(PARTI_CLUSTER, "shop", "orders", {"status": {"unknown": None}})
        found = desk.kube.find(PARTI_CLUSTER, "shop", "orders")
        assert found is not None
        return {**answer, "status": found["status"]}

    desk.kube.merge = dropping  # type: ignore[method-assign,assignment]
    desk.plan = replace(desk.plan, status={**_STATUS, "unknown": "x"})
    for _ in range(3):
        desk.run()
    assert desk.kube.calls["merge", "particlusters"] == 1
    desk.kube.edit(PARTI_CLUSTER, "shop", "orders", {"status": {"phase": "Faked"}})
    desk.run()
    assert desk.status() == _STATUS


def test_a_spec_that_cannot_be_carried_out_is_told() -> None:
    desk = _Desk()
    containers = [{"name": "parti-sidecar", "image": "x"}]
    desk.kube.put(particluster(template={"spec": {"containers": containers}}))
    assert desk.run() == 60_000
    assert desk.status() == {"phase": "Degraded"}
    assert desk.reasons() == ["InvalidSpec"]
    assert desk.looks == []
    assert desk.run() == 60_000
    assert desk.kube.calls["merge", "particlusters"] == 1


@pytest.mark.parametrize(
    "bug", [RuntimeError("bug"), AssertionError(), InvalidSpecError([Problem("spec", "x")])]
)
def test_a_bug_ends_the_pass_and_nothing_else(bug: Exception) -> None:
    desk = _desk()
    desk.bug = bug
    if isinstance(bug, InvalidSpecError):
        assert desk.run() == 60_000
        return
    with pytest.raises(PassFailedError):
        desk.run()
    assert desk.passes("failed") == 1


def test_without_the_lease_a_pass_fails_before_it_does_anything() -> None:
    desk = _desk()
    desk.lease.remaining_ms = 0
    desk.plan = replace(desk.plan, actions=(ApplyChild(_SERVICE),))
    with pytest.raises(PassFailedError):
        desk.run()
    assert desk.kube.calls["apply", "services"] == 0
    assert desk.status() is None


def test_the_reading_follows_the_status() -> None:
    desk = _desk()
    conditions = [
        {"type": "Ready", "status": "True"},
        {"type": "Degraded", "status": "True"},
        {"type": "QuorumHealthy", "status": "Unknown"},
    ]
    status = {
        "phase": "Scaling",
        "conditions": conditions,
        "replicas": 5,
        "readyReplicas": 4,
        "partitions": {"total": 64, "unowned": 2, "moving": 3},
    }
    desk.plan = replace(desk.plan, status=status)
    desk.run()
    reading = desk.metrics.clusters[ORDERS]
    assert (reading.phase, reading.ready, reading.degraded, reading.quorum_healthy) == (
        "Scaling",
        True,
        True,
        False,
    )
    assert (reading.replicas, reading.ready_replicas) == (3, 4)  # wanted by the spec; seen
    assert (reading.partitions_unowned, reading.partitions_moving) == (2, 3)
    text = desk.metrics.text().decode()
    assert (
        'parti_operator_cluster_phase{cluster="orders",namespace="shop",phase="Scaling"} 1.0'
        in text
    )
    assert (
        'parti_operator_cluster_unowned_partitions{cluster="orders",namespace="shop"} 2.0' in text
    )


_Values = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abcd"), inner),
    max_leaves=12,
)
_Objects = st.dictionaries(st.sampled_from("abcd"), _Values)


@given(before=_Objects, after=_Objects)
def test_a_merge_patch_makes_one_of_the_other(before: Object, after: Object) -> None:
    patch = _merge_patch(before, after)
    assert _merged(before, patch) == after
    assert (patch == {}) == (before == after)
