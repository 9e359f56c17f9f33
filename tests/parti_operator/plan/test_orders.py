"""What people can order, and what is left for them to decide: on the model world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from parti_operator import names
from parti_operator.names import ConditionType
from parti_operator.observed import ChildKey, Intent, NodeState
from parti_operator.plan import plan
from parti_operator.plan.progress import stall_after_ms
from tests.parti_operator.plan.model_cluster import TICK_MS, RefusedError
from tests.parti_operator.plan.model_operator import run, settle
from tests.parti_operator.plan.model_world import UID, World

FORCE = names.FORCE_NEW_QUORUM_ANNOTATION
SKIP = names.SKIP_DRAIN_CHECK_ANNOTATION


@pytest.fixture
def world() -> World:
    world = World()
    settle(world)
    return world


def condition(world: World, kind: ConditionType) -> Mapping[str, Any]:
    rows = {row["type"]: row for row in world.status["conditions"]}
    row: Mapping[str, Any] = rows[kind]
    return row


def work(world: World, passes: int) -> None:
    for _ in range(passes):
        run(world)
        world.tick()


def lose(world: World, *ordinals: int) -> None:
    """Disks and pods, all at once and for good."""
    for ordinal in ordinals:
        world.claims[ordinal].deleting = True
        world.pods[ordinal].ending = 1
        world.pods[ordinal].down = 99
    world.tick()


def done(world: World, word: str) -> list[str]:
    return [line for line in world.log if word in line]


# --- a quorum that is lost


def test_a_lost_quorum_is_told_and_never_repaired_by_itself(world: World) -> None:
    lose(world, 1, 2)
    work(world, 200)
    assert condition(world, ConditionType.QUORUM_HEALTHY)["reason"] == "QuorumLost"
    assert UID in condition(world, ConditionType.QUORUM_HEALTHY)["message"]
    assert condition(world, ConditionType.DEGRADED)["status"] == "True"
    assert world.status["phase"] == "Degraded"
    assert not done(world, "ForceNewQuorum")


def test_an_order_with_the_uid_forms_a_new_quorum_of_all_pods(world: World) -> None:
    lose(world, 1, 2)
    work(world, 80)
    world.annotate(FORCE, UID)
    settle(world)
    cluster = world.cluster
    assert cluster is not None
    assert cluster.incarnation == 1
    assert len(done(world, "ForceNewQuorum")) == 1
    assert sorted(m.name for m in cluster.members.values()) == ["orders-0", "orders-1", "orders-2"]
    assert FORCE not in world.resource["metadata"]["annotations"]
    assert "forcedQuorum" not in world.status


def test_a_former_voter_that_comes_back_after_the_force_gets_a_new_disk(world: World) -> None:
    away = {world.pods[o].node for o in (1, 2)}
    for node in away:
        world.nodes[node] = NodeState.UNREACHABLE
    work(world, 80)
    world.annotate(FORCE, UID)
    work(world, 30)
    for node in away:
        world.nodes[node] = NodeState.READY
    settle(world)
    assert world.cluster is not None
    assert {pod.disk.incarnation for pod in world.pods.values()} == {1}
    assert len(world.cluster.members) == 3


def test_an_order_with_another_value_is_not_obeyed(world: World) -> None:
    lose(world, 1, 2)
    work(world, 80)
    world.annotate(FORCE, "yes please")
    work(world, 50)
    assert not done(world, "ForceNewQuorum")
    assert FORCE in world.resource["metadata"]["annotations"]


def test_an_order_is_dropped_when_there_is_a_quorum(world: World) -> None:
    world.annotate(FORCE, UID)
    settle(world)
    assert not done(world, "ForceNewQuorum")
    assert FORCE not in world.resource["metadata"]["annotations"]


def test_an_order_that_is_taken_back_before_it_was_carried_out_is_forgotten(world: World) -> None:
    lose(world, 1, 2)
    work(world, 80)
    world.annotate(FORCE, UID)
    run(world)  # writes the record
    assert "forcedQuorum" in world.status
    world.annotate(FORCE, None)
    work(world, 50)
    assert not done(world, "ForceNewQuorum")
    assert "forcedQuorum" not in world.status


# --- drains that do not end


def stuck(world: World) -> None:
    """Nobody is left to receive: the applications of those who stay lose their workers."""
    for ordinal in (0, 1):
        world.pods[ordinal].broken = True
    work(world, 5)
    world.edit(replicas=2)


def test_a_drain_without_a_receiver_waits_and_says_so(world: World) -> None:
    stuck(world)
    assert world.cluster is not None
    owned = world.cluster.owned(world.pods[2].disk.member_id)
    assert owned == 8
    work(world, 2 * stall_after_ms(2_000) // TICK_MS)
    assert world.cluster.owned(world.pods[2].disk.member_id) == owned
    assert condition(world, ConditionType.DEGRADED)["reason"] == "DrainStalled"
    assert "no remaining member" in condition(world, ConditionType.DEGRADED)["message"]
    assert world.replicas == 3


def test_the_override_lets_a_stalled_drain_go_on_and_goes_with_it(world: World) -> None:
    stuck(world)
    work(world, 2 * stall_after_ms(2_000) // TICK_MS)
    world.annotate(SKIP, "true")
    work(world, 60)
    assert world.replicas == 2
    assert world.cluster is not None
    assert len(world.cluster.members) == 2
    assert SKIP not in world.resource["metadata"]["annotations"]


def test_the_override_changes_nothing_for_a_drain_that_goes_on(world: World) -> None:
    world.annotate(SKIP, "true")
    world.edit(replicas=2)
    settle(world)
    assert world.replicas == 2
    assert SKIP not in world.resource["metadata"]["annotations"]


# --- disks that were kept


def test_a_recreated_cluster_goes_on_with_the_disks_that_were_kept(world: World) -> None:
    again = World(uid="another-uid")
    again.claims = world.claims
    again.cluster = world.cluster
    settle(again)
    assert again.status["clusterID"] == UID
    assert not again.founded
    assert {claim.cluster_id for claim in again.claims.values()} == {UID}


def test_disks_of_two_clusters_are_left_to_a_person(world: World) -> None:
    again = World(uid="another-uid")
    again.claims = world.claims
    again.claims[1].cluster_id = "a-third-one"
    work(again, 5)
    assert condition(again, ConditionType.DEGRADED)["reason"] == "BootstrapRefused"
    assert not again.children


def test_a_cluster_whose_disks_are_all_gone_is_not_founded_again(world: World) -> None:
    lose(world, 0, 1, 2)
    work(world, 100)
    assert condition(world, ConditionType.DEGRADED)["reason"] == "BootstrapRefused"
    assert len(world.founded) == 1


# --- other words of people


def test_a_paused_cluster_is_looked_at_and_left_alone(world: World) -> None:
    world.edit(paused=True, replicas=5)
    work(world, 5)
    assert world.replicas == 3
    assert world.status["phase"] == "Paused"
    assert condition(world, ConditionType.PAUSED)["status"] == "True"
    world.edit(paused=False)
    settle(world)
    assert world.replicas == 5


def test_a_person_s_drain_stays_while_the_operator_scales_and_rolls(world: World) -> None:
    assert world.cluster is not None
    member = world.pods[1].disk.member_id
    world.cluster.members[member].intent = Intent.DRAIN
    world.edit(replicas=4)
    settle(world)
    world.set_image("example/orders:2")
    settle(world)
    assert world.cluster.members[member].intent is Intent.DRAIN


def test_an_object_of_somebody_else_is_not_taken_over(world: World) -> None:
    look = world.look(world.objects(), world.said(), live=True)
    made = plan(replace(look, foreign=(ChildKey("Service", "orders"),)), world.now_ms)
    assert not made.actions
    rows = {row["type"]: row for row in made.status["conditions"]}
    assert rows["Degraded"]["reason"] == "NameConflict"
    assert "Service orders" in rows["Degraded"]["message"]


def test_a_removal_that_was_judged_by_an_older_state_is_refused(world: World) -> None:
    assert world.cluster is not None
    with pytest.raises(RefusedError, match="CONFLICT"):
        world.cluster.set_intent(3, Intent.REMOVE, world.cluster.config_index - 1)
