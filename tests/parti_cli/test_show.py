"""Commands that look: what they print for people and for programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from click.testing import Result

from tests.parti_cli.fakes import M1, M2, M3, FakeCluster

Run = Callable[..., Result]
RunJson = Callable[..., Any]


def test_stats_sums_what_the_members_own(run_json: RunJson) -> None:
    document = run_json("stats")
    assert document["partitions"] == {"total": 8, "owned": 7, "free": 1, "revoking": 0}
    assert document["leader"] == f"{M1:016x}"
    assert (document["members"], document["ready"]) == (3, 3)
    assert document["member"]["member_id"] == f"{M1:016x}"
    assert document["member"]["raft_role"] == "leader"


def test_stats_of_a_member_without_a_cluster_says_what_to_do(
    run: Run, cluster: FakeCluster
) -> None:
    cluster.status.Clear()
    result = run("stats")
    assert result.exit_code == 0
    assert "none yet" in result.stdout
    assert "parti bootstrap" in result.stderr


def test_stats_for_people_names_the_leader(run: Run) -> None:
    result = run("stats")
    assert "8: 7 owned, 0 moving, 1 free" in result.stdout
    assert "m1  (term 3)" in result.stdout


def test_members_json_has_every_documented_field(run_json: RunJson) -> None:
    first, _, last = run_json("members")
    assert set(first) == {
        "member_id", "name", "address", "zone", "role", "leader", "session", "intent", "draining",
        "ready", "capacity", "partitions_owned", "match_index", "caught_up", "last_heard_ms",
        "version",
    }  # fmt: skip
    assert first["intent"] is None
    assert (first["last_heard_ms"], last["last_heard_ms"]) == (5, None)


def test_members_table_is_plain_columns_when_piped(run: Run) -> None:
    lines = run("members").stdout.splitlines()
    assert lines[0].split()[:4] == ["NAME", "ID", "ROLE", "READY"]
    assert lines[1].split()[:4] == ["m1", f"{M1:016x}", "leader", "yes"]


def test_members_says_why_one_is_not_ready(run: Run, cluster: FakeCluster) -> None:
    cluster.members[1].ready = False
    cluster.members[2].ready = False
    cluster.members[2].session = 0
    lines = run("members").stdout.splitlines()
    assert "no worker" in lines[2]
    assert "no session" in lines[3]


def test_partitions_json_says_null_for_nobody(run_json: RunJson) -> None:
    document = run_json("partitions")
    assert document["table_index"] == 42
    assert document["partitions"][1] == {
        "partition": 1,
        "owner": f"{M2:016x}",
        "owner_name": "m2",
        "epoch": 2,
        "phase": "revoking",
        "target": f"{M3:016x}",
    }
    assert document["partitions"][2]["owner"] is None
    assert document["partitions"][2]["phase"] == "free"


def test_explain_shows_owner_reason_and_history(run: Run, run_json: RunJson) -> None:
    text = run("explain", "3").stdout
    assert "because" in text
    assert "1970-01-01 00:00:01.000" in text
    document = run_json("explain", "3")
    assert document["owner_name"] == "m2"
    assert document["changes"][0]["cause"] == "orphan"
    assert document["pinned_to"] is None


def test_plan_names_both_ends_of_a_move(run: Run, run_json: RunJson) -> None:
    assert "7          m1    m3  rebalance" in run("plan").stdout
    (move,) = run_json("plan")["moves"]
    assert (move["from_name"], move["to_name"], move["partition"]) == ("m1", "m3", 7)


def test_ping_times_the_way_as_often_as_asked(run: Run, cluster: FakeCluster) -> None:
    result = run("ping", "3", "-c", "2")
    assert (
        result.stdout.splitlines()
        == ["partition 3: m2 answered in 1.50 ms (epoch 2, 1 hop away)"] * 2
    )
    assert [request.partition for request in cluster.asked] == [3, 3]
