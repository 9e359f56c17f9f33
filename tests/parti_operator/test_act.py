"""Actions one by one: what they ask of the API and of sidecars, and how their failures are told."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from parti_operator import names
from parti_operator.act import EVICTION_AGAIN_MS, ActionFailedError, Actor
from parti_operator.actions import (
    Action,
    ApplyChild,
    Bootstrap,
    ClearAnnotation,
    DeleteChild,
    DeleteClaim,
    DeletePod,
    EvictPod,
    GrowClaim,
    SetIntent,
    TransferLeader,
)
from parti_operator.election import LeaseLostError
from parti_operator.failpoints import Failpoints
from parti_operator.kube_api import CLAIM, PARTI_CLUSTER, POD, SERVICE, KubeError, Object
from parti_operator.observe import Look
from parti_operator.observed import (
    ChildKey,
    ClusterView,
    Intent,
    Observed,
    PartitionCounts,
    PodSeen,
    SidecarSeen,
    SidecarState,
)
from parti_operator.sidecars import SidecarAction, SidecarError, SidecarsSeen
from parti_operator.spec import parse
from tests.parti_operator.defaults import SIDECAR_IMAGE, particluster
from tests.parti_operator.memory_kube import Call, MemoryKube
from tests.parti_operator.virtual_time import run_virtual


class _Told:
    """Sidecars that note what they are told, or fail, or never answer."""

    def __init__(self) -> None:
        self.told: list[tuple[str, SidecarAction]] = []
        self.error: SidecarError | None = None
        self.frozen = False

    async def look(self, addresses: object) -> SidecarsSeen:
        return SidecarsSeen()

    async def carry_out(self, address: str, action: SidecarAction) -> None:
        if self.frozen:
            await asyncio.sleep(1_000_000)
        if self.error is not None:
            raise self.error
        self.told.append((address, action))


class _Permission:
    remaining_ms = 10_000


class _Desk:
    """An actor with everything around it in reach of the test."""

    def __init__(self, failpoint: str = "") -> None:
        self.kube = MemoryKube()
        self.sidecars = _Told()
        self.permission = _Permission()
        self.crashes = 0
        self.counted: Counter[tuple[str, str]] = Counter()
        self.resource = self.kube.put(particluster())
        self.look = Look(self.resource, _observed(self.resource), {"orders-0": "10.0.0.1:5102"})
        self.actor = Actor(
            self.kube,
            self.sidecars,
            self.permission,
            failpoints=Failpoints(failpoint, self._crash),
            count=lambda action, outcome: self.counted.update([(action, outcome)]),
        )

    def _crash(self) -> None:
        self.crashes += 1

    def do(self, *actions: Action) -> None:
        run_virtual(self.actor.carry_out(self.look, actions))

    def fails(self, action: Action) -> ActionFailedError:
        with pytest.raises(ActionFailedError) as failure:
            self.do(action)
        return failure.value


def _observed(resource: Object, **changes: Any) -> Observed:
    pod = PodSeen(name="orders-0", uid="pod-0", ordinal=0, revision="1")
    spec = parse(resource, SIDECAR_IMAGE)
    observed = Observed(
        cluster=spec,
        status={},
        annotations={},
        deleting=False,
        live=True,
        stateful_set=None,
        pods=(pod,),
        claims=(),
        children={},
        foreign=(),
        optional_kinds=frozenset(),
        nodes=None,
        sidecars={"orders-0": _said(7)},
        view=ClusterView(
            cluster_id="c",
            incarnation=0,
            term=1,
            leader=7,
            config_index=1,
            policy=spec.policy(3),
            members=(),
            partitions=PartitionCounts(0, 0, 0, 0),
        ),
    )
    return replace(observed, **changes)


def _said(member_id: int) -> SidecarSeen:
    return SidecarSeen(
        member_id=member_id,
        state=SidecarState.READY,
        cluster_id="c",
        incarnation=0,
        leader=7,
        term=1,
        commit_index=1,
        apply_lag=0,
        partitions_owned=0,
        version="0.1.0",
    )


def _service(**spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "orders", "namespace": "shop"},
        "spec": spec,
    }


def _pod_object() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "orders-0", "namespace": "shop"},
        "spec": {},
    }


def test_a_new_child_is_made_and_an_own_one_overwritten() -> None:
    desk = _Desk()
    desk.do(ApplyChild(_service(selector={"a": "1"})))
    found = desk.kube.edit(SERVICE, "shop", "orders", {"spec": {"selector": {"a": "edited"}}})
    children = {ChildKey("Service", "orders"): found}
    desk.look = replace(desk.look, observed=replace(desk.look.observed, children=children))
    desk.do(ApplyChild(_service(selector={"a": "1"})))
    again = desk.kube.find(SERVICE, "shop", "orders")
    assert again is not None
    assert again["spec"] == {"selector": {"a": "1"}}


def test_a_child_that_somebody_made_a_moment_ago_is_not_taken_over() -> None:
    """The look said that there is none: then it is made without force."""
    desk = _Desk()
    desk.kube.put(_service(selector={"theirs": "x"}, clusterIP="None"))
    failure = desk.fails(ApplyChild(_service(selector={"a": "1"}, clusterIP="")))
    assert not failure.needs_people
    found = desk.kube.find(SERVICE, "shop", "orders")
    assert found is not None
    assert found["spec"]["selector"] == {"theirs": "x"}


@pytest.mark.parametrize("uid_of", ["same", "other"])
def test_deletes_name_their_victim(uid_of: str) -> None:
    desk = _Desk()
    service = desk.kube.put(_service())
    pod = desk.kube.put(_pod_object())
    claim = desk.kube.put({**_pod_object(), "kind": "PersistentVolumeClaim", "apiVersion": "v1"})

    def uid(object_: Object) -> str:
        return str(object_["metadata"]["uid"]) if uid_of == "same" else "other"

    desk.do(
        DeleteChild("v1", "Service", "orders", uid(service)),
        DeletePod("orders-0", uid(pod), force=True),
        DeleteClaim("orders-0", uid(claim)),
    )
    gone = desk.kube.find(SERVICE, "shop", "orders") is None
    forced = desk.kube.find(POD, "shop", "orders-0") is None
    begun = desk.kube.find(CLAIM, "shop", "orders-0")
    assert begun is not None
    assert gone == forced == ("deletionTimestamp" in begun["metadata"]) == (uid_of == "same")


def test_a_pod_is_evicted_or_waited_for() -> None:
    desk = _Desk()
    pod = desk.kube.put(_pod_object())
    desk.kube.evictions_allowed = False
    failure = desk.fails(EvictPod("orders-0", pod["metadata"]["uid"]))
    assert failure.retry_after_ms == EVICTION_AGAIN_MS
    assert not failure.needs_people
    desk.kube.evictions_allowed = True
    desk.do(EvictPod("orders-0", pod["metadata"]["uid"]))
    found = desk.kube.find(POD, "shop", "orders-0")
    assert found is not None
    assert "deletionTimestamp" in found["metadata"]


def test_a_claim_grows_if_it_is_the_one() -> None:
    desk = _Desk()
    claim = desk.kube.put(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "d", "namespace": "shop"},
            "spec": {"resources": {"requests": {"storage": "1Gi"}}},
        }
    )
    desk.fails(GrowClaim("d", "other", "2Gi"))
    desk.do(GrowClaim("d", claim["metadata"]["uid"], "2Gi"))
    found = desk.kube.find(CLAIM, "shop", "d")
    assert found is not None
    assert found["spec"]["resources"]["requests"]["storage"] == "2Gi"


@pytest.mark.parametrize(("value", "left"), [("yes", None), ("changed", "yes")])
def test_an_order_is_taken_off_only_as_it_was_read(value: str, left: str | None) -> None:
    desk = _Desk()
    key = names.SKIP_DRAIN_CHECK_ANNOTATION
    desk.kube.edit(PARTI_CLUSTER, "shop", "orders", {"metadata": {"annotations": {key: "yes"}}})
    desk.do(ClearAnnotation(key, value))
    found = desk.kube.find(PARTI_CLUSTER, "shop", "orders")
    assert found is not None
    assert found["metadata"]["annotations"].get(key) == left


def test_the_leaders_sidecar_is_told() -> None:
    desk = _Desk()
    action = SetIntent(9, Intent.DRAIN)
    desk.do(action)
    assert desk.sidecars.told == [("10.0.0.1:5102", action)]
    assert desk.counted == {("SetIntent", "done"): 1}


def test_without_a_leader_nobody_is_told() -> None:
    desk = _Desk()
    desk.look = replace(desk.look, observed=_observed(desk.resource, view=None))
    failure = desk.fails(TransferLeader(9))
    assert "no leader" in str(failure)
    desk.look = replace(
        desk.look, observed=_observed(desk.resource, sidecars={"orders-0": _said(8)})
    )
    assert "leader's pod" in str(desk.fails(TransferLeader(9)))


def _bootstrap(desk: _Desk, pod_uid: str) -> Bootstrap:
    policy = desk.look.observed.cluster.policy(3)
    return Bootstrap("orders-0", pod_uid, "c", 64, policy, 2_000)


def test_only_the_very_pod_that_was_meant_is_bootstrapped() -> None:
    desk = _Desk()
    desk.do(_bootstrap(desk, "pod-0"))
    assert len(desk.sidecars.told) == 1
    assert "not the one" in str(desk.fails(_bootstrap(desk, "pod-0-earlier")))
    desk.look = replace(desk.look, addresses={})
    assert "no address" in str(desk.fails(_bootstrap(desk, "pod-0")))
    assert len(desk.sidecars.told) == 1


def test_the_first_failure_ends_the_plan() -> None:
    desk = _Desk()
    desk.sidecars.error = SidecarError("SetIntent", "CONFLICT", "moved on")
    with pytest.raises(ActionFailedError, match="CONFLICT"):
        desk.do(ApplyChild(_service()), SetIntent(9, Intent.DRAIN), DeletePod("orders-0", "x"))
    assert desk.counted == {("ApplyChild", "done"): 1, ("SetIntent", "failed"): 1}
    assert desk.kube.calls["delete", "pods"] == 0


@pytest.mark.parametrize(
    ("status", "needs_people"),
    [(403, True), (422, True), (404, False), (409, False), (429, False), (500, False), (0, False)],
)
def test_people_are_told_of_what_will_not_pass(status: int, *, needs_people: bool) -> None:
    desk = _Desk()
    desk.kube.fail("apply", "services", status)
    assert desk.fails(ApplyChild(_service())).needs_people is needs_people


def test_the_api_may_say_when_to_come_back() -> None:
    desk = _Desk()

    def busy(call: Call) -> None:
        raise KubeError(429, "TooManyRequests", "later", retry_after_ms=7_000)

    desk.kube.rules.append(busy)
    assert desk.fails(ApplyChild(_service())).retry_after_ms == 7_000


def test_without_the_lease_nothing_is_done() -> None:
    desk = _Desk()
    desk.permission.remaining_ms = 0
    with pytest.raises(LeaseLostError):
        desk.do(ApplyChild(_service()))
    assert desk.kube.requests() == 0


def test_no_action_outlives_the_lease() -> None:
    desk = _Desk()
    desk.sidecars.frozen = True
    desk.permission.remaining_ms = 3_000

    async def main() -> float:
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(ActionFailedError):
            await desk.actor.carry_out(desk.look, (SetIntent(9, Intent.DRAIN),))
        return asyncio.get_running_loop().time() - began_s

    assert run_virtual(main()) == pytest.approx(3.0, abs=0.1)


def test_a_plan_from_a_look_that_may_be_old_is_a_bug() -> None:
    desk = _Desk()
    desk.look = replace(desk.look, observed=_observed(desk.resource, live=False))
    with pytest.raises(AssertionError, match="may be old"):
        desk.do(ApplyChild(_service()))


def test_failpoints_stand_around_every_action() -> None:
    desk = _Desk("after:ApplyChild#2")
    desk.do(ApplyChild(_service()), ApplyChild(_service()), ApplyChild(_service()))
    assert desk.crashes == 1
