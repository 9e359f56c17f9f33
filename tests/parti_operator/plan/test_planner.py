"""The whole plan: one disruption, nothing destroyed on the word of a cache, when to look again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from parti_operator import names
from parti_operator.actions import ApplyChild, ClearAnnotation, DeleteClaim, SetIntent
from parti_operator.names import EventReason
from parti_operator.observed import Intent, Observed, SidecarState
from parti_operator.plan import Plan, plan
from parti_operator.plan.planner import AGAIN_MS, IDLE_MS, STEP_MS, UNSETTLED_MS
from tests.parti_operator.plan.looks import (
    NOW_MS,
    UID,
    counts,
    dead,
    member,
    pod,
    quiet,
    record,
    sidecar,
)

SKIP = names.SKIP_DRAIN_CHECK_ANNOTATION


def made(**changes: Any) -> Plan:
    return plan(quiet(**changes), NOW_MS)


def leaving(**changes: Any) -> Observed:
    """orders-2 may be removed at once."""
    members = [member(0), member(1), member(2, partitions_owned=0, intent=Intent.DRAIN)]
    status = {"clusterID": UID, "intents": [record(102, "remove")]}
    return quiet(**{"members": members, "status": status, "spec": {"replicas": 2}, **changes})


def names_of(plan_made: Plan) -> list[str]:
    return [action.name for action in plan_made.actions]


def test_nothing_destructive_without_a_live_look() -> None:
    assert names_of(plan(leaving(), NOW_MS)) == ["SetIntent"]
    cached = plan(leaving(live=False), NOW_MS)
    assert not cached.actions
    assert cached.look_closer
    idle = made(live=False)
    assert not idle.look_closer


def test_what_comes_before_it_is_done_all_the_same() -> None:
    seen = leaving(live=False)
    children = {key: child for key, child in seen.children.items() if key.kind != "ConfigMap"}
    cached = plan(replace(seen, children=children), NOW_MS)
    assert names_of(cached) == ["ApplyChild"]


def test_a_removal_waits_for_a_pass_of_its_own() -> None:
    zoneless = [member(0, zone=""), member(1), member(2, partitions_owned=0, intent=Intent.DRAIN)]
    assert names_of(plan(leaving(members=zoneless), NOW_MS)) == ["DescribeMember"]


def test_one_disruption_at_a_time() -> None:
    """A disk is given up, a scale-down would remove, a roll would evict: the first alone."""
    removed = {"orders-0": sidecar(0), "orders-1": sidecar(1, state=SidecarState.REMOVED)}
    members = [member(0), member(2, partitions_owned=0, intent=Intent.DRAIN)]
    seen = leaving(members=members, count=3, sidecars=removed)
    plan_made = plan(seen, NOW_MS)
    assert names_of(plan_made) == ["DeleteClaim", "DeletePod"]
    assert isinstance(plan_made.actions[0], DeleteClaim)


def test_shrinking_goes_before_the_next_removal() -> None:
    members = [member(0), member(1), member(2, partitions_owned=0, intent=Intent.DRAIN)]
    pods = tuple(pod(ordinal) for ordinal in range(4))
    seen = leaving(members=members, have=4, pods=pods)
    plan_made = plan(seen, NOW_MS)
    assert names_of(plan_made) == ["ApplyChild"]
    (action,) = plan_made.actions
    assert isinstance(action, ApplyChild)
    assert action.child["spec"]["replicas"] == 3


def test_the_record_comes_in_a_pass_before_the_intent() -> None:
    first = made(spec={"replicas": 2})
    assert not first.actions
    assert first.status["intents"] == [record(102, "drain")]
    assert first.requeue_after_ms == AGAIN_MS
    second = made(spec={"replicas": 2}, status=first.status)
    assert second.actions == (SetIntent(102, Intent.DRAIN),)


def test_paused_and_deleting_change_nothing_and_keep_what_is_recorded() -> None:
    status = {"clusterID": UID, "intents": [record(102, "drain")], "scaling": {"phase": "Draining"}}
    for changes in ({"deleting": True}, {"spec": {"paused": True}}):
        held = made(**{"status": status, "members": [member(0), member(1), dead(2)], **changes})
        assert not held.actions
        assert not held.look_closer
        assert held.status["intents"] == status["intents"]
        assert held.status["scaling"] == status["scaling"]


def test_pausing_and_resuming_are_told_once() -> None:
    first = made(spec={"paused": True})
    assert [event.reason for event in first.events] == [EventReason.PAUSED]
    assert not made(spec={"paused": True}, status=first.status).events
    resumed = made(status=first.status)
    assert [event.reason for event in resumed.events] == [EventReason.RESUMED]


def test_an_override_goes_with_the_change_it_was_for() -> None:
    annotations = {SKIP: "true"}
    assert not made(annotations=annotations).actions
    ended = {"clusterID": UID, "scaling": {"phase": "ShrinkingStatefulSet", "ordinals": [3]}}
    over = made(annotations=annotations, status=ended)
    assert over.actions == (ClearAnnotation(SKIP, "true"),)
    going_on = made(
        annotations=annotations, status=ended, pods=(pod(0, revision="old"), pod(1), pod(2))
    )
    assert not going_on.actions


def test_when_to_look_again() -> None:
    fresh = made()
    assert fresh.requeue_after_ms == UNSETTLED_MS  # something has just changed
    assert made(status=fresh.status).requeue_after_ms == IDLE_MS
    assert made(members=[member(0), member(1), dead(2)]).requeue_after_ms == UNSETTLED_MS
    assert plan(counts(quiet(), moving=3), NOW_MS).requeue_after_ms == UNSETTLED_MS
    assert made(spec={"replicas": 5}).requeue_after_ms == STEP_MS
    assert made(view=False, sidecars={}).requeue_after_ms == STEP_MS
