"""Tables of the quorum: when it is called lost, whom an order obeys, when it is dropped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from parti_operator import names
from parti_operator.actions import ClearAnnotation, ForceNewQuorum
from parti_operator.plan.look import Look
from parti_operator.plan.quorum import LOST_AFTER_MS, Quorum, plan_quorum
from tests.parti_operator.plan.looks import (
    NOW_MS,
    UID,
    ago,
    look,
    member,
    observed,
    pod,
    sidecar,
)

KEY = names.FORCE_NEW_QUORUM_ANNOTATION
ORDER = {KEY: UID}
LONG_AGO = {"leaderlessSince": ago(LOST_AFTER_MS + 1_000)}
RECORD = {"pod": "orders-1", "podUID": "pod-1", "memberID": f"{101:016x}", "incarnation": 0}
ALONE = {f"orders-{ordinal}": sidecar(ordinal, leader=0) for ordinal in (0, 1)}


def leaderless(**changes: Any) -> Quorum:
    status = {"clusterID": UID, **changes.pop("status", LONG_AGO)}
    return plan_quorum(look(view=False, status=status, **{"sidecars": ALONE, **changes}))


def test_a_leader_is_a_healthy_quorum() -> None:
    assert (plan_quorum(look()).status, plan_quorum(look()).reason) == ("True", "LeaderElected")


def test_fewer_replicas_than_voters_are_told() -> None:
    made = plan_quorum(look(count=2))
    assert (made.status, made.reason) == ("True", "VotersLowered")


def test_a_quorum_is_lost_when_nobody_leads_for_a_while() -> None:
    first = leaderless(status={})
    assert (first.status, first.reason) == ("Unknown", "NoLeader")
    assert first.leaderless_since == ago(0)
    soon = leaderless(status={"leaderlessSince": ago(LOST_AFTER_MS - 2_000)})
    assert soon.status == "Unknown"
    assert (leaderless().status, leaderless().reason) == ("False", "QuorumLost")
    assert f"{KEY}={UID}" in leaderless().message


def test_what_we_cannot_reach_is_not_lost() -> None:
    made = leaderless(sidecars={"orders-0": sidecar(0, leader=102)})
    assert (made.status, made.reason) == ("Unknown", "LeaderUnreachable")
    assert leaderless(sidecars={}).reason == "NobodyAnswers"
    assert leaderless(sidecars={}, annotations=ORDER).record is None


def test_the_survivor_is_who_knows_most_and_is_recorded_first() -> None:
    sidecars = ALONE | {"orders-1": sidecar(1, leader=0, commit_index=60)}
    made = leaderless(sidecars=sidecars, annotations=ORDER)
    assert made.record is not None
    assert {name: made.record[name] for name in RECORD} == RECORD
    assert not made.actions
    equal = leaderless(annotations=ORDER)
    assert equal.record is not None
    assert equal.record["pod"] == "orders-0"


def test_an_order_waits_until_the_quorum_is_called_lost() -> None:
    assert leaderless(annotations=ORDER, status={}).record is None


def test_another_value_is_no_order() -> None:
    made = leaderless(annotations={KEY: "yes"})
    assert made.record is None
    assert any("uid" in event.message for event in made.events)


def test_only_the_recorded_survivor_is_told() -> None:
    status = {**LONG_AGO, "forcedQuorum": RECORD}
    made = leaderless(status=status, annotations=ORDER)
    assert made.actions == (ForceNewQuorum("orders-1", "pod-1", UID, 0),)
    away = leaderless(status=status, annotations=ORDER, sidecars={"orders-0": ALONE["orders-0"]})
    assert not away.actions
    assert away.record == RECORD


def test_a_survivor_that_obeyed_is_not_told_again() -> None:
    sidecars = ALONE | {"orders-1": sidecar(1, leader=0, incarnation=1)}
    made = leaderless(
        status={**LONG_AGO, "forcedQuorum": RECORD}, annotations=ORDER, sidecars=sidecars
    )
    assert not made.actions
    assert made.record == RECORD


def test_a_survivor_with_another_disk_is_none() -> None:
    sidecars = ALONE | {"orders-1": sidecar(1, leader=0, member_id=77)}
    made = leaderless(
        status={**LONG_AGO, "forcedQuorum": RECORD}, annotations=ORDER, sidecars=sidecars
    )
    assert not made.actions
    assert made.record is None


def test_an_order_that_was_taken_back_is_forgotten() -> None:
    made = leaderless(status={**LONG_AGO, "forcedQuorum": RECORD})
    assert not made.actions
    assert made.record is None


def led(incarnation: int, count: int = 3, **changes: Any) -> Quorum:
    status = {"clusterID": UID, "forcedQuorum": RECORD}
    members = [member(ordinal) for ordinal in range(count)]
    seen = observed(members=members, count=3, status=status, annotations=ORDER, **changes)
    assert seen.view is not None
    view = replace(seen.view, incarnation=incarnation)
    return plan_quorum(Look(replace(seen, view=view), NOW_MS))


def test_the_order_ends_when_all_have_joined() -> None:
    waiting = led(1, count=1, pods=(pod(0), pod(1), pod(2)))
    assert (waiting.record, waiting.actions) == (RECORD, ())
    made = led(1)
    assert made.record is None
    assert made.actions == (ClearAnnotation(KEY, UID),)


def test_the_order_is_dropped_when_the_former_quorum_comes_back() -> None:
    made = led(0)
    assert made.record is None
    assert made.actions == (ClearAnnotation(KEY, UID),)


def test_an_order_without_need_is_dropped() -> None:
    made = plan_quorum(look(annotations=ORDER))
    assert made.actions == (ClearAnnotation(KEY, UID),)
    assert made.record is None
