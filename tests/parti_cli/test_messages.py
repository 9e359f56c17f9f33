"""Commands that use the app API."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from parti_proto import app_pb2
from tests.parti_cli.fakes import M1, M2, NAMES, FakeCluster, state

Run = Callable[..., Result]


def test_send_by_key_prints_each_reply(run: Run, cluster: FakeCluster) -> None:
    result = run("send", "--key", "user-1", "ab", "cd")
    assert result.stdout.splitlines() == ["partition 5, epoch 9: ba", "partition 5, epoch 9: dc"]
    assert [(item.key, item.HasField("partition")) for item in cluster.asked] == [
        (b"user-1", False)
    ] * 2


def test_send_by_partition_zero_reads_standard_input(run: Run, cluster: FakeCluster) -> None:
    assert run("send", "--partition", "0", "--idempotent", "-", stdin="xyz").exit_code == 0
    (request,) = cluster.asked
    assert (request.partition, request.payload, request.idempotent) == (0, b"xyz", True)
    assert request.HasField("partition")


def test_a_reply_that_is_no_text_comes_as_base64(run: Run) -> None:
    result = run("send", "--key", "k", "-", "-o", "json", stdin="ä")
    assert json.loads(result.stdout) == {"partition": 5, "epoch": 9, "payload_base64": "pMM="}


def test_send_stops_at_the_first_failure_and_says_what_is_known(
    run: Run, cluster: FakeCluster
) -> None:
    result = run("send", "--key", "k", "good", "bad", "never")
    assert result.exit_code == 1
    assert "1 of 3 messages were sent before" in result.stderr
    assert "OWNER_LOST: the owner died (it may have been executed)" in result.stderr
    assert len(cluster.asked) == 2


@pytest.mark.parametrize("command", [("send", "x"), ("locate",)])
@pytest.mark.parametrize("target", [(), ("--key", "k", "--partition", "1")])
def test_neither_or_both_of_key_and_partition_is_wrong_usage(
    run: Run, cluster: FakeCluster, command: tuple[str, ...], target: tuple[str, ...]
) -> None:
    result = run(*command, *target)
    assert result.exit_code == 2
    assert "either --key or --partition" in result.stderr
    assert not cluster.asked


def test_locate(run: Run) -> None:
    assert run("locate", "--key", "k").stdout == "partition 5: m1 (epoch 9, owned)\n"
    document = json.loads(run("locate", "--partition", "5", "-o", "json").stdout)
    assert (document["owner"], document["table_index"]) == (f"{M1:016x}", 42)


def events() -> list[app_pb2.TableEvent]:
    def event(index: int, *changed: app_pb2.PartitionState, whole: bool = False) -> Any:
        return app_pb2.TableEvent(
            table_index=index, partitions=3, whole=whole, changed=changed, member_names=NAMES
        )

    return [
        event(7, state(0, M1, 1), state(1, M1, 1), state(2, 0, 0), whole=True),
        event(8, state(0, M1, 1, app_pb2.PHASE_REVOKING, M2)),
        event(9, state(0, M2, 2), state(1, 0, 1)),
    ]


def test_watch_tells_the_owners_and_then_each_change(run: Run, cluster: FakeCluster) -> None:
    cluster.events = events()
    result = run("watch")
    assert result.stdout.splitlines() == [
        "index 7: 3 partitions: m1 2, without an owner 1",
        "index 8: partition 0 leaves m1 to m2",
        "index 9: partition 0 is owned by m2 (epoch 2)",
        "index 9: partition 1 has no owner",
    ]
    assert result.exit_code == 1  # this fake ends the stream, a sidecar does so only when it stops
    assert "ended the watch" in result.stderr


def test_watch_json_is_one_line_an_event(run: Run, cluster: FakeCluster) -> None:
    cluster.events = events()
    lines = run("watch", "-o", "json").stdout.splitlines()
    assert [json.loads(line)["whole"] for line in lines] == [True, False, False]
    assert json.loads(lines[1])["changed"][0]["target"] == f"{M2:016x}"
