"""Events: each reason of the closed list is told by something, and what lasts is told once."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from parti_operator import names
from parti_operator.names import EventReason
from parti_operator.observed import ChildKey, Intent, Observed, PodSeen, SidecarState, Trouble
from parti_operator.plan import Plan, plan, refuse
from parti_operator.plan.quorum import LOST_AFTER_MS
from parti_operator.spec import InvalidSpecError, Problem
from tests.parti_operator.defaults import particluster
from tests.parti_operator.plan.looks import (
    NOW_MS,
    UID,
    ago,
    blank,
    claim,
    dead,
    member,
    observed,
    pod,
    quiet,
    record,
    sidecar,
)

SKIP = {names.SKIP_DRAIN_CHECK_ANNOTATION: "true"}
FORCE = {names.FORCE_NEW_QUORUM_ANNOTATION: UID}
LONG_MS = 3_600_000
EPHEMERAL = {"storage": {"ephemeral": True}}
LEADERLESS = {"leaderlessSince": ago(LOST_AFTER_MS + 1_000)}
ALONE = {f"orders-{ordinal}": sidecar(ordinal, leader=0) for ordinal in (0, 1)}
FORCED = {"pod": "orders-0", "podUID": "pod-0", "memberID": f"{100:016x}", "incarnation": 0}
REMOVED = {f"orders-{o}": sidecar(o) for o in (0, 1)} | {
    "orders-2": sidecar(2, state=SidecarState.REMOVED)
}
OLD = "revision-1"


def status(**fields: Any) -> dict[str, Any]:
    return {"clusterID": UID, **fields}


def moving(age_ms: int = 0, **fields: Any) -> dict[str, Any]:
    """A change that is going on and last went forward so long ago."""
    return {"phase": "Draining", "since": ago(age_ms), "lastProgress": ago(age_ms), **fields}


def edited() -> Observed:
    seen = quiet()
    key = ChildKey("PodDisruptionBudget", "orders")
    budget = {**seen.children[key], "spec": {}}
    return replace(seen, children={**seen.children, key: budget})


def draining(**changes: Any) -> Observed:
    members = [member(0), member(1), member(2, intent=Intent.DRAIN, partitions_owned=7)]
    scaling = moving(LONG_MS, ordinals=[2], remaining=7)
    intents = [record(102, "drain")]
    return quiet(
        members=members,
        spec={"replicas": 2},
        status=status(scaling=scaling, intents=intents),
        **changes,
    )


def rolling(*old: int, turn: int, age_ms: int = 0, **changes: Any) -> Observed:
    pods = tuple(pod(o, revision=OLD) if o in old else pod(o) for o in range(3))
    fields = {"revision": "revision-2", "updated": 3 - len(old), "remaining": 20}
    roll = moving(age_ms, pod=f"orders-{turn}", **fields)
    return quiet(**{"pods": pods, "status": status(roll=roll), **changes})


def crashing(ordinal: int) -> PodSeen:
    return pod(ordinal, ready=False, trouble=Trouble("CrashLoopBackOff", "exit code 1", "app"))


def leaving() -> Observed:
    members = [member(0), member(1), member(2, partitions_owned=0, intent=Intent.DRAIN)]
    intents = [record(102, "remove")]
    return quiet(members=members, status=status(intents=intents), spec={"replicas": 2})


def handing_over() -> Observed:
    members = [
        member(0, leader=False),
        member(1, leader=False),
        member(2, leader=True, partitions_owned=0, intent=Intent.DRAIN),
    ]
    intents = [record(102, "drain")]
    return quiet(members=members, status=status(intents=intents), spec={"replicas": 2})


def with_policy(seen: Observed, **policy: Any) -> Observed:
    """The cluster follows another policy than the spec asks for."""
    assert seen.view is not None
    other = replace(seen.view.policy, **policy)
    return replace(seen, view=replace(seen.view, policy=other))


SITUATIONS: dict[EventReason, Observed] = {
    EventReason.SPEC_WARNING: quiet(spec=EPHEMERAL),
    EventReason.NAME_CONFLICT: quiet(foreign=(ChildKey("Service", "orders"),)),
    EventReason.CHILD_CREATED: observed(),
    EventReason.CHILD_REPAIRED: edited(),
    EventReason.PAUSED: quiet(spec={"paused": True}),
    EventReason.RESUMED: quiet(
        status=status(conditions=[{"type": "Paused", "status": "True", "reason": "Paused"}])
    ),
    EventReason.BOOTSTRAPPED: quiet(status={}),
    EventReason.BOOTSTRAP_REFUSED: quiet(claims=(claim(0), claim(1, cluster_id="another"))),
    EventReason.POLICY_CHANGED: with_policy(quiet(), rebalance=False),
    EventReason.VOTERS_LOWERED: with_policy(quiet(count=2), voters_max=3),
    EventReason.STORAGE_GROWN: quiet(spec={"storage": {"size": "2Gi"}}),
    EventReason.SCALING_UP: quiet(spec={"replicas": 5}),
    EventReason.SCALING_DOWN: quiet(spec={"replicas": 2}),
    EventReason.SCALING_CANCELLED: quiet(status=status(scaling=moving(ordinals=[2]))),
    EventReason.SCALED: quiet(status=status(scaling=moving(ordinals=[3]))),
    EventReason.DRAIN_STALLED: draining(),
    EventReason.DRAIN_CHECK_SKIPPED: draining(annotations=SKIP),
    EventReason.LEADER_TRANSFERRED: handing_over(),
    EventReason.MEMBER_REMOVED: leaving(),
    EventReason.ROLL_STARTED: rolling(0, 1, 2, turn=2, status=status()),
    EventReason.POD_FAILING: quiet(pods=(pod(0), pod(1), crashing(2))),
    EventReason.POD_REPLACED: rolling(0, 1, turn=2),
    EventReason.ROLL_WAITING: rolling(0, 1, 2, turn=2, age_ms=LONG_MS),
    EventReason.ROLL_COMPLETED: rolling(turn=0),
    EventReason.MEMBER_LOST: quiet(
        members=[member(0), member(1), dead(2)],
        status=status(members=[{"memberID": f"{102:016x}", "lostSince": ago(LONG_MS)}]),
    ),
    EventReason.MEMBER_REPLACED: quiet(members=[member(0), member(1)], sidecars=REMOVED),
    EventReason.QUORUM_LOST: quiet(view=False, sidecars=ALONE, status=status(**LEADERLESS)),
    EventReason.QUORUM_RESTORED: quiet(status=status(forcedQuorum=FORCED)),
    EventReason.QUORUM_FORCED: quiet(
        view=False, sidecars=ALONE, status=status(**LEADERLESS), annotations=FORCE
    ),
}
# What no plan tells: a spec that cannot be read (`refuse`), an action that failed (`Reconciler`).
ELSEWHERE = {EventReason.INVALID_SPEC, EventReason.ACTION_FAILED}


def made(seen: Observed) -> Plan:
    return plan(seen, NOW_MS)


def reasons(seen: Observed) -> list[EventReason]:
    return [event.reason for event in made(seen).events]


@pytest.mark.parametrize("reason", SITUATIONS)
def test_the_reason_is_told(reason: EventReason) -> None:
    assert reason in reasons(SITUATIONS[reason])
    assert reason not in reasons(quiet())


def test_no_reason_is_never_told() -> None:
    assert SITUATIONS.keys() | ELSEWHERE == set(EventReason)


def test_the_page_lists_every_reason_and_no_other() -> None:
    page = Path(__file__).parents[3].joinpath("docs", "crd.md").read_text(encoding="utf-8")
    section = page.partition("### Events\n")[2].partition("\n## ")[0]
    cells = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(cells))) == sorted(EventReason)


def test_a_spec_that_cannot_be_read_is_told() -> None:
    error = InvalidSpecError([Problem("spec.voters", "must be odd")])
    (event,) = refuse(particluster(), error, NOW_MS).events
    assert (event.reason, event.warning) == (EventReason.INVALID_SPEC, True)
    assert event.message == "spec.voters: must be odd"


@pytest.mark.parametrize("paused", [False, True])
def test_a_warning_stands_in_the_status_and_is_told_once(paused: bool) -> None:  # noqa: FBT001
    spec = {**EPHEMERAL, "paused": paused}
    first = made(quiet(spec=spec))
    (told,) = (e for e in first.events if e.reason is EventReason.SPEC_WARNING)
    assert told.warning
    assert first.status["warnings"] == [told.message]
    assert EventReason.SPEC_WARNING not in reasons(quiet(spec=spec, status=first.status))
    cured = made(quiet(status=first.status))
    assert "warnings" not in cured.status
    assert EventReason.SPEC_WARNING not in [event.reason for event in cured.events]


def test_another_warning_is_told_beside_the_known_one() -> None:
    first = made(quiet(spec=EPHEMERAL))
    both = {**EPHEMERAL, "disruption": {"maxUnavailable": 2}}
    second = made(quiet(spec=both, status=first.status))
    (told,) = (e for e in second.events if e.reason is EventReason.SPEC_WARNING)
    assert told.message.startswith("disruption.maxUnavailable")
    assert len(second.status["warnings"]) == 2


def test_a_failing_pod_is_told_once_and_again_when_it_fails_otherwise() -> None:
    first = made(SITUATIONS[EventReason.POD_FAILING])
    (told,) = first.events
    assert told.message.startswith("orders-2 app CrashLoopBackOff: exit code 1: ")
    again = quiet(pods=(pod(0), pod(1), crashing(2)), status=first.status)
    assert reasons(again) == []
    other = pod(2, ready=False, trouble=Trouble("ImagePullBackOff", "", "app"))
    assert reasons(quiet(pods=(pod(0), pod(1), other), status=first.status)) == [
        EventReason.POD_FAILING
    ]


def test_who_hands_over_to_whom_and_which_disk_grows() -> None:
    messages = {event.reason: event.message for event in made(handing_over()).events}
    handed = messages[EventReason.LEADER_TRANSFERRED]
    assert handed.startswith("orders-2 hands leadership over to orders-")
    larger = SITUATIONS[EventReason.STORAGE_GROWN]
    grown = [e.message for e in made(larger).events if e.reason is EventReason.STORAGE_GROWN]
    assert grown == [f"parti-data-orders-{ordinal} grows to 2Gi" for ordinal in range(3)]


def test_a_blank_cluster_tells_nothing_but_its_children() -> None:
    seen = observed(view=False, status={}, sidecars={f"orders-{o}": blank(o) for o in range(3)})
    assert set(reasons(seen)) == {EventReason.CHILD_CREATED}
