"""The status and its conditions: true all the while, and quiet while nothing changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from parti_operator.names import ConditionType
from parti_operator.observed import Observed
from parti_operator.plan import plan, refuse
from parti_operator.spec import InvalidSpecError, Problem
from tests.parti_operator.defaults import particluster
from tests.parti_operator.plan.looks import (
    NOW_MS,
    UID,
    ago,
    blank,
    counts,
    dead,
    member,
    pod,
    quiet,
)


def status_of(seen: Observed, now_ms: int = NOW_MS) -> dict[str, Any]:
    return dict(plan(seen, now_ms).status)


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {row["type"]: (row["status"], row["reason"]) for row in status["conditions"]}


def test_a_healthy_cluster() -> None:
    status = status_of(quiet())
    assert status["phase"] == "Ready"
    assert conditions(status) == {
        "Ready": ("True", "Serving"),
        "Progressing": ("False", "Stable"),
        "Degraded": ("False", "AsExpected"),
        "QuorumHealthy": ("True", "LeaderElected"),
        "Rebalancing": ("False", "Balanced"),
        "Paused": ("False", "NotPaused"),
    }
    assert (status["ready"], status["leader"], status["term"]) == ("3/3", "orders-0", 3)
    assert status["selector"] == "parti.dev/cluster=orders"
    assert [row["name"] for row in status["members"]] == ["orders-0", "orders-1", "orders-2"]
    assert status["partitions"] == {"total": 64, "owned": 64, "moving": 0, "unowned": 0}
    assert status["rebalance"] == {"state": "Idle"}
    assert "scaling" not in status
    assert "roll" not in status


def test_all_conditions_are_there_and_judged_by_this_generation() -> None:
    for seen in (quiet(), quiet(view=False), quiet(deleting=True), quiet(spec={"paused": True})):
        rows = status_of(seen)["conditions"]
        assert [row["type"] for row in rows] == [kind.value for kind in ConditionType]
        assert {row["observedGeneration"] for row in rows} == {1}


def test_a_moment_changes_only_with_the_status() -> None:
    before = status_of(quiet())
    later = NOW_MS + 60_000
    assert status_of(quiet(status=before), later) == before
    lost = quiet(status=before, pods=(pod(0), pod(1), pod(2, ready=False)))
    after = {row["type"]: row for row in status_of(lost, later)["conditions"]}
    assert after["Ready"]["lastTransitionTime"] == ago(-60_000)
    assert after["QuorumHealthy"]["lastTransitionTime"] == ago(0)


NOT_READY = {
    "a pod": (quiet(pods=(pod(0), pod(1), pod(2, ready=False))), "PodsNotReady"),
    "a pod that ends": (quiet(pods=(pod(0), pod(1), pod(2, deleting=True))), "PodsNotReady"),
    "partitions": (counts(quiet(), free=1), "PartitionsUnowned"),
    "the leader": (quiet(view=False, sidecars={}), "NobodyAnswers"),
    "the beginning": (quiet(view=False, sidecars={}, status={}), "NotBootstrapped"),
    "deleting": (quiet(deleting=True), "Deleting"),
}


@pytest.mark.parametrize("case", NOT_READY.values(), ids=NOT_READY.keys())
def test_not_ready_says_why(case: tuple[Observed, str]) -> None:
    seen, reason = case
    assert conditions(status_of(seen))["Ready"] == ("False", reason)


def test_a_roll_may_lack_one_pod() -> None:
    roll = {"phase": "Restarting", "pod": "orders-2"}
    pods = (pod(0, revision="old"), pod(1), pod(2, ready=False))
    status = status_of(quiet(pods=pods, status={"clusterID": UID, "roll": roll}))
    assert conditions(status)["Ready"][0] == "True"
    assert conditions(status)["Progressing"] == ("True", "RollingUpdate")
    assert status["phase"] == "RollingUpdate"


def test_a_member_that_is_awaited_is_progress() -> None:
    status = status_of(quiet(members=[member(0), member(1), member(2, caught_up=False)]))
    assert conditions(status)["Progressing"] == ("True", "MembersMissing")


def test_a_template_that_is_being_written_is_progress() -> None:
    seen = quiet()
    pods = {**seen.cluster.template, "metadata": {"annotations": {"another": "one"}}}
    changed = replace(seen, cluster=replace(seen.cluster, template=pods))
    assert conditions(status_of(changed))["Progressing"] == ("True", "Applying")
    assert seen.stateful_set is not None
    unread = replace(seen.stateful_set, update_revision="")
    assert conditions(status_of(replace(seen, stateful_set=unread)))["Progressing"][0] == "True"


def test_the_members_are_kept_while_nobody_leads() -> None:
    before = status_of(quiet())
    status = status_of(quiet(view=False, sidecars={}, status=before))
    assert "leader" not in status
    assert [row["leader"] for row in status["members"]] == [False] * 3
    assert status["partitions"] == before["partitions"]
    assert conditions(status)["Rebalancing"] == ("Unknown", "NoLeader")


def test_a_lost_member_has_a_moment_that_stays() -> None:
    first = status_of(quiet(members=[member(0), member(1), dead(2)]))
    assert first["members"][2]["lostSince"] == ago(0)
    seen = quiet(members=[member(0), member(1), dead(2)], status=first)
    assert status_of(seen, NOW_MS + 9_000)["members"][2]["lostSince"] == ago(0)
    assert "lostSince" not in status_of(quiet(status=first))["members"][2]


def test_moves_are_counted_from_the_last_rest() -> None:
    first = status_of(counts(quiet(), moving=10))
    assert first["rebalance"] == {"state": "Rebalancing", "moved": 0, "total": 10}
    assert conditions(first)["Rebalancing"][0] == "True"
    second = status_of(counts(quiet(status=first), moving=4))
    assert second["rebalance"] == {"state": "Rebalancing", "moved": 6, "total": 10}
    manual = status_of(quiet(spec={"rebalance": {"mode": "Manual"}}))
    assert manual["rebalance"] == {"state": "Manual"}


def test_one_row_per_name() -> None:
    former = dead(2, member_id=55)
    status = status_of(quiet(members=[member(0), member(1), member(2), former], count=3))
    assert [row["memberID"] for row in status["members"]][2] == f"{102:016x}"
    assert len(status["members"]) == 3


def test_the_version_is_the_oldest() -> None:
    members = [member(0, version="1.10.0"), member(1, version="1.9.1"), member(2, version="2.0")]
    assert status_of(quiet(members=members))["version"] == "1.9.1"


PHASES = {
    "Pending": quiet(view=False, sidecars={}, status={}, pods=()),
    "Bootstrapping": quiet(view=False, sidecars={"orders-0": blank(0)}, status={}),
    "Scaling": quiet(spec={"replicas": 5}),
    "Degraded": quiet(view=False, sidecars={}),
    "Paused": quiet(spec={"paused": True}),
    "Deleting": quiet(deleting=True),
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_phase_is_one_word_for_people(phase: str) -> None:
    assert status_of(PHASES[phase])["phase"] == phase


def test_kept_disks_with_another_number_of_partitions_are_told() -> None:
    status = status_of(quiet(spec={"partitions": 8}))
    assert conditions(status)["Degraded"] == ("True", "PartitionsDiffer")


def test_a_roll_that_stands_still_is_told() -> None:
    roll = {
        "phase": "Waiting",
        "revision": "revision-2",
        "updated": 2,
        "remaining": 0,
        "lastProgress": ago(3_600_000),
    }
    pods = (pod(0), pod(1, ready=False), pod(2, revision="old"))
    status = status_of(quiet(pods=pods, status={"clusterID": UID, "roll": roll}))
    assert conditions(status)["Degraded"] == ("True", "RollStalled")


# --- a spec that cannot be carried out


def test_a_refused_spec_is_told_and_the_rest_stays() -> None:
    before = status_of(quiet())
    resource = {**particluster(), "status": before}
    resource["metadata"] = {**resource["metadata"], "generation": 4}
    error = InvalidSpecError([Problem("spec.voters", "must be odd")])
    made = refuse(resource, error, NOW_MS + 5_000)
    status = dict(made.status)
    assert not made.actions
    assert status["phase"] == "Degraded"
    assert status["observedGeneration"] == 4
    assert conditions(status)["Degraded"] == ("True", "InvalidSpec")
    assert conditions(status)["Ready"] == ("True", "Serving")
    assert {row["observedGeneration"] for row in status["conditions"]} == {4}
    assert status["members"] == before["members"]
    assert "spec.voters" in made.events[0].message


def test_a_spec_that_was_never_fine_has_all_conditions() -> None:
    made = refuse(particluster(), InvalidSpecError([Problem("spec", "is bad")]), NOW_MS)
    assert conditions(dict(made.status))["Ready"] == ("Unknown", "InvalidSpec")
