"""The plan in a model world: beginning, scaling, rolling, losses, in order and without faults."""

from __future__ import annotations

import pytest

from tests.parti_operator.plan.model_operator import run, settle
from tests.parti_operator.plan.model_world import UID, World


@pytest.fixture
def world() -> World:
    world = World()
    settle(world)
    return world


def names_of(world: World) -> list[str]:
    assert world.cluster is not None
    return sorted(member.name for member in world.cluster.members.values())


def test_a_cluster_begins_once_and_becomes_ready(world: World) -> None:
    assert world.status["clusterID"] == UID
    assert len(world.founded) == 1
    assert names_of(world) == ["orders-0", "orders-1", "orders-2"]
    assert world.status["ready"] == "3/3"


def test_an_idle_cluster_plans_nothing_and_its_status_stays(world: World) -> None:
    before = world.status
    for _ in range(10):
        world.tick()
        made = run(world)
        assert not made.actions
        assert not made.look_closer
    assert world.status == before
    assert made.requeue_after_ms == 60_000


@pytest.mark.parametrize("replicas", [1, 2, 5])
def test_scaling_ends_at_the_wanted_number(world: World, replicas: int) -> None:
    world.edit(replicas=replicas)
    settle(world)
    assert names_of(world) == [f"orders-{ordinal}" for ordinal in range(replicas)]
    assert world.replicas == replicas
    world.edit(replicas=3)
    settle(world)
    assert names_of(world) == [f"orders-{ordinal}" for ordinal in range(3)]


def test_a_roll_replaces_every_pod_once_with_its_disk(world: World) -> None:
    uids = {pod.uid for pod in world.pods.values()}
    disks = [world.pods[ordinal].disk.member_id for ordinal in range(3)]
    assert world.cluster is not None
    led_by = world.cluster.members[world.cluster.leader].name
    world.set_image("example/orders:2")
    settle(world)
    assert not uids & {pod.uid for pod in world.pods.values()}
    assert [world.pods[ordinal].disk.member_id for ordinal in range(3)] == disks
    evicted = [line for line in world.log if "EvictPod" in line]
    assert len(evicted) == 3
    assert led_by in evicted[-1]
