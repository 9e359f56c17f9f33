"""Commands about one member: facts set from outside, and what goes before its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from click.testing import Result

from parti_proto import admin_pb2, errors_pb2
from tests.parti_cli.fakes import M2, FakeCluster

Run = Callable[..., Result]
RunJson = Callable[..., Any]


def settings_asked(cluster: FakeCluster) -> list[admin_pb2.SetMemberRequest]:
    return [each for each in cluster.asked if isinstance(each, admin_pb2.SetMemberRequest)]


def test_what_is_not_given_stays(run: Run, run_json: RunJson, cluster: FakeCluster) -> None:
    assert run("member", "set", "m2", "--zone", "b").stdout == "m2 has zone b and capacity 100\n"
    document = run_json("member", "set", "m2", "--capacity", "300")
    assert document == {
        "member_id": f"{M2:016x}",
        "name": "m2",
        "zone": "b",
        "capacity": 300,
        "set_zone": "b",
        "set_capacity": 300,
    }
    run("member", "set", "m2", "--zone", "")
    asked = settings_asked(cluster)
    assert [(each.zone, each.capacity) for each in asked] == [("b", 0), ("b", 300), ("", 300)]
    assert {(each.member_id, each.expected_config_index) for each in asked} == {(M2, 17)}


@pytest.mark.parametrize("arguments", [(), ("--capacity", "1001")])
def test_nothing_is_set_without_a_fact_or_beyond_its_bounds(
    run: Run, cluster: FakeCluster, arguments: tuple[str, ...]
) -> None:
    assert run("member", "set", "m2", *arguments).exit_code == 2
    assert not settings_asked(cluster)


@pytest.mark.parametrize(("wait", "seconds"), [("4s", 4), ("4", 4), ("4000ms", 4), ("0.1m", 6)])
def test_preparing_waits_as_long_as_it_is_told(
    run: Run, cluster: FakeCluster, wait: str, seconds: float
) -> None:
    result = run("prepare-to-stop", "--wait", wait)
    assert (result.exit_code, result.stdout) == (0, "owns nothing and does not lead\n")
    # gRPC sends what is left in coarse units, rounded up.
    assert seconds - 1 < cluster.prepare_time_s < seconds + 0.5


@pytest.mark.parametrize("wait", ["0", "-1s", "soon", "5h", ""])
def test_a_time_that_is_none_is_refused(run: Run, cluster: FakeCluster, wait: str) -> None:
    assert run("prepare-to-stop", "--wait", wait).exit_code == 2
    assert not cluster.asked


def test_what_remains_is_told_and_fails(run: Run, run_json: RunJson, cluster: FakeCluster) -> None:
    assert run_json("prepare-to-stop") == {"prepared": True}
    detail = errors_pb2.ErrorDetail(
        reason=errors_pb2.REASON_DEADLINE_EXCEEDED, message="not yet: it owns 3 partitions"
    )
    cluster.refusal = (grpc.StatusCode.DEADLINE_EXCEEDED, detail)
    result = run("prepare-to-stop")
    assert result.exit_code == 1
    assert "it owns 3 partitions" in result.stderr
