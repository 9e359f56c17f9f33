"""What follows from a spec: voters for a number of members, the policy, weights."""

from __future__ import annotations

import dataclasses

import pytest

from parti_operator.spec import CAPACITY_DEFAULT, Policy, Strategy
from parti_shard import policy as replicated
from parti_shard.limits import CoordinatorTimes
from tests.parti_operator.defaults import cluster_spec
from tests.parti_operator.samples import full, minimal


@pytest.mark.parametrize(
    ("asked", "replicas", "voters"),
    [(3, 3, 3), (3, 50, 3), (3, 2, 1), (3, 1, 1), (7, 6, 5), (7, 7, 7), (5, 4, 3), (1, 9, 1)],
)
def test_voters_are_odd_and_no_more_than_members(asked: int, replicas: int, voters: int) -> None:
    assert cluster_spec(voters=asked).voters_for(replicas) == voters


def test_a_cluster_without_members_has_no_voters() -> None:
    with pytest.raises(AssertionError):
        minimal().voters_for(0)


def test_the_default_policy_is_that_of_the_sidecar() -> None:
    ours = dataclasses.asdict(minimal().policy(3))
    assert ours == dataclasses.asdict(replicated.Policy())


def test_the_policy_has_every_field_of_the_replicated_one() -> None:
    theirs = [row.name for row in dataclasses.fields(replicated.Policy)]
    assert sorted(row.name for row in dataclasses.fields(Policy)) == sorted(theirs)
    assert [row.value for row in Strategy] == [row.value for row in replicated.Strategy]


def test_policy_follows_the_spec() -> None:
    policy = full().policy(4)
    assert policy == Policy(
        strategy=Strategy.BALANCED,
        rebalance=False,
        moves_in_flight_max=4,
        partition_cooldown_ms=20_000,
        coalesce_quiet_ms=300,
        coalesce_max_ms=3_000,
        voters_max=3,
        voter_replace_after_ms=CoordinatorTimes().voter_replace_after_ms,
        move_deadline_ms=20_000,
        load_aware=True,
    )


@pytest.mark.parametrize("handover", ["100ms", "10s", "19s"])
def test_the_leader_waits_longer_than_the_owner_for_its_worker(handover: str) -> None:
    cluster = cluster_spec(timeouts={"handover": handover})
    assert cluster.policy(3).move_deadline_ms > cluster.timeouts.handover_ms


def test_weights_by_ordinal() -> None:
    rows = [
        {"ordinals": "0-1", "weight": 200},
        {"ordinals": "3", "weight": 50},
    ]
    placement = cluster_spec(placement={"weights": rows}).placement
    assert [placement.weight_of(at) for at in range(5)] == [
        200,
        200,
        CAPACITY_DEFAULT,
        50,
        CAPACITY_DEFAULT,
    ]
