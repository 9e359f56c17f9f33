"""Tables of scaling: what is wanted of whom, how many replicas, and what is told."""

from __future__ import annotations

from typing import Any

import pytest

from parti_operator import names
from parti_operator.names import EventReason
from parti_operator.observed import Intent, Role
from parti_operator.plan.scaling import Scaling, plan_scaling
from tests.parti_operator.plan.looks import UID, ago, dead, look, member

DRAIN, REMOVE, CORDON = Intent.DRAIN, Intent.REMOVE, Intent.CORDON


def down(members: list[Any], replicas: int, **changes: Any) -> Scaling:
    """From as many pods as there are members to fewer."""
    spec = {"replicas": replicas, **changes.pop("spec", {})}
    count = changes.pop("count", len(members))
    return plan_scaling(look(members=members, count=count, spec=spec, **changes))


def drained(ordinal: int, **changes: Any) -> Any:
    return member(ordinal, **{"partitions_owned": 0, "intent": DRAIN, **changes})


def test_leaving_members_are_drained_all_at_once() -> None:
    made = down([member(0), member(1), member(2), member(3), member(4)], 2)
    assert made.wanted == {102: DRAIN, 103: DRAIN, 104: DRAIN}
    assert made.replicas == 5
    assert made.status is not None
    assert made.status["phase"] == "Draining"
    assert made.status["ordinals"] == [2, 3, 4]
    assert made.status["remaining"] == 60


def test_only_a_drained_member_is_removed_the_highest_first() -> None:
    made = down([member(0), member(1), member(2, intent=DRAIN), drained(3), drained(4)], 2)
    assert made.wanted == {102: DRAIN, 103: DRAIN, 104: REMOVE}
    assert made.replicas == 5


def test_the_next_one_waits_until_the_former_is_out() -> None:
    members = [member(0), member(1), drained(2), drained(3), drained(4, intent=REMOVE)]
    made = down(members, 2)
    assert made.wanted == {102: DRAIN, 103: DRAIN, 104: REMOVE}
    assert made.replicas == 4
    members = [member(0), member(1, intent=REMOVE), drained(2)]
    assert down(members, 2).wanted == {102: DRAIN}


def test_a_leaving_leader_hands_over_and_goes_last() -> None:
    members = [member(0, leader=False), drained(1), drained(2, leader=True)]
    made = down(members, 1)
    assert made.transfer is None
    assert made.wanted == {101: REMOVE, 102: DRAIN}
    made = down([member(0, leader=False), drained(2, leader=True)], 1, count=3)
    assert made.transfer is not None
    assert made.transfer.to_member_id == 100
    assert made.wanted == {102: DRAIN}


def test_a_leader_without_an_heir_is_removed_and_the_cluster_finds_one() -> None:
    members = [member(0, leader=False, role=Role.LEARNER), drained(2, leader=True)]
    made = down(members, 1, count=3)
    assert made.transfer is None
    assert made.wanted == {102: REMOVE}


def test_no_vote_is_taken_while_the_rest_has_no_live_majority() -> None:
    made = down([member(0), dead(1), drained(2)], 2)
    assert made.wanted == {102: DRAIN}


def test_a_dead_leaving_member_is_removed_as_well() -> None:
    made = down([member(0), member(1), dead(2)], 2)
    assert made.wanted == {102: REMOVE}


@pytest.mark.parametrize(
    ("members", "replicas"),
    [
        ([0, 1, 2, 3, 4], 5),
        ([0, 1, 2, 3], 4),
        ([0, 1, 2, 4], 5),
        ([0, 1], 2),
    ],
)
def test_replicas_are_lowered_to_above_the_highest_member(
    members: list[int], replicas: int
) -> None:
    made = down([member(ordinal) for ordinal in members], 2, count=5)
    assert made.replicas == replicas


@pytest.mark.parametrize(
    ("change", "replicas"),
    [
        ({"intent": DRAIN, "role": Role.LEARNER}, 3),
        ({"intent": REMOVE}, 3),
        ({"intent": REMOVE, "role": Role.LEARNER, "partitions_owned": 1}, 3),
        ({"intent": REMOVE, "role": Role.LEARNER}, 2),
    ],
)
def test_a_removed_members_pod_ends_before_its_session(
    change: dict[str, Any], replicas: int
) -> None:
    assert down([member(0), member(1), drained(2, **change)], 2).replicas == replicas


def test_a_member_without_a_place_in_the_set_is_removed_as_well() -> None:
    made = plan_scaling(look(members=[member(0), member(1), dead(2)], count=2))
    assert made.wanted == {102: REMOVE}


def test_the_last_pods_end_after_their_members() -> None:
    made = down([member(0), member(1)], 2, count=4)
    assert made.status is not None
    assert (made.status["phase"], made.status["ordinals"]) == ("ShrinkingStatefulSet", [2, 3])
    assert made.replicas == 2


def test_nobody_is_drained_when_nobody_can_receive() -> None:
    for change in ({"ready": False}, {"draining": True}, {"intent": CORDON}, {"caught_up": False}):
        made = down([member(0, **change), member(1)], 1)
        assert made.wanted == {101: CORDON}, change
        assert made.status is not None
        assert "no remaining member" in made.status["reason"]


def test_members_that_own_nothing_need_no_receiver() -> None:
    made = down([member(0, ready=False), member(1, partitions_owned=0)], 1)
    assert made.wanted == {101: REMOVE}


def stalled_status(minutes: int) -> dict[str, Any]:
    scaling = {
        "phase": "Draining",
        "ordinals": [1],
        "remaining": 20,
        "since": ago(600_000),
        "lastProgress": ago(minutes * 60_000),
    }
    return {"clusterID": UID, "scaling": scaling}


def test_a_drain_is_stalled_when_nothing_moved_for_a_while() -> None:
    members = [member(0), member(1, intent=DRAIN)]
    skip = {names.SKIP_DRAIN_CHECK_ANNOTATION: "true"}
    fine = down(members, 1, status=stalled_status(0), annotations=skip)
    assert not fine.stalled
    assert fine.wanted == {101: DRAIN}
    assert fine.status is not None
    assert fine.status["reason"] == "20 partitions are to be moved"
    made = down(members, 1, status=stalled_status(10))
    assert made.stalled
    assert made.wanted == {101: DRAIN}
    assert [event.reason for event in made.events] == [EventReason.DRAIN_STALLED]
    made = down(members, 1, status=stalled_status(10), annotations=skip)
    assert not made.stalled
    assert made.wanted == {101: REMOVE}
    assert made.replicas == 2


def test_progress_starts_the_clock_anew() -> None:
    members = [member(0), member(1, intent=DRAIN, partitions_owned=19)]
    made = down(members, 1, status=stalled_status(10))
    assert not made.stalled
    assert made.status is not None
    assert made.status["lastProgress"] == ago(0)
    assert made.status["since"] == ago(600_000)


def test_an_overridden_pod_ends_only_without_a_vote() -> None:
    skip = {names.SKIP_DRAIN_CHECK_ANNOTATION: "true"}
    status = stalled_status(10)
    status["scaling"]["ordinals"] = [2]
    voting = [member(0), member(1), member(2, intent=REMOVE)]
    assert down(voting, 2, status=status, annotations=skip).replicas == 3
    asked = [member(0), member(1), member(2, intent=DRAIN, role=Role.LEARNER)]
    assert down(asked, 2, status=status, annotations=skip).replicas == 3
    struck = [member(0), member(1), member(2, intent=REMOVE, role=Role.LEARNER)]
    assert down(struck, 2, status=status, annotations=skip).replicas == 2


def test_an_overridden_drain_is_a_drain_even_to_nobody() -> None:
    skip = {names.SKIP_DRAIN_CHECK_ANNOTATION: "true"}
    status = stalled_status(10)
    status["scaling"] |= {"ordinals": [1, 2], "remaining": 40}
    made = down([member(0, ready=False), member(1), member(2)], 1, status=status, annotations=skip)
    assert made.wanted == {101: DRAIN, 102: REMOVE}


def test_a_set_that_somebody_deleted_comes_back_for_all_its_members() -> None:
    assert down([member(ordinal) for ordinal in range(5)], 2, stateful_set=None).replicas == 5


def test_the_end_and_a_new_beginning_are_told() -> None:
    ended = {"clusterID": UID, "scaling": {"phase": "ShrinkingStatefulSet", "ordinals": [3]}}
    made = plan_scaling(look(status=ended))
    assert [event.reason for event in made.events] == [EventReason.SCALED]
    growing = {"clusterID": UID, "scaling": {"phase": "Joining", "ordinals": [4]}}
    made = down([member(ordinal) for ordinal in range(5)], 2, status=growing)
    assert [event.reason for event in made.events] == [EventReason.SCALING_DOWN]
    again = {"clusterID": UID, "scaling": {"phase": "Draining", "ordinals": [2, 3, 4]}}
    assert not down([member(ordinal) for ordinal in range(5)], 2, status=again).events


# --- up


def test_up_raises_the_set_and_tells_who_is_missing() -> None:
    made = plan_scaling(look(have=3, spec={"replicas": 5}))
    assert made.replicas == 5
    assert made.status is not None
    assert (made.status["phase"], made.status["ordinals"]) == ("Joining", [3, 4])
    assert [event.reason for event in made.events] == [EventReason.SCALING_UP]


def test_a_member_that_is_lost_later_is_no_scaling() -> None:
    made = plan_scaling(look(members=[member(0), member(1), dead(2)]))
    assert made.status is None
    assert not made.events


def test_joining_lasts_until_all_have_caught_up() -> None:
    status = {"clusterID": UID, "scaling": {"phase": "Joining", "ordinals": [2]}}
    for third in (member(2, caught_up=False), dead(2)):
        members = [member(0), member(1), third]
        assert plan_scaling(look(members=members, status=status)).active
    made = plan_scaling(look(status=status))
    assert made.finished
    assert [event.reason for event in made.events] == [EventReason.SCALED]


def test_a_target_that_went_back_up_cancels() -> None:
    status = {"clusterID": UID, "scaling": {"phase": "Draining", "ordinals": [1, 2]}}
    made = plan_scaling(look(status=status))
    assert made.finished
    assert not made.wanted
    assert [event.reason for event in made.events] == [EventReason.SCALING_CANCELLED]
    made = plan_scaling(look(members=[member(0), member(1)], status=status))
    assert made.active
    assert [event.reason for event in made.events] == [EventReason.SCALING_CANCELLED]


# --- without a cluster, without a leader


def test_before_the_beginning_replicas_follow_until_it_is_recorded() -> None:
    assert plan_scaling(look(status={}, spec={"replicas": 1}, view=False)).replicas == 1
    begun = {"bootstrap": {"pod": "orders-0"}}
    assert plan_scaling(look(status=begun, spec={"replicas": 1}, view=False)).replicas == 3


def test_without_a_leader_nothing_shrinks() -> None:
    assert plan_scaling(look(view=False, spec={"replicas": 1})).replicas == 3
    rows = [{"name": f"orders-{ordinal}"} for ordinal in range(5)]
    status = {"clusterID": UID, "members": rows}
    gone = look(view=False, status=status, stateful_set=None, spec={"replicas": 2})
    assert plan_scaling(gone).replicas == 5
