"""The whole loop on a world in memory: from a PartiCluster to a cluster that serves, and back.

What the plan decides is tested beside the plan; here it is that looks, actions, statuses, crashes,
errors of the API and old caches go together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from parti_operator import names
from parti_operator.kube_api import (
    CLAIM,
    CONFIG_MAP,
    EVENT,
    PARTI_CLUSTER,
    POD,
    SERVICE,
    STATEFUL_SET,
    Kind,
    KubeError,
)
from tests.parti_operator.memory_kube import Call
from tests.parti_operator.rig import OperatorRun, Rig

Script = Callable[[Rig], Awaitable[None]]


def _play(rig: Rig, script: Callable[[OperatorRun], Awaitable[None]]) -> None:
    """The script beside an operator that runs to the end."""

    async def main() -> None:
        run = await rig.operator()
        try:
            await script(run)
        finally:
            await run.end()

    rig.play(main)


def _reasons(rig: Rig) -> list[str]:
    return [event["reason"] for event in rig.kube.all(EVENT)]


# --- the ordinary life of a cluster


def test_a_cluster_is_made_bootstrapped_once_and_ready() -> None:
    rig = Rig()

    async def script(_: OperatorRun) -> None:
        created = rig.create()
        await rig.until(lambda: rig.is_settled(3), "ready", within_s=30)
        assert rig.sidecars.bootstraps == ["shop/orders"]
        assert rig.status()["clusterID"] == created["metadata"]["uid"]
        assert "Bootstrapped" in _reasons(rig)

    _play(rig, script)


def test_scaling_up_and_down_drains_and_loses_nothing() -> None:
    rig = Rig()

    async def script(_: OperatorRun) -> None:
        rig.create()
        await rig.until(lambda: rig.is_settled(3), "ready")
        rig.change(replicas=5)
        await rig.until(lambda: rig.is_settled(5), "scaled up")
        rig.change(replicas=2)
        await rig.until(lambda: rig.is_settled(2), "scaled down")
        await asyncio.sleep(5)
        assert rig.pods() == ["orders-0", "orders-1"]
        assert rig.world.partitions_lost == 0
        assert [claim["metadata"]["name"] for claim in rig.kube.all(CLAIM)] == [
            "parti-data-orders-0",
            "parti-data-orders-1",
        ]

    _play(rig, script)


def test_a_new_template_rolls_every_pod_and_loses_nothing() -> None:
    rig = Rig()

    async def script(_: OperatorRun) -> None:
        rig.create()
        await rig.until(lambda: rig.is_settled(3), "ready")
        before = {pod["metadata"]["uid"] for pod in rig.kube.all(POD)}
        rig.change(template={"spec": {"containers": [{"name": "app", "image": "app:2"}]}})
        await rig.until(lambda: _is_new(rig, before) and rig.is_settled(3), "rolled")
        assert rig.world.partitions_lost == 0
        assert all(m.intent == "none" for m in rig.raft().members.values())

    _play(rig, script)


def _is_new(rig: Rig, before: set[str]) -> bool:
    return not before & {pod["metadata"]["uid"] for pod in rig.kube.all(POD)}


def test_a_lost_disk_comes_back_as_a_new_member() -> None:
    rig = Rig()

    async def script(_: OperatorRun) -> None:
        rig.create()
        await rig.until(lambda: rig.is_settled(3), "ready")
        members = set(rig.raft().members)
        rig.world.lose_disk("shop", "orders-2", "parti-data-orders-2")

        def healed() -> bool:
            return set(rig.raft().members) != members and rig.is_settled(3)

        await rig.until(healed, "healed", within_s=900)
        assert rig.sidecars.bootstraps == ["shop/orders"]

    _play(rig, script)


def test_deleting_the_cluster_leaves_only_what_is_kept() -> None:
    rig = Rig()

    async def script(run: OperatorRun) -> None:
        rig.create()
        await rig.until(lambda: rig.is_settled(3), "ready")
        rig.kube.remove(PARTI_CLUSTER, "shop", "orders")
        await asyncio.sleep(60)
        assert rig.pods() == []
        assert list(rig.kube.all(STATEFUL_SET)) == []
        assert len(list(rig.kube.all(CLAIM))) == 3
        assert run.metrics.clusters == {}

    _play(rig, script)


def test_a_cluster_that_is_made_anew_over_kept_disks_goes_on() -> None:
    rig = Rig()

    async def script(_: OperatorRun) -> None:
        rig.create()
        await rig.until(lambda: rig.is_settled(3), "ready")
        rig.kube.remove(PARTI_CLUSTER, "shop", "orders")
        await asyncio.sleep(60)
        rig.create()
        await rig.until(lambda: rig.is_settled(3), "ready again")
        assert rig.sidecars.bootstraps == ["shop/orders"]

    _play(rig, script)


# --- drift, conflicts, bad specs


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (SERVICE, "orders"),
        (SERVICE, "orders-peers"),
        (CONFIG_MAP, "orders-sidecar"),
    ],
)
def test_a_deleted_child_is_back_within_five_seconds(kind: Kind, name: str) -> None:
    rig = Rig()

    async def script(_: OperatorRun) -> None:
        rig.create()
        await rig.until(lambda: rig.is_settled(3), "ready")
        rig.kube.remove(kind, "shop", name)
        await rig.until(
            lambda: rig.kube.find(kind, "shop", name) is not None, "repaired", within_s=5
        )

    _play(rig, script)


def test_an_edited_child_is_repaired_within_five_seconds() -> None:
    rig = Rig()

    async def script(_: OperatorRun) -> None:
        rig.create()
        await rig.until(lambda: rig.is_settled(3), "ready")
        rig.kube.edit(SERVICE, "shop", "orders", {"spec": {"selector": {"app": "mine"}}})
        rig.kube.edit(STATEFUL_SET, "shop", "orders", {"spec": {"replicas": 7}})

        def repaired() -> bool:
            service = rig.kube.find(SERVICE, "shop", "orders")
            stateful_set = rig.kube.find(STATEFUL_SET, "shop", "orders")
            assert service is not None
            assert stateful_set is not None
            selected = service["spec"]["selector"].get(names.CLUSTER_LABEL)
            return (selected, stateful_set["spec"]["replicas"]) == ("orders", 3)

        await rig.until(repaired, "repaired", within_s=5)

    _play(rig, script)


def test_what_others_add_to_a_child_is_taken_away_within_five_seconds_and_once() -> None:
    rig = Rig()
    place = (STATEFUL_SET, "shop", "orders")
    addition = {"spec": {"template": {"spec": {"nodeSelector": {"disk": "fast"}}}}}

    def pod() -> Any:
        found = rig.kube.find(*place)
        assert found is not None
        return found["spec"]["template"]["spec"]

    async def script(_: OperatorRun) -> None:
        rig.create()
        await rig.until(lambda: rig.is_settled(3), "ready")
        rig.kube.edit(*place, addition)
        assert pod()["nodeSelector"] == {"disk": "fast"}
        await rig.until(lambda: "nodeSelector" not in pod(), "repaired", within_s=5)
        await rig.until(lambda: rig.is_settled(3), "at rest")
        writes = rig.kube.calls["apply", "statefulsets"]
        rig.kube.edit(*place, {"metadata": {"labels": {"team": "orders"}}})
        await asyncio.sleep(120)
        assert rig.kube.calls["apply", "statefulsets"] == writes

    _play(rig, script)


def test_a_template_that_the_api_server_refuses_degrades_until_it_is_corrected() -> None:
    rig = Rig()

    def degraded() -> tuple[str, str]:
        rows = rig.status().get("conditions") or ()
        return next(((r["status"], r["reason"]) for r in rows if r["type"] == "Degraded"), ("", ""))

    async def script(_: OperatorRun) -> None:
        rig.create()
        await rig.until(lambda: rig.is_settled(3), "ready")
        rig.kube.fail("apply", "statefulsets", 422, times=1_000)
        rig.change(template={"spec": {"containers": [{"name": "app", "image": "app:2"}]}})
        await rig.until(lambda: degraded() == ("True", "ActionFailed"), "told", within_s=10)
        writes = rig.kube.calls["merge", "particlusters"]
        await asyncio.sleep(300)
        assert rig.kube.calls["merge", "particlusters"] == writes, "it is told once"
        rig.kube.rules.clear()
        rig.change(template={"spec": {"containers": [{"name": "app", "image": "app:3"}]}})
        await rig.until(lambda: rig.is_settled(3), "ready again")
        assert degraded() == ("False", "AsExpected")

    _play(rig, script)


def test_an_object_of_somebody_else_is_never_taken_over() -> None:
    rig = Rig()
    foreign = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "orders", "namespace": "shop"},
        "spec": {"selector": {"app": "mine"}},
    }

    async def script(_: OperatorRun) -> None:
        rig.kube.put(foreign)
        rig.create()
        await rig.until(lambda: "NameConflict" in _reasons(rig), "conflict told", within_s=30)
        await asyncio.sleep(30)
        found = rig.kube.find(SERVICE, "shop", "orders")
        assert found is not None
        assert found["spec"] == foreign["spec"]
        assert "ownerReferences" not in found["metadata"]
        degraded = {c["type"]: c for c in rig.status()["conditions"]}["Degraded"]
        assert (degraded["status"], degraded["reason"]) == ("True", "NameConflict")

    _play(rig, script)


def test_a_bad_spec_is_told_and_a_repaired_one_followed() -> None:
    rig = Rig()

    async def script(_: OperatorRun) -> None:
        rig.create(template={"spec": {"containers": [{"name": "parti-sidecar", "image": "x"}]}})
        await rig.until(lambda: "InvalidSpec" in _reasons(rig), "told", within_s=10)
        assert rig.status()["observedGeneration"] == 1
        rig.change(template={"spec": {"containers": [{"name": "app", "image": "x"}]}})
        await rig.until(lambda: rig.is_settled(3), "ready", within_s=60)

    _play(rig, script)


# --- errors of the API


@pytest.mark.parametrize(
    ("status", "moment"),
    [(0, "after"), (409, "before"), (410, "before"), (429, "before"), (500, "after")],
)
def test_errors_of_the_api_are_overcome(status: int, moment: str) -> None:
    rig = Rig(seed=status)

    def fail_now_and_then(call: Call) -> None:
        if call.moment == moment and rig.chance.random() < 0.05:
            raise KubeError(status, "Injected", call.verb)

    async def script(_: OperatorRun) -> None:
        rig.kube.rules.append(fail_now_and_then)
        rig.create()
        await rig.until(lambda: rig.is_settled(3), "ready", within_s=600)
        rig.change(replicas=2)
        await rig.until(lambda: rig.is_settled(2), "scaled", within_s=600)
        assert rig.sidecars.bootstraps == ["shop/orders"]
        assert rig.world.partitions_lost == 0

    _play(rig, script)


def test_an_api_that_is_away_for_long_is_waited_for_without_haste() -> None:
    rig = Rig()

    def away(_: Call) -> None:
        raise KubeError(0, "Timeout", "no answer")

    async def script(_: OperatorRun) -> None:
        rig.create()
        await rig.until(lambda: rig.is_settled(3), "ready")
        rig.kube.rules.append(away)
        rig.change(replicas=4)
        before = rig.kube.requests()
        await asyncio.sleep(600)
        assert rig.kube.requests() - before < 400
        rig.kube.rules.clear()
        await rig.until(lambda: rig.is_settled(4), "scaled", within_s=90)

    _play(rig, script)


def test_an_old_cache_never_leads_to_a_wrong_deed() -> None:
    """Watches tell nothing while the cluster is scaled down and up again behind them."""
    rig = Rig()

    async def script(run: OperatorRun) -> None:
        rig.create(replicas=5)
        await rig.until(lambda: rig.is_settled(5), "ready")
        with rig.kube.hold():
            rig.change(replicas=2)
            run.queue.add(next(run.cache.clusters()))
            await asyncio.sleep(30)
            rig.change(replicas=5)
            run.queue.add(next(run.cache.clusters()))
            await asyncio.sleep(30)
            assert len(rig.pods()) == 5  # the cache never said that fewer are wanted
        await rig.until(lambda: rig.is_settled(5), "settled")
        assert rig.world.partitions_lost == 0

    _play(rig, script)


# --- crashes


_ACTIONS_OF_SCENARIOS = {
    "make": ("ApplyChild#1", "ApplyChild#5", "Bootstrap", "DescribeMember#1", "DescribeMember#3"),
    "shrink": ("SetIntent#1", "SetIntent#2", "SetIntent#3", "TransferLeader", "ApplyChild#1"),
    "roll": ("ApplyChild#1", "SetIntent#1", "SetIntent#4", "EvictPod#1", "EvictPod#3"),
    "policy": ("SetPolicy",),
}


async def _make(rig: Rig) -> None:
    rig.create()


async def _shrink(rig: Rig) -> None:
    voters = rig.raft().voters()
    rig.raft().leader = max(voter.member_id for voter in voters)  # leadership has to go, too
    rig.change(replicas=2)


async def _roll(rig: Rig) -> None:
    rig.change(template={"spec": {"containers": [{"name": "app", "image": "app:2"}]}})


async def _policy(rig: Rig) -> None:
    rig.change(rebalance={"mode": "Manual", "maxConcurrentMoves": 2})


_SCENARIOS: dict[str, tuple[Script, int]] = {
    "make": (_make, 3),
    "shrink": (_shrink, 2),
    "roll": (_roll, 4),
    "policy": (_policy, 4),
}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    ("scenario", "action"),
    [(name, action) for name, actions in _ACTIONS_OF_SCENARIOS.items() for action in actions],
)
def test_a_crash_anywhere_changes_nothing_of_the_end(
    scenario: str, action: str, moment: str
) -> None:
    rig = Rig()
    change, replicas = _SCENARIOS[scenario]

    async def main() -> None:
        if scenario != "make":
            first = await rig.operator()
            rig.create(replicas=4)
            await rig.until(lambda: rig.is_settled(4), "ready")
            await first.end()
        before = {pod["metadata"]["uid"] for pod in rig.kube.all(POD)}
        doomed = await rig.operator(f"{moment}:{action}")
        await change(rig)
        await rig.until(doomed.crashed.is_set, f"crashed {moment} {action}")
        await doomed.end()
        await asyncio.sleep(3)
        second = await rig.operator()
        await rig.until(lambda: _is_at_the_end(rig, scenario, replicas, before), "at the end")
        await second.end()
        assert rig.sidecars.bootstraps == ["shop/orders"]
        assert rig.world.partitions_lost == 0

    rig.play(main)


def _is_at_the_end(rig: Rig, scenario: str, replicas: int, before: set[str]) -> bool:
    if not rig.is_settled(replicas) or (scenario == "roll" and not _is_new(rig, before)):
        return False
    rebalances = rig.raft().policy.rebalance
    return rebalances is (scenario != "policy")
