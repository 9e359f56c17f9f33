"""Looks: the cached and the live one give the same value; only the live one is called so."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from parti_operator import names
from parti_operator.cache import ClusterKey
from parti_operator.kube_api import (
    CONFIG_MAP,
    NETWORK_POLICY,
    PARTI_CLUSTER,
    POD,
    SERVICE,
    STATEFUL_SET,
    KubeError,
    Object,
)
from parti_operator.observe import Observer
from parti_operator.observed import ChildKey
from tests.parti_operator.defaults import SIDECAR_IMAGE
from tests.parti_operator.rig import OperatorRun, Rig

ORDERS = ClusterKey("shop", "orders")


def _observer(rig: Rig, run: OperatorRun, *, reads_nodes: bool = True) -> Observer:
    return Observer(
        rig.kube,
        run.cache,
        rig.sidecars,
        sidecar_image=SIDECAR_IMAGE,
        reads_nodes=reads_nodes,
        optional_kinds=frozenset,
    )


async def _settled(rig: Rig) -> OperatorRun:
    """A cluster of three, and an operator that has stopped and goes on watching."""
    run = await rig.operator()
    rig.create()
    await rig.until(lambda: rig.is_settled(3), "ready")
    await asyncio.sleep(10)
    await run.end()
    rig.kube.feed(run.cache)
    return run


def test_both_looks_see_the_same() -> None:
    rig = Rig()

    async def main() -> None:
        observer = _observer(rig, await _settled(rig))
        cached = await observer.look(ORDERS)
        assert cached is not None
        live = await observer.look_live(ORDERS, cached)
        assert live is not None
        assert not cached.observed.live
        assert live.observed.live
        same = ("cluster", "status", "stateful_set", "pods", "claims", "sidecars", "view", "nodes")
        for field in same:
            assert getattr(live.observed, field) == getattr(cached.observed, field), field
        assert set(live.observed.children) == set(cached.observed.children)
        assert live.addresses == cached.addresses
        assert list(live.addresses) == ["orders-0", "orders-1", "orders-2"]
        assert live.observed.view is not None
        assert live.observed.nodes is not None
        assert len(live.observed.nodes) == 3

    rig.play(main)


def test_without_the_right_to_nodes_nothing_is_said_of_them() -> None:
    rig = Rig()

    async def main() -> None:
        look = await _observer(rig, await _settled(rig), reads_nodes=False).look(ORDERS)
        assert look is not None
        assert look.observed.nodes is None

    rig.play(main)


def test_an_object_of_somebody_else_is_seen_by_its_name_only_live() -> None:
    rig = Rig()
    foreign: Object = {
        "apiVersion": NETWORK_POLICY.api_version,
        "kind": NETWORK_POLICY.name,
        "metadata": {"name": names.network_policy("orders"), "namespace": "shop"},
        "spec": {},
    }

    async def main() -> None:
        observer = _observer(rig, await _settled(rig))
        rig.kube.put(foreign)
        cached = await observer.look(ORDERS)
        assert cached is not None
        assert cached.observed.foreign == ()
        live = await observer.look_live(ORDERS, cached)
        assert live is not None
        assert live.observed.foreign == (ChildKey("NetworkPolicy", "orders"),)

    rig.play(main)


def test_a_child_that_lost_its_owner_is_nobodys_and_not_ours() -> None:
    rig = Rig()

    async def main() -> None:
        observer = _observer(rig, await _settled(rig))
        rig.kube.edit(SERVICE, "shop", "orders", {"metadata": {"ownerReferences": None}})
        look = await observer.look(ORDERS)
        assert look is not None
        assert look.observed.foreign == (ChildKey("Service", "orders"),)
        assert ChildKey("Service", "orders") not in look.observed.children

    rig.play(main)


def test_pods_of_another_stateful_set_are_not_counted() -> None:
    rig = Rig()

    async def main() -> None:
        observer = _observer(rig, await _settled(rig))
        stray: Object = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "orders-9",
                "namespace": "shop",
                "labels": {names.CLUSTER_LABEL: "orders"},
                "ownerReferences": [{"kind": "StatefulSet", "uid": "other", "controller": True}],
            },
            "spec": {},
            "status": {"phase": "Running", "podIP": "10.9.9.9"},
        }
        rig.kube.put(stray)
        look = await observer.look(ORDERS)
        assert look is not None
        assert [pod.name for pod in look.observed.pods] == ["orders-0", "orders-1", "orders-2"]
        assert "orders-9" not in look.addresses

    rig.play(main)


def test_other_objects_with_the_clusters_label_are_no_children() -> None:
    rig = Rig()

    async def main() -> None:
        observer = _observer(rig, await _settled(rig))
        mine: Object = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "my-own",
                "namespace": "shop",
                "labels": {names.CLUSTER_LABEL: "orders"},
            },
        }
        rig.kube.put(mine)
        look = await observer.look(ORDERS)
        assert look is not None
        assert look.observed.foreign == ()
        assert ChildKey(CONFIG_MAP.name, "my-own") not in look.observed.children

    rig.play(main)


def test_what_a_pod_said_is_not_put_into_its_successors_mouth() -> None:
    rig = Rig()

    async def main() -> None:
        observer = _observer(rig, await _settled(rig))
        cached = await observer.look(ORDERS)
        assert cached is not None
        assert set(cached.observed.sidecars) == {"orders-0", "orders-1", "orders-2"}
        pods = tuple(
            replace(pod, uid="earlier") if pod.name == "orders-1" else pod
            for pod in cached.observed.pods
        )
        earlier = replace(cached, observed=replace(cached.observed, pods=pods))
        live = await observer.look_live(ORDERS, earlier)
        assert live is not None
        assert set(live.observed.sidecars) == {"orders-0", "orders-2"}

    rig.play(main)


def test_a_cluster_that_is_gone_gives_no_look() -> None:
    rig = Rig()

    async def main() -> None:
        run = await _settled(rig)
        observer = _observer(rig, run)
        cached = await observer.look(ORDERS)
        assert cached is not None
        rig.kube.remove(PARTI_CLUSTER, "shop", "orders")
        assert await observer.look_live(ORDERS, cached) is None
        assert await observer.look(ORDERS) is None
        assert await observer.read_resource(ORDERS) is None

    rig.play(main)


@pytest.mark.parametrize(
    ("verb", "plural"),
    [("get", PARTI_CLUSTER.plural), ("get", STATEFUL_SET.plural), ("list", POD.plural)],
)
def test_a_live_look_is_whole_or_none(verb: str, plural: str) -> None:
    rig = Rig()

    async def main() -> None:
        observer = _observer(rig, await _settled(rig))
        cached = await observer.look(ORDERS)
        assert cached is not None
        rig.kube.fail(verb, plural, 500)
        with pytest.raises(KubeError):
            await observer.look_live(ORDERS, cached)

    rig.play(main)
