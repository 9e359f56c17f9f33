"""An action that the API server refuses for good stands in the status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parti_operator.plan import plan
from parti_operator.plan.refused_action import with_refused_action
from tests.parti_operator.plan.looks import NOW_MS, ago, dead, member, quiet

TEXT = "ApplyChild: Invalid (422): spec.template.spec.containers[0].volumeMounts[0]: not found"


def degraded(status: Mapping[str, Any]) -> Any:
    (row,) = (each for each in status["conditions"] if each["type"] == "Degraded")
    return row


def test_the_refusal_is_a_condition_with_its_words() -> None:
    wanted = plan(quiet(), NOW_MS).status
    status = with_refused_action(wanted, {}, TEXT, NOW_MS)
    row = degraded(status)
    assert (row["status"], row["reason"], row["message"]) == ("True", "ActionFailed", TEXT)
    assert status["phase"] == "Degraded"
    others = [row for row in wanted["conditions"] if row["type"] != "Degraded"]
    assert [row for row in status["conditions"] if row["type"] != "Degraded"] == others


def test_while_it_lasts_nothing_in_the_status_changes() -> None:
    first = with_refused_action(plan(quiet(), NOW_MS).status, {}, TEXT, NOW_MS)
    later = NOW_MS + 60_000
    wanted = plan(quiet(status=first), later).status
    assert degraded(wanted)["status"] == "False", "the plan cannot know"
    assert with_refused_action(wanted, first, TEXT, later) == first
    assert degraded(first)["lastTransitionTime"] == ago(0)


def test_what_else_is_wrong_is_said_too_and_a_change_keeps_its_phase() -> None:
    lost = {"memberID": f"{102:016x}", "lostSince": ago(3_600_000)}
    members = [member(0), member(1), dead(2)]
    before = {**plan(quiet(), NOW_MS).status, "members": [lost]}
    wanted = plan(quiet(members=members, status=before), NOW_MS).status
    message = degraded(with_refused_action(wanted, before, TEXT, NOW_MS))["message"]
    assert message.startswith(TEXT)
    assert "orders-2 has been silent" in message
    scaling = plan(quiet(spec={"replicas": 5}), NOW_MS).status
    assert with_refused_action(scaling, {}, TEXT, NOW_MS)["phase"] == "Scaling"


def test_a_long_text_is_cut() -> None:
    status = with_refused_action(plan(quiet(), NOW_MS).status, {}, "x" * 40_000, NOW_MS)
    assert len(degraded(status)["message"]) <= 2_000
