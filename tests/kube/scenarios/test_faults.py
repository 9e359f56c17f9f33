"""What breaks on its own. Requests may fail, and say so honestly; no partition has two owners."""

from __future__ import annotations

import pytest

from tests.kube.scenarios.objects import NAME, SIDECAR, WORKER
from tests.kube.scenarios.world import World


@pytest.fixture(scope="module", autouse=True)
def _applied(world: World) -> None:
    world.apply()


@pytest.fixture(autouse=True)
def _whole(world: World, _applied: None) -> None:
    """Whatever the test before has left behind."""
    world.wait_whole()


@pytest.mark.parametrize("container", [SIDECAR, WORKER])
def test_a_killed_container_comes_back(world: World, container: str) -> None:
    pod = world.pod(f"{NAME}-1")
    restarts = world.restarts(f"{NAME}-1", container)
    with world.scenario(f"kill -9 of the {container} container", graceful=False):
        world.kill_container(pod, container)
        world.wait("its restart", lambda: world.restarts(f"{NAME}-1", container) > restarts)


def test_the_successor_of_a_pod_deleted_by_force_waits_for_its_end(world: World) -> None:
    name = f"{NAME}-2"
    with world.scenario("delete a pod by force", graceful=False):
        before = world.uid(name)
        world.kubectl("delete", "pod", name, "--force", "--grace-period=0")
        world.wait_replaced(name, before)


def test_a_node_without_power_is_left_and_comes_back(world: World) -> None:
    node = world.cluster.nodes().node(world.node_of(world.leader()))
    with world.scenario("power off of the leader's node", graceful=False):
        node.kill()
        try:
            world.wait_owned_without(node.name)
        finally:
            node.start()
        world.wait("the node", node.ready)


def test_the_pods_of_a_thawed_node_do_not_serve_what_others_own(world: World) -> None:
    node = world.cluster.nodes().node(world.node_of(world.leader()))
    title = "leader's node frozen until others own all, thawed"
    with world.scenario(title, graceful=False), world.frozen(node):
        world.wait_owned_without(node.name)


def test_a_node_that_is_cut_off_stops_serving_and_comes_back(world: World) -> None:
    node = world.cluster.nodes().node(world.node_of(world.leader()))
    with world.scenario("leader's node cut off until others own all, healed", graceful=False):
        node.cut()
        try:
            world.wait_owned_without(node.name)
        finally:
            node.heal()


def test_everything_comes_back_after_a_power_cut(world: World) -> None:
    testbed = world.cluster.nodes()
    before = world.processes()
    with world.scenario("power cut of the whole cluster", graceful=False):
        testbed.power_cut()
        testbed.up()
        # The API server knows of the time before until the kubelets report.
        world.wait("all containers anew", lambda: not before & world.processes())
