"""Tables of the roll: whose turn it is, what it waits for, who is drained, cordoned, evicted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from parti_operator import names
from parti_operator.actions import DeletePod, EvictPod, TransferLeader
from parti_operator.names import EventReason
from parti_operator.observed import Intent, MemberSeen, PodSeen, Role, StatefulSetSeen, Trouble
from parti_operator.plan.rolling import Rolling, plan_rolling
from tests.parti_operator.plan.looks import UID, ago, dead, look, member, pod, record

DRAIN, CORDON = Intent.DRAIN, Intent.CORDON
OLD = "revision-1"


def roll(
    old: list[int],
    members: list[MemberSeen] | None = None,
    *,
    turn: int | None = None,
    pods: dict[int, PodSeen] | None = None,
    scaling_down: bool = False,
    **changes: Any,
) -> Rolling:
    """Of three pods these are `old`; `turn` is whose turn it was before."""
    present = [pod(o, revision=OLD) if o in old else pod(o) for o in range(3)]
    for ordinal, other in (pods or {}).items():
        present[ordinal] = other
    status: dict[str, Any] = {"clusterID": UID}
    if turn is not None:
        status["roll"] = {"phase": "Draining", "pod": f"orders-{turn}", "lastProgress": ago(0)}
    status |= changes.pop("status", {})
    seen = look(members=members, pods=tuple(present), status=status, **changes)
    return plan_rolling(seen, scaling_down=scaling_down)


def phase(made: Rolling) -> tuple[str, str | None]:
    assert made.status is not None
    return made.status["phase"], made.status.get("pod")


def drained(ordinal: int, **changes: Any) -> MemberSeen:
    return member(ordinal, **{"partitions_owned": 0, "intent": DRAIN, **changes})


def test_nothing_outdated_is_no_roll() -> None:
    made = roll([])
    assert not made.active
    assert not made.wanted


def test_the_highest_ordinal_that_does_not_lead_is_first() -> None:
    assert phase(roll([0, 1, 2])) == ("Draining", "orders-2")
    led = [member(0, leader=False), member(1), member(2, leader=True)]
    assert phase(roll([0, 1, 2], led)) == ("Draining", "orders-1")


def test_the_leader_is_last() -> None:
    assert phase(roll([0, 2])) == ("Draining", "orders-2")
    assert phase(roll([0])) == ("Draining", "orders-0")


def test_in_the_first_step_nobody_is_cordoned() -> None:
    assert roll([0, 1, 2]).wanted == {102: DRAIN}


def test_the_outdated_are_cordoned_once_an_updated_one_can_receive() -> None:
    assert roll([0, 1], turn=1).wanted == {100: CORDON, 101: DRAIN}
    cannot = [member(0), member(1), member(2, intent=CORDON)]  # a person's
    assert roll([0, 1], cannot, turn=1).wanted == {101: DRAIN}


def test_a_drained_follower_is_evicted_when_its_turn_is_recorded() -> None:
    members = [member(0), member(1), drained(2)]
    assert roll([0, 1, 2], members).replace is None
    made = roll([0, 1, 2], members, turn=2)
    assert made.replace == EvictPod("orders-2", "pod-2")
    assert phase(made) == ("Restarting", "orders-2")


def test_a_member_that_owns_partitions_is_not_evicted() -> None:
    made = roll([0, 1, 2], [member(0), member(1), drained(2, partitions_owned=1)], turn=2)
    assert made.replace is None
    assert phase(made) == ("Draining", "orders-2")


def test_a_leader_hands_over_to_an_updated_voter_before() -> None:
    members = [drained(0), member(1, lag=5), member(2)]
    made = roll([0, 2], members, turn=0)
    assert made.transfer == TransferLeader(101)
    assert made.replace is None
    assert phase(made) == ("TransferringLeadership", "orders-0")


def test_a_budget_of_zero_refuses_evictions_so_the_pod_is_deleted() -> None:
    members = [member(0), member(1), drained(2)]
    spec = {"disruption": {"maxUnavailable": 0}}
    assert roll([0, 1, 2], members, turn=2, spec=spec).replace == DeletePod("orders-2", "pod-2")


ILL = {
    "not ready": ({}, {"ready": False}),
    "gone": (None, {}),
    "ending": ({}, {"deleting": True}),
    "catching up": ({"caught_up": False}, {}),
    "without a worker": ({"ready": False, "partitions_owned": 20}, {}),
    "silent": ({"last_heard_ms": 9_000}, {}),
    "unknown to a new leader": ({"last_heard_ms": -1}, {}),
}


@pytest.mark.parametrize("case", ILL.values(), ids=ILL.keys())
def test_no_step_while_another_pod_is_not_well(
    case: tuple[dict[str, Any] | None, dict[str, Any]],
) -> None:
    of_member, of_pod = case
    present = [member(0), drained(2)]
    if of_member is not None:
        present.insert(1, member(1, **of_member))
    pods = {1: pod(1, **of_pod)}
    made = roll([0, 2], present, turn=2, pods=pods)
    assert made.replace is None
    assert phase(made) == ("Waiting", "orders-2")
    assert made.wanted.get(102) is DRAIN  # it stays drained, nothing moves back and forth
    made = roll([0, 2], present, pods=pods)
    assert phase(made) == ("Waiting", None)
    assert made.wanted == {}


def test_an_updated_pod_is_awaited_with_its_drain_on() -> None:
    for change in ({"deleting": True, "revision": OLD}, {"ready": False}):
        made = roll([0, 1], [member(0), member(1), drained(2)], turn=2, pods={2: pod(2, **change)})
        assert phase(made) == ("Restarting", "orders-2"), change
        assert made.wanted.get(102) is DRAIN
        assert made.replace is None


def test_an_updated_member_that_is_well_gives_the_turn_away() -> None:
    status = {"intents": [record(102, "drain")]}
    made = roll([0, 1], [member(0), member(1), drained(2)], turn=2, status=status)
    assert 102 not in made.wanted
    assert EventReason.POD_REPLACED in [event.reason for event in made.events]


def test_the_last_one_that_is_well_ends_the_roll() -> None:
    made = roll([], turn=0)
    assert not made.active
    assert made.finished
    assert [event.reason for event in made.events] == [EventReason.ROLL_COMPLETED]


# --- pods that serve nothing


def test_an_outdated_pod_that_serves_nothing_is_replaced_without_a_drain() -> None:
    members = [member(0), member(1), dead(2)]
    made = roll([0, 1, 2], members, turn=2, pods={2: pod(2, revision=OLD, ready=False)})
    assert made.replace == EvictPod("orders-2", "pod-2")


def test_its_vote_must_be_dispensable() -> None:
    useless = member(2, ready=False, partitions_owned=0)
    made = roll(
        [1, 2], [member(0), dead(1), useless], turn=2, pods={2: pod(2, revision=OLD, ready=False)}
    )
    assert made.replace is None
    assert phase(made) == ("Waiting", "orders-2")


def test_a_newer_revision_cures_what_the_former_broke() -> None:
    """orders-2 has a revision that does not work; a newer one is there."""
    members = [member(0), member(1), member(2, ready=False, partitions_owned=0, intent=DRAIN)]
    broken = pod(2, revision="revision-0", ready=False)
    made = roll([0, 1], members, turn=2, pods={2: broken})
    assert made.replace == EvictPod("orders-2", "pod-2")


def test_a_broken_one_does_not_wait_for_another_broken_one() -> None:
    """orders-2 is updated and not well; orders-1 may need the same cure."""
    broken = member(1, ready=False, partitions_owned=0)
    members = [member(0), broken, member(2, ready=False, partitions_owned=0)]
    pods = {1: pod(1, revision=OLD, ready=False), 2: pod(2, ready=False)}
    made = roll([0, 1], members, turn=2, pods=pods)
    assert phase(made) == ("Restarting", "orders-1")
    learner = {"role": Role.LEARNER}
    silent = [member(0), replace(broken, role=Role.LEARNER), dead(2, **learner)]
    assert phase(roll([0, 1], silent, turn=2, pods=pods)) == ("Restarting", "orders-2")


def test_a_broken_one_goes_first() -> None:
    members = [member(0), dead(1), member(2)]
    made = roll([0, 1, 2], members, pods={1: pod(1, revision=OLD, ready=False)})
    assert phase(made) == ("Restarting", "orders-1")


def test_no_other_pod_is_ending_meanwhile() -> None:
    members = [member(0), member(1), dead(2)]
    pods = {1: pod(1, deleting=True), 2: pod(2, revision=OLD, ready=False)}
    assert roll([0, 2], members, turn=2, pods=pods).replace is None


# --- small clusters


def alone(**changes: Any) -> Rolling:
    seen = look(
        members=[member(0, **changes)],
        count=1,
        pods=(pod(0, revision=OLD),),
        status={"clusterID": UID, "roll": {"pod": "orders-0", "phase": "Restarting"}},
    )
    return plan_rolling(seen, scaling_down=False)


def test_the_only_member_has_nobody_to_drain_to() -> None:
    assert alone().replace == EvictPod("orders-0", "pod-0")


def test_the_only_vote_of_a_cluster_that_asks_for_more_is_not_taken() -> None:
    members = [
        member(0, partitions_owned=0),
        member(1, role=Role.LEARNER),
        member(2, role=Role.LEARNER),
    ]
    made = roll([0], members, turn=0)
    assert made.replace is None
    assert phase(made)[0] == "Waiting"
    assert roll([0], members, turn=0, spec={"voters": 1}).replace is not None


# --- others first


def test_a_scale_down_goes_before_the_next_step() -> None:
    members = [member(0), member(1), drained(2)]
    made = roll([0, 1, 2], members, turn=2, scaling_down=True)
    assert made.replace is None
    assert made.wanted == {}
    made = roll([0, 1, 2], scaling_down=True)
    assert phase(made) == ("Waiting", None)
    assert made.wanted == {}


def test_nobody_is_drained_when_nobody_else_can_receive() -> None:
    cordoned = [member(0, intent=CORDON), member(1, intent=CORDON), member(2)]
    made = roll([0, 1, 2], cordoned)
    assert phase(made) == ("Waiting", None)
    assert made.wanted == {}
    ours = {"intents": [record(101, "cordon")]}
    assert phase(roll([0, 1, 2], cordoned, status=ours)) == ("Draining", "orders-2")
    theirs = {"intents": [record(101, "drain", before="cordon")]}
    assert phase(roll([0, 1, 2], cordoned, status=theirs)) == ("Waiting", None)


def test_it_says_what_kubernetes_says() -> None:
    pods = {1: pod(1, ready=False, trouble=Trouble("CrashLoopBackOff", container="app"))}
    made = roll([0, 2], pods=pods)
    assert made.status is not None
    assert made.status["reason"] == "waits for orders-1: app: CrashLoopBackOff"


def test_before_there_is_a_cluster_outdated_pods_are_deleted() -> None:
    assert roll([2], view=False, status={"clusterID": ""}).replace == DeletePod("orders-2", "pod-2")
    begun = {"clusterID": "", "bootstrap": {"pod": "orders-0"}}
    assert roll([2], view=False, status=begun).replace is None


def test_without_a_leader_everything_is_held() -> None:
    made = roll([0, 1, 2], view=False, turn=2)
    assert made.replace is None
    assert made.status == {"phase": "Draining", "pod": "orders-2", "lastProgress": ago(0)}


def test_while_the_newest_revision_is_not_known_everything_is_held() -> None:
    unknown = StatefulSetSeen("set-uid", "9", 3, "", "1Gi")
    members = [member(0), member(1, intent=CORDON), drained(2)]
    for stateful_set in (unknown, None):
        made = roll([0, 1, 2], members, turn=2, stateful_set=stateful_set)
        assert made.replace is None
        assert made.wanted == {101: CORDON, 102: DRAIN}
        assert made.active
    assert not roll([0, 1, 2], stateful_set=unknown).active


def test_a_pod_that_is_away_keeps_its_turn() -> None:
    members = [member(0), member(1), dead(2)]
    seen = look(
        members=members,
        pods=(pod(0, revision=OLD), pod(1, revision=OLD)),
        status={"clusterID": UID, "roll": {"phase": "Restarting", "pod": "orders-2"}},
    )
    made = plan_rolling(seen, scaling_down=False)
    assert phase(made) == ("Restarting", "orders-2")
    assert made.replace is None


def test_a_pod_is_not_deleted_twice_before_there_is_a_cluster() -> None:
    pods = {2: pod(2, revision=OLD, deleting=True)}
    assert roll([], view=False, status={"clusterID": ""}, pods=pods).replace is None


def stalled(minutes: int, **changes: Any) -> Rolling:
    """The turn of orders-2, which owns a partition that does not move."""
    before = {
        "phase": "Draining",
        "revision": "revision-2",
        "pod": "orders-2",
        "updated": 0,
        "remaining": 1,
        "since": ago(3_600_000),
        "lastProgress": ago(minutes * 60_000),
    }
    members = [member(0), member(1), drained(2, partitions_owned=1)]
    return roll([0, 1, 2], members, status={"roll": before}, **changes)


def test_a_stalled_drain_waits_for_a_person() -> None:
    skip = {names.SKIP_DRAIN_CHECK_ANNOTATION: "true"}
    assert not stalled(0).stalled
    assert stalled(0, annotations=skip).replace is None
    made = stalled(5)
    assert made.stalled
    assert made.replace is None
    made = stalled(5, annotations=skip)
    assert not made.stalled
    assert made.replace == EvictPod("orders-2", "pod-2")
