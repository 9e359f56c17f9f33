"""One log drives the table and the store."""

from __future__ import annotations

import pytest

from parti_kv.codec import encode_command
from parti_kv.errors import MalformedKvError
from parti_kv.store import KvStore
from parti_kv.values import Answers, Status
from parti_shard.cluster_machine import ClusterMachine
from parti_shard.codec import encode_batch
from parti_shard.commands import NewMember, SetPolicy
from parti_shard.errors import MalformedFrameError
from parti_shard.ids import LogIndex, MemberId
from parti_shard.policy import Policy
from parti_shard.table import Table
from tests.parti_kv.kv_commands import put, writes

ORIGIN = 77


def first_table() -> Table:
    founder = NewMember(MemberId(1), "m1", "host-1")
    return Table.initial("c", 4, Policy(), founder, 2_000)


def machine(table: Table | None = None) -> tuple[ClusterMachine, Table, KvStore]:
    table, store = table or first_table(), KvStore()
    return ClusterMachine(table, store, ORIGIN), table, store


def kv_command(origin: int = ORIGIN, request: int = 5) -> bytes:
    batch = writes(put(b"k", b"v"))
    batch.origin, batch.request = origin, request
    return encode_command(batch)


def table_command() -> bytes:
    return encode_batch(1, [SetPolicy(Policy(moves_in_flight_max=3))])


def test_an_entry_may_hold_commands_of_both() -> None:
    both, table, store = machine()
    outcomes = both.apply(LogIndex(9), [kv_command(), table_command(), kv_command(request=6)])
    assert [outcome is None for outcome in outcomes] == [True, False, True]
    assert table.policy.moves_in_flight_max == 3
    assert store.revision == 2
    assert both.take_answered() == [(5, Answers([Status.OK], [1])), (6, Answers([Status.OK], [2]))]
    assert both.take_answered() == []


@pytest.mark.parametrize("commands", [[], [kv_command()], [table_command()]])
def test_every_entry_counts_for_the_table(commands: list[bytes]) -> None:
    both, table, _ = machine()
    assert len(both.apply(LogIndex(9), commands)) == len(commands)
    assert table.applied_index == 9


def test_answers_to_requests_of_others_are_not_kept() -> None:
    both, _, store = machine()
    both.apply(LogIndex(9), [kv_command(origin=ORIGIN + 1)])
    assert store.revision == 1
    assert both.take_answered() == []


def test_a_snapshot_holds_both() -> None:
    both, table, store = machine()
    both.apply(LogIndex(9), [kv_command(), table_command()])
    other, other_table, other_store = machine(Table.empty())
    other.restore(LogIndex(9), both.snapshot())
    assert other_table.snapshot() == table.snapshot()
    assert other_store.get(b"k") == store.get(b"k")


def test_the_first_table_of_a_cluster_leaves_the_store_empty() -> None:
    both, table, store = machine(Table.empty())
    both.restore(LogIndex(3), first_table().snapshot())
    assert table.cluster_id == "c"
    assert len(store) == 0


def test_what_is_damaged_is_refused() -> None:
    both, _, _ = machine()
    data = both.snapshot()
    for size in (1, 8, 30):
        with pytest.raises(MalformedFrameError):
            machine(Table.empty())[0].restore(LogIndex(3), data[:size])
    with pytest.raises(MalformedKvError):
        machine(Table.empty())[0].restore(LogIndex(3), data[:-1])
    with pytest.raises(MalformedKvError):
        both.apply(LogIndex(9), [b"K\1\1"])
