"""Metrics: every row of the catalog reads, what is exposed parses, the meters count right."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from parti_shard.commands import Cause
from parti_shard.errors import Reason
from parti_shard.history import Change, PartitionChange
from parti_shard.ids import Epoch, LogIndex, MemberId, PartitionId, SessionId
from parti_shard.router import RouterStats
from parti_shard.table import Phase, Table
from parti_sidecar.http import HttpRequest, HttpServer
from parti_sidecar.meters import (
    EMERGENCY,
    GRACEFUL,
    DiskMeter,
    Handover,
    SecondsHistogram,
    TableMeter,
    handover,
)
from parti_sidecar.metrics import (
    MemberReading,
    MetricKind,
    Sources,
    StoreReading,
    exposition,
    make_registry,
)
from parti_sidecar.metrics_catalog import CATALOG
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.runtime import LoopLagProbe
from parti_sidecar.storage.writer import CommitStats

ME, OTHER = MemberId(1), MemberId(2)
SESSION = SessionId(5)
P0 = PartitionId(0)
STORE = StoreReading(
    keys=7,
    bytes_used=1_100,
    bytes_max=4_096,
    revision=12,
    sessions=2,
    sessions_expired=3,
    locks=1,
    watchers=5,
    operations={("put", "ok"): 8, ("put", "refused"): 6},
    refused={"store_full": 6},
    batches_repeated=4,
    batches_handed_over=9,
)


def reading() -> MemberReading:
    router = RouterStats(accepted=10, put_back=2, forwarded=4, admitted_overtime=1)
    router.fail(Reason.PARKING_FULL)
    router.refuse(Reason.STALE_EPOCH)
    return MemberReading(
        router=router,
        table=TableMeter(ME),
        store=STORE,
        now_ms=0,
        raft_role="leader",
        term=3,
        is_leader=True,
        leader_changes=2,
        commit_index=95,
        applied_index=90,
        last_index=100,
        lease_margin_ms=1500,
        partitions=64,
        partitions_owned=20,
        partitions_free=1,
        partitions_revoking=2,
        members=3,
        member_loads=(1.0, 2.0, 3.0),
        commands_rejected={"wrong_epoch": 4},
    )


def sources(member: MemberReading | None) -> Sources:
    rpc = RpcMeter()
    rpc.finish("Router/Send", rpc.begin("Router/Send"), "PARKING_FULL")
    rpc.frame_in("Router/SendStream", 64)
    disk = DiskMeter()
    disk.committed(CommitStats(batches=3, entries=4, size_bytes=500, seconds=0.0003))
    http = HttpServer()
    http.answers["/readyz", 200] = 5
    http.connections_refused = 6
    return Sources(lambda: member, rpc, disk, LoopLagProbe(), http)


async def scrape(member: MemberReading | None) -> dict[str, Metric]:
    answer = await exposition(make_registry(CATALOG, sources(member)))(
        HttpRequest("GET", "/metrics", "", {})
    )
    assert answer.status == 200
    assert answer.content_type.startswith("text/plain")
    families = list(text_string_to_metric_families(answer.body.decode()))
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}


def value(families: dict[str, Metric], sample: str, **labels: str) -> float:
    found: list[float] = [
        each.value
        for family in families.values()
        for each in family.samples
        if each.name == sample and labels.items() <= each.labels.items()
    ]
    assert len(found) == 1, f"{sample} {labels}: {found}"
    return found[0]


async def test_every_row_is_exposed_with_its_type_and_help() -> None:
    families = await scrape(reading())
    for row in CATALOG:
        family = families[row.name.removesuffix("_total")]
        assert family.type == row.kind
        assert family.documentation == row.help_text
        assert {label for each in family.samples for label in each.labels} - {"le"} <= {*row.labels}


def test_names_follow_the_rules() -> None:
    assert len({row.name for row in CATALOG}) == len(CATALOG)
    for row in CATALOG:
        assert row.name.startswith("parti_")
        assert row.name.endswith("_total") == (row.kind is MetricKind.COUNTER)
        assert "_ms" not in row.name
        assert row.help_text.endswith(".")


async def test_numbers_arrive_where_they_belong() -> None:
    families = await scrape(reading())
    assert value(families, "parti_messages_accepted_total") == 10
    assert value(families, "parti_messages_put_back_total") == 2
    assert value(families, "parti_messages_forwarded_total") == 4
    assert value(families, "parti_parking_dropped_total") == 1
    assert value(families, "parti_messages_failed_total", reason="parking_full") == 1
    assert value(families, "parti_gate_refused_total", reason="stale_epoch") == 1
    assert value(families, "parti_gate_overtime_admitted_total") == 1
    assert value(families, "parti_load_imbalance_ratio") == 1.5
    assert value(families, "parti_lease_margin_seconds") == 1.5
    assert value(families, "parti_raft_role", role="leader") == 1
    assert value(families, "parti_raft_commit_lag_entries") == 5
    assert value(families, "parti_raft_apply_lag_entries") == 5
    assert value(families, "parti_commands_rejected_total", reason="wrong_epoch") == 4
    assert value(families, "parti_kv_keys") == 7
    assert value(families, "parti_kv_bytes") == 1_100
    assert value(families, "parti_kv_bytes_max") == 4_096
    assert value(families, "parti_kv_revision") == 12
    assert value(families, "parti_kv_sessions") == 2
    assert value(families, "parti_kv_sessions_expired_total") == 3
    assert value(families, "parti_kv_locks") == 1
    assert value(families, "parti_kv_watchers") == 5
    assert value(families, "parti_kv_operations_total", kind="put", outcome="ok") == 8
    assert value(families, "parti_kv_operations_total", kind="put", outcome="refused") == 6
    assert value(families, "parti_kv_refused_total", reason="store_full") == 6
    assert value(families, "parti_kv_batches_repeated_total") == 4
    assert value(families, "parti_kv_batches_handed_over_total") == 9
    assert value(families, "parti_storage_batches_total") == 3
    assert value(families, "parti_storage_commit_seconds_bucket", le="0.00025") == 0
    assert value(families, "parti_storage_commit_seconds_bucket", le="0.0005") == 1
    assert value(families, "parti_storage_commit_seconds_count") == 1
    assert value(families, "parti_rpc_errors_total", rpc="Router/Send", reason="PARKING_FULL") == 1
    assert value(families, "parti_rpc_seconds_count", rpc="Router/Send") == 1
    labels = {"rpc": "Router/SendStream", "direction": "in"}
    assert value(families, "parti_rpc_messages_total", **labels) == 64
    assert value(families, "parti_http_answers_total", route="/readyz", status="200") == 5
    assert value(families, "parti_http_connections_refused_total") == 6
    assert value(families, "parti_process_resident_memory_bytes") > 1 << 20
    assert value(families, "parti_process_cpu_seconds_total") > 0


async def test_before_there_is_a_member_only_the_process_is_told() -> None:
    families = await scrape(None)
    assert not families["parti_raft_term"].samples
    assert value(families, "parti_storage_batches_total") == 3


async def test_no_load_is_no_imbalance() -> None:
    families = await scrape(replace(reading(), member_loads=(0.0, 0.0)))
    assert not families["parti_load_imbalance_ratio"].samples


async def test_the_newer_format_is_given_to_who_asks() -> None:
    answer = await exposition(make_registry(CATALOG, sources(reading())))(
        HttpRequest("GET", "/metrics", "", {"accept": "application/openmetrics-text;version=1.0.0"})
    )
    assert answer.content_type.startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")


def test_a_bound_belongs_to_its_bucket() -> None:
    histogram = SecondsHistogram((0.1, 1.0))
    for seconds in (0.1, 0.5, 1.0, 7.0):
        histogram.observe(seconds)
    assert histogram.buckets == [1, 2, 1]
    assert histogram.sum_seconds == 8.6


# -- moves as the table tells them


def change(
    kind: Change, at_unix_ms: int, epoch: int = 2, member: MemberId = ME, cause: Cause = Cause.DRAIN
) -> PartitionChange:
    return PartitionChange(LogIndex(1), at_unix_ms, kind, member, Epoch(epoch), cause)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([(Change.GRANTED, 0), (Change.REVOKED, 100), (Change.GRANTED, 130)], (GRACEFUL, 0.03)),
        (
            [(Change.REVOKED, 100), (Change.RELEASED, 120), (Change.GRANTED, 130)],
            (GRACEFUL, 0.03),
        ),
        ([(Change.GRANTED, 0), (Change.EXPIRED, 5000), (Change.GRANTED, 5000)], (EMERGENCY, 2.04)),
        (
            [(Change.REVOKED, 4000), (Change.EXPIRED, 5000), (Change.GRANTED, 5010)],
            (EMERGENCY, 2.05),
        ),
        ([(Change.GRANTED, 0), (Change.GRANTED, 50)], None),  # another worker, same owner
        ([(Change.GRANTED, 50)], None),  # the very first
        ([(Change.REVOKED, 100), (Change.GRANTED, 90)], (GRACEFUL, 0.0)),  # clocks of two leaders
    ],
)
def test_a_move_runs_from_its_cause_to_the_grant(
    changes: list[tuple[Change, int]], expected: tuple[str, float] | None
) -> None:
    found = handover([change(kind, at) for kind, at in changes], lease_ms=2040)
    assert found == (None if expected is None else Handover(*expected))


def granted(
    table: Table, partition: PartitionId, epoch: int, changes: list[PartitionChange]
) -> None:
    table.phase[partition] = Phase.OWNED
    table.session[partition] = SESSION
    table.epoch[partition] = Epoch(epoch)
    table.history[partition] = tuple(changes)


def small_table() -> Table:
    table = Table.empty()
    table.partitions = 2
    table.phase = [Phase.FREE, Phase.FREE]
    table.session = [SessionId(0), SessionId(0)]
    table.epoch = [Epoch(0), Epoch(0)]
    table.history = [(), ()]
    return table


def test_time_without_an_owner_adds_up() -> None:
    table = small_table()
    meter = TableMeter(ME)
    meter.attach(table, 1_000)
    assert meter.unowned_seconds(2_000) == 2.0
    granted(table, P0, 1, [change(Change.GRANTED, 0, 1)])
    meter.changed(table, SESSION, [P0], 3_000, 0)
    assert meter.unowned_seconds(4_000) == 5.0
    table.phase[0] = Phase.REVOKING
    meter.changed(table, SESSION, [P0], 4_000, 0)
    assert meter.unowned_seconds(5_000) == 7.0


def test_a_grant_is_counted_once_by_its_receiver() -> None:
    table = small_table()
    meter = TableMeter(ME)
    meter.attach(table, 0)
    moved = [change(Change.REVOKED, 100, 1, OTHER), change(Change.GRANTED, 130)]
    granted(table, P0, 2, moved)
    for _ in range(2):  # a snapshot tells of everything again
        meter.changed(table, SESSION, [P0], 0, 140)
    assert meter.moves == {Cause.DRAIN: 1}
    assert sum(meter.handovers[GRACEFUL].buckets) == 1
    assert sum(meter.lag.buckets) == 1
    assert meter.lag.sum_seconds == 0.01


@pytest.mark.parametrize("session", [SessionId(0), SessionId(6)])
def test_grants_of_earlier_runs_are_not_counted(session: SessionId) -> None:
    table = small_table()
    meter = TableMeter(ME)
    granted(table, P0, 2, [change(Change.REVOKED, 100), change(Change.GRANTED, 130)])
    meter.changed(table, session, [P0], 0, 10_000)
    assert not meter.moves
    assert sum(meter.lag.buckets) == 0


def test_a_revoke_of_my_partition_is_no_grant() -> None:
    table = small_table()
    meter = TableMeter(ME)
    granted(table, P0, 2, [change(Change.GRANTED, 0), change(Change.REVOKED, 100)])
    meter.changed(table, SESSION, [P0], 0, 110)
    assert not meter.moves
