"""What the cluster is told: the policy, zones and weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from parti_operator.actions import DescribeMember
from parti_operator.observed import NodeSeen, NodeState
from parti_operator.plan.describing import plan_descriptions, plan_policy
from parti_operator.plan.look import Look
from tests.parti_operator.plan.looks import look, member, pod


def test_a_policy_as_the_spec_says_is_left() -> None:
    assert plan_policy(look()) is None


def test_a_policy_that_differs_is_set() -> None:
    seen = look(spec={"rebalance": {"mode": "Manual"}})
    assert seen.view is not None
    other = look(spec={"rebalance": {"mode": "Auto"}}, view=True)
    assert other.view is not None
    mixed = Look(replace(seen.observed, view=other.view), seen.now_ms)
    made = plan_policy(mixed)
    assert made is not None
    assert not made.policy.rebalance


def test_votes_are_lowered_only_when_members_have_left() -> None:
    leaving = look(count=5, spec={"replicas": 2, "voters": 3})
    assert leaving.view is not None
    assert leaving.view.policy.voters_max == 3
    assert plan_policy(leaving) is None


def test_without_a_leader_nothing_is_told() -> None:
    assert plan_policy(look(view=False)) is None
    assert plan_descriptions(look(view=False)) == ()


def test_a_zone_is_that_of_the_node() -> None:
    assert plan_descriptions(look()) == ()
    seen = look(members=[member(0, zone=""), member(1), member(2)])
    assert plan_descriptions(seen) == (DescribeMember(100, "zone-0", 100),)


def test_what_is_not_known_is_left() -> None:
    members = [member(0, zone="by hand"), member(1), member(2)]
    assert plan_descriptions(look(members=members, nodes=None)) == ()
    unzoned = {f"node-{i}": NodeSeen(f"node-{i}", NodeState.READY, "") for i in range(3)}
    assert plan_descriptions(look(members=members, nodes=unzoned)) == ()


def test_a_weight_is_that_of_the_ordinal() -> None:
    weights = [{"ordinals": "0-1", "weight": 200}]
    seen = look(spec={"placement": {"weights": weights}})
    assert [(a.member_id, a.capacity) for a in plan_descriptions(seen)] == [(100, 200), (101, 200)]


def test_a_member_without_a_pod_keeps_its_weight() -> None:
    spec: dict[str, Any] = {"placement": {"weightLabel": "size"}}
    members = [member(0), member(1), member(2, capacity=7)]
    assert plan_descriptions(look(members=members, pods=(pod(0), pod(1)), spec=spec)) == ()


LABELS = {
    "of the pod": ({"size": "300"}, {"size": "7"}, 300),
    "of the node": ({}, {"size": "50"}, 50),
    "neither": ({}, {}, 100),
    "no number": ({"size": "big"}, {}, 100),
    "zero": ({"size": "0"}, {}, 1),
    "too much": ({"size": "5000"}, {}, 1_000),
}


@pytest.mark.parametrize("case", LABELS.values(), ids=LABELS.keys())
def test_a_weight_can_be_a_label(case: tuple[dict[str, str], dict[str, str], int]) -> None:
    of_pod, of_node, capacity = case
    nodes = {f"node-{i}": NodeSeen(f"node-{i}", NodeState.READY, "") for i in range(3)}
    nodes["node-0"] = NodeSeen("node-0", NodeState.READY, "", of_node)
    spec: dict[str, Any] = {"placement": {"weightLabel": "size"}}
    members = [member(0, capacity=1), member(1), member(2)]
    pods = (pod(0, labels=of_pod), pod(1), pod(2))
    made = plan_descriptions(look(members=members, pods=pods, nodes=nodes, spec=spec))
    if capacity == 1:
        assert made == ()
    else:
        assert made == (DescribeMember(100, "zone-0", capacity),)
