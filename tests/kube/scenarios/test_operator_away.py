"""The operator, the apiserver or the cluster's objects suffer, and the messages do not notice."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.kube.scenarios.installation import Installation
from tests.kube.scenarios.objects import NAME
from tests.kube.scenarios.world import World, is_ending

REPAIRED_S = 5.0
API_AWAY_S = 30.0
_OPERATOR = "operator"
PLACES = {
    "statefulset": ("apis/apps/v1", "statefulsets"),
    "service": ("api/v1", "services"),
    "poddisruptionbudget": ("apis/policy/v1", "poddisruptionbudgets"),
    "configmap": ("api/v1", "configmaps"),
}
# The children, and what somebody does to them.
CHILDREN: dict[str, Any] = {
    f"statefulset/{NAME}": {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}},
    f"service/{NAME}": {"spec": {"selector": {"app": "somebody-elses"}}},
    f"service/{NAME}-peers": {"spec": {"publishNotReadyAddresses": False}},
    f"poddisruptionbudget/{NAME}": {"spec": {"maxUnavailable": 3}},
    f"configmap/{NAME}-sidecar": {"data": {"sidecar.yaml": "drain_ms: 1"}},
}


@pytest.fixture(scope="module", autouse=True)
def _applied(world: World) -> None:
    world.apply()


@pytest.fixture(autouse=True)
def _whole(world: World, _applied: None) -> None:
    """Whatever the test before has left behind."""
    world.wait_whole()


def test_another_goes_on_when_the_leading_operator_dies_in_a_scale_down(
    world: World, installation: Installation
) -> None:
    world.scale(4)
    world.wait_whole()
    holder, leader = installation.holder(), installation.leader()
    with world.scenario("scale 4 to 3, the leading operator killed meanwhile", graceful=True):
        world.scale(3)
        world.wait("the scale-down", lambda: world.status().get("scaling"))
        world.kill_container(installation.pod(leader), _OPERATOR)
        # The standby, or what the kubelet starts in the pod of the killed one: who comes first.
        world.wait("another one to lead", lambda: installation.holder() not in {"", holder})
    installation.wait_ready()


def test_a_roll_goes_on_after_all_operators_died(world: World, installation: Installation) -> None:
    with world.scenario("change of image, both operators killed meanwhile", graceful=True):
        world.apply(image=world.images.app_next)
        world.wait("the roll", lambda: world.status().get("roll"))
        world.wait("a pod that ends", lambda: any(map(is_ending, world.pods())))
        for pod in installation.pods():
            world.kill_container(pod, _OPERATOR)
    assert {pod["spec"]["containers"][0]["image"] for pod in world.pods()} == {
        world.images.app_next
    }
    installation.wait_ready()


def test_children_that_are_deleted_come_back_at_once(world: World) -> None:
    before = {child["metadata"]["uid"] for child in children(world)}
    names = [name for name in CHILDREN if not name.startswith("statefulset")]
    with world.scenario("children deleted", graceful=True):
        world.kubectl("delete", *names, "--wait=false")
        world.kubectl("delete", "statefulset", NAME, "--cascade=orphan", "--wait=false")

        def anew() -> bool:
            uids = {child["metadata"]["uid"] for child in children(world)}
            return len(uids) == len(CHILDREN) and not uids & before

        world.wait("all children again", anew, REPAIRED_S)


def test_children_that_are_edited_are_repaired_at_once(world: World) -> None:
    def asked() -> list[Any]:
        return [child.get("spec") or child["data"] for child in children(world)]

    before = asked()
    with world.scenario("children edited", graceful=True):
        for name, edit in CHILDREN.items():
            world.kubectl("patch", name, "--type=merge", f"--patch={json.dumps(edit)}")
        world.wait("all children as before", lambda: asked() == before, REPAIRED_S)


def children(world: World) -> list[dict[str, Any]]:
    """Those that are there."""
    names = (name.split("/") for name in CHILDREN)
    found = (world.child(*PLACES[kind], name) for kind, name in names)
    return [child for child in found if child is not None]


def test_a_cluster_that_is_made_anew_goes_on_with_its_disks(world: World) -> None:
    before = world.status()["clusterID"]
    with world.scenario("PartiCluster deleted and made again", graceful=False):
        world.kubectl("delete", "particluster", NAME)
        world.wait("all pods to go", lambda: not world.pods())
        world.apply()
    assert world.status()["clusterID"] == before


def test_messages_flow_while_the_apiserver_is_away(
    world: World, installation: Installation
) -> None:
    testbed = world.cluster.nodes()
    with world.scenario("apiserver stopped for 30 s", graceful=True):
        testbed.stop_apiserver()
        try:
            time.sleep(API_AWAY_S)
        finally:
            testbed.start_apiserver()
    installation.wait_ready()
