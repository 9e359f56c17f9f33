"""Commands that change something: what they ask of the cluster, and when they are done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from parti_proto import admin_pb2
from tests.parti_cli.fakes import M1, M2, M3, FakeCluster

Run = Callable[..., Result]
RunJson = Callable[..., Any]


def asked(cluster: FakeCluster, kind: type) -> list[Any]:
    return [request for request in cluster.asked if isinstance(request, kind)]


def test_drain_waits_until_the_member_owns_nothing(run: Run, cluster: FakeCluster) -> None:
    result = run("drain", "m2")
    assert result.exit_code == 0
    (intent,) = asked(cluster, admin_pb2.SetIntentRequest)
    assert (intent.member_id, intent.intent) == (M2, admin_pb2.INTENT_DRAIN)
    assert result.stderr.splitlines() == ["m2 owns 3 partitions", "m2 owns 0 partitions"]


def test_drain_without_waiting_only_asks(run_json: RunJson, cluster: FakeCluster) -> None:
    cluster.drained_after = 1_000
    document = run_json("drain", "m2", "--no-wait")
    assert document == {
        "member_id": f"{M2:016x}",
        "name": "m2",
        "intent": "drain",
        "partitions_owned": 3,
    }


def test_drain_that_takes_too_long_fails_and_says_how_far_it_is(
    run: Run, cluster: FakeCluster
) -> None:
    cluster.drained_after = 1_000
    result = run("drain", "m2", "--wait-timeout", "0.1")
    assert result.exit_code == 1
    assert "m2 still owns 3 partitions" in result.stderr
    assert "parti plan" in result.stderr


def test_remove_waits_until_the_member_is_gone(run: Run, cluster: FakeCluster) -> None:
    assert run("remove", "m3").exit_code == 0
    assert [member.name for member in cluster.members] == ["m1", "m2"]


def test_remove_of_the_member_asked_ends_well_when_that_member_ends(
    run: Run, cluster: FakeCluster
) -> None:
    cluster.ends_without = M1
    result = run("remove", "m1")
    assert result.exit_code == 0, result.output
    assert "m1 accepted to leave and has ended" in result.stdout


def test_remove_fails_when_another_member_than_the_removed_one_is_lost(
    run: Run, cluster: FakeCluster
) -> None:
    cluster.ends_without = M3
    assert run("remove", "m3").exit_code == 3


def test_remove_that_takes_too_long_fails(run: Run, cluster: FakeCluster) -> None:
    cluster.drained_after = 1_000
    result = run("remove", "m3", "--wait-timeout", "0.1")
    assert result.exit_code == 1
    assert "m3 is still a member" in result.stderr


@pytest.mark.parametrize(
    ("command", "intent"),
    [("cordon", admin_pb2.INTENT_CORDON), ("uncordon", admin_pb2.INTENT_NONE)],
)
def test_cordon_and_uncordon(
    run: Run, cluster: FakeCluster, command: str, intent: admin_pb2.Intent
) -> None:
    assert run(command, "m1").exit_code == 0
    (request,) = asked(cluster, admin_pb2.SetIntentRequest)
    assert (request.member_id, request.intent) == (M1, intent)


def test_move_pins_and_auto_unpins(run_json: RunJson, cluster: FakeCluster) -> None:
    assert run_json("move", "5", "m3")["pinned_to"] == f"{M3:016x}"
    assert run_json("move", "5", "auto")["pinned_to"] is None
    moves = asked(cluster, admin_pb2.MoveRequest)
    assert [(move.partition, move.to_member) for move in moves] == [(5, M3), (5, 0)]


@pytest.mark.parametrize(("arguments", "to"), [((), 0), (("m3",), M3)])
def test_transfer_leader(
    run: Run, cluster: FakeCluster, arguments: tuple[str, ...], to: int
) -> None:
    result = run("transfer-leader", *arguments)
    assert result.stdout == f"{'m3' if to else 'm2'} is the leader\n"
    (request,) = asked(cluster, admin_pb2.TransferLeaderRequest)
    assert request.to_member == to


@pytest.mark.parametrize("text", ["m1", str(M1), f"{M1:016x}", f"0x{M1:X}", "1111a"])
def test_a_member_is_found_by_name_or_id_or_beginning_of_its_id(
    run: Run, cluster: FakeCluster, text: str
) -> None:
    assert run("cordon", text).exit_code == 0
    (request,) = asked(cluster, admin_pb2.SetIntentRequest)
    assert request.member_id == M1


@pytest.mark.parametrize(
    ("text", "words"),
    [("m9", "no member is called 'm9'"), ("2222", "may mean several members"), ("", "no member")],
)
def test_an_unclear_member_is_refused_and_nothing_changes(
    run: Run, cluster: FakeCluster, text: str, words: str
) -> None:
    result = run("drain", text)
    assert result.exit_code == 1
    assert words in result.stderr
    assert not asked(cluster, admin_pb2.SetIntentRequest)


def test_policy_set_changes_only_what_is_named(run_json: RunJson) -> None:
    document = run_json("policy", "set", "rebalance=off", "moves_in_flight_max=4")
    assert (document["rebalance"], document["moves_in_flight_max"]) == (False, 4)
    assert document["strategy"] == "balanced"
    assert run_json("policy", "get") == document


@pytest.mark.parametrize(
    "assignment", ["nonsense=1", "rebalance", "rebalance=perhaps", "voters_max=-1", "voters_max=x"]
)
def test_policy_set_refuses_what_it_does_not_understand(
    run: Run, cluster: FakeCluster, assignment: str
) -> None:
    result = run("policy", "set", assignment)
    assert result.exit_code == 2
    assert not asked(cluster, admin_pb2.SetPolicyRequest)


def test_bootstrap_names_the_new_cluster(run_json: RunJson, cluster: FakeCluster) -> None:
    document = run_json("bootstrap", "--cluster-id", "shop", "--partitions", "128")
    assert document == {"cluster_id": "shop", "partitions": 128}
    (request,) = asked(cluster, admin_pb2.BootstrapRequest)
    assert not request.HasField("policy")
