"""Tables of members that do not come back: whose disk is given up, and when not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from parti_operator.actions import DeleteClaim, DeletePod
from parti_operator.names import EventReason
from parti_operator.observed import (
    Intent,
    MemberSeen,
    NodeSeen,
    NodeState,
    Role,
    SidecarState,
    Trouble,
)
from parti_operator.plan.look import Look
from parti_operator.plan.replacing import Replacing, plan_replacing
from tests.parti_operator.plan.looks import (
    NOW_MS,
    UID,
    ago,
    blank,
    claim,
    dead,
    look,
    member,
    observed,
    pod,
    sidecar,
)

FRESH = (DeleteClaim("parti-data-orders-2", "claim-2"), DeletePod("orders-2", "pod-2"))
NODES = {f"node-{i}": NodeSeen(f"node-{i}", NodeState.READY, "") for i in range(2)}
SILENT = NodeSeen("node-2", NodeState.UNREACHABLE, "")
OUT = NodeSeen("node-2", NodeState.OUT_OF_SERVICE, "")
PENDING = {
    "node": "",
    "ready": False,
    "trouble": Trouble("Unschedulable", "no node has its volume"),
}


def lost_status(minutes: int) -> dict[str, Any]:
    row = {"name": "orders-2", "memberID": f"{102:016x}", "lostSince": ago(minutes * 60_000)}
    return {"clusterID": UID, "members": [row]}


def replacing(*members: MemberSeen, third: dict[str, Any], **changes: Any) -> Replacing:
    """With these members, and `third` of the pod orders-2."""
    pods = (pod(0), pod(1), pod(2, **third))
    return plan_replacing(look(members=list(members), pods=pods, **changes))


def test_a_healthy_cluster_replaces_nobody() -> None:
    assert plan_replacing(look()) == Replacing()


def test_a_removed_member_that_is_wanted_gets_a_new_disk() -> None:
    states = {"orders-2": sidecar(2, state=SidecarState.REMOVED)}
    made = replacing(member(0), member(1), third={}, sidecars=states)
    assert made.actions == FRESH


def test_a_pod_that_is_joining_is_left() -> None:
    states = {"orders-2": blank(2)}
    assert not replacing(member(0), member(1), third={}, sidecars=states).actions


def test_a_replacement_is_told_while_it_is_done() -> None:
    states = {"orders-2": sidecar(2, state=SidecarState.REMOVED)}
    made = replacing(member(0), member(1), third={}, sidecars=states)
    assert [event.reason for event in made.events] == [EventReason.MEMBER_REPLACED]
    claims = (claim(0), claim(1), claim(2, deleting=True))
    over: dict[str, Any] = {"third": {"deleting": True}, "sidecars": states, "claims": claims}
    assert not replacing(member(0), member(1), **over).events


def test_a_deleting_claim_is_not_deleted_again() -> None:
    states = {"orders-2": sidecar(2, state=SidecarState.REMOVED)}
    claims = (claim(0), claim(1), claim(2, deleting=True))
    made = replacing(member(0), member(1), third={}, sidecars=states, claims=claims)
    assert made.actions == FRESH[1:]


def test_a_disk_of_something_else_is_never_deleted() -> None:
    states = {"orders-2": sidecar(2, state=SidecarState.REMOVED)}
    claims = (claim(0), claim(1), claim(2, cluster_id="another"))
    made = replacing(member(0), member(1), third={}, sidecars=states, claims=claims)
    assert made.actions == FRESH[1:]


def test_one_that_says_removed_and_is_still_a_member_is_left() -> None:
    states = {"orders-2": sidecar(2, state=SidecarState.REMOVED)}
    made = replacing(member(0), member(1), member(2), third={}, sidecars=states)
    assert not made.actions


def test_a_leaving_pod_keeps_its_disk_until_it_goes() -> None:
    states = {"orders-2": sidecar(2, state=SidecarState.REMOVED)}
    made = replacing(member(0), member(1), third={}, sidecars=states, spec={"replicas": 2})
    assert not made.actions


def test_damaged_state_is_replaced_while_the_rest_has_a_quorum() -> None:
    damaged = {"ready": False, "sidecar_exit_code": 3}
    assert replacing(member(0), member(1), dead(2), third=damaged).actions == FRESH
    assert not replacing(member(0), dead(1), dead(2), third=damaged).actions
    alive = {"orders-0": sidecar(0), "orders-1": sidecar(1)}  # it did not answer us in time
    members = [member(0), member(1), member(2)]
    assert not replacing(*members, third=damaged, sidecars=alive).actions
    other = {"ready": False, "sidecar_exit_code": 1}
    assert not replacing(member(0), member(1), dead(2), third=other).actions


def test_a_disk_of_the_former_incarnation_is_replaced() -> None:
    seen = observed()
    assert seen.view is not None
    sidecars = {name: replace(said, incarnation=1) for name, said in seen.sidecars.items()}
    sidecars["orders-2"] = sidecar(2, incarnation=0)
    view = replace(seen.view, incarnation=1)
    made = plan_replacing(Look(replace(seen, view=view, sidecars=sidecars), NOW_MS))
    assert made.actions == FRESH


LOST_DISKS = {
    "node gone, long ago": (9, PENDING, NODES, True),
    "node out of service": (9, PENDING, NODES | {"node-2": OUT}, True),
    "not yet": (1, PENDING, NODES, False),
    "node silent": (9, PENDING, NODES | {"node-2": SILENT}, False),
    "nodes unknown": (9, PENDING, None, False),
    "pod has a node": (9, {"node": "node-1"}, NODES, False),
}


@pytest.mark.parametrize("case", LOST_DISKS.values(), ids=LOST_DISKS.keys())
def test_a_disk_is_given_up_only_with_its_node(
    case: tuple[int, dict[str, Any], dict[str, NodeSeen] | None, bool],
) -> None:
    minutes, third, nodes, given_up = case
    members = [member(0), member(1), dead(2)]
    made = replacing(*members, third=third, nodes=nodes, status=lost_status(minutes))
    assert bool(made.actions) == given_up


def test_no_disk_is_given_up_that_the_quorum_needs() -> None:
    members = [member(0), dead(1), dead(2)]
    made = replacing(*members, third=PENDING, nodes=NODES, status=lost_status(9))
    assert not made.actions


FORCED = {
    "node gone": (NODES, 9, True),
    "node out of service": (NODES | {"node-2": OUT}, 9, True),
    "node silent": (NODES | {"node-2": SILENT}, 9, False),
    "nodes unknown": (None, 9, False),
    "not yet": (NODES, 1, False),
}


@pytest.mark.parametrize("case", FORCED.values(), ids=FORCED.keys())
def test_a_pod_is_forced_off_only_where_nothing_can_run(
    case: tuple[dict[str, NodeSeen] | None, int, bool],
) -> None:
    nodes, minutes, forced = case
    made = replacing(
        member(0),
        member(1),
        dead(2),
        third={"deleting": True, "ready": False},
        nodes=nodes,
        status=lost_status(minutes),
    )
    wanted = (DeletePod("orders-2", "pod-2", force=True),) if forced else ()
    assert made.actions == wanted


def test_a_pod_that_is_no_member_is_forced_off_at_once() -> None:
    made = replacing(member(0), member(1), third={"deleting": True}, nodes=NODES)
    assert made.actions == (DeletePod("orders-2", "pod-2", force=True),)


def test_people_are_told_of_a_node_that_is_only_silent() -> None:
    made = replacing(
        member(0),
        member(1),
        dead(2),
        third={"deleting": True},
        nodes=NODES | {"node-2": SILENT},
        status=lost_status(9),
    )
    assert len(made.lost) == 1
    assert "out-of-service" in made.lost[0]


def test_people_are_told_what_became_of_the_pod() -> None:
    members = [member(0), member(1), dead(2)]
    pending = replacing(*members, third=PENDING, nodes=None, status=lost_status(9))
    assert "no node has its volume" in pending.lost[0]
    away = look(members=members, pods=(pod(0), pod(1)), status=lost_status(9))
    assert "no pod" in plan_replacing(away).lost[0]


# --- former selves


def former(**changes: Any) -> MemberSeen:
    """What orders-2 was before it lost its disk."""
    return dead(2, member_id=55, role=Role.VOTER, **changes)


def test_a_former_self_is_removed_once_the_new_one_lives() -> None:
    states = {"orders-2": sidecar(2)}
    made = replacing(member(0), member(1), member(2), former(), third={}, sidecars=states)
    assert made.wanted == {55: Intent.REMOVE}
    waiting = dead(2)
    made = replacing(member(0), member(1), waiting, former(), third={}, sidecars=states)
    assert not made.wanted


def test_a_former_self_waits_for_another_removal() -> None:
    states = {"orders-2": sidecar(2)}
    leaving = member(1, intent=Intent.REMOVE)
    made = replacing(member(0), leaving, member(2), former(), third={}, sidecars=states)
    assert not made.wanted


def test_nobody_is_replaced_without_a_leader() -> None:
    states = {"orders-2": sidecar(2, state=SidecarState.REMOVED)}
    made = plan_replacing(look(view=False, sidecars=states))
    assert made == Replacing()
