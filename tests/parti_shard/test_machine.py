"""The table as the log's state machine: batches, membership changes, snapshots."""

from __future__ import annotations

import pytest

from parti_raft.confchange import ChangeType, ConfChange, ConfChangeV2, SingleChange
from parti_raft.types import ConfState, LogIndex
from parti_shard.codec import encode_batch, encode_member
from parti_shard.commands import (
    CloseSession,
    Command,
    NewMember,
    OpenSession,
    Outcome,
    Rejection,
    SetIntent,
)
from parti_shard.commands import Intent as Wish
from parti_shard.errors import MalformedFrameError
from parti_shard.ids import NO_SESSION, MemberId, SessionId
from parti_shard.machine import TableMachine
from parti_shard.policy import Policy
from parti_shard.table import Table

A, B = MemberId(1), MemberId(2)
CONF = ConfState(voters=(A,))
NEW = NewMember(B, "b", "host-b")


@pytest.fixture
def machine() -> TableMachine:
    return TableMachine(Table.initial("c", 4, Policy(), NewMember(A, "a", "host-a")))


def change(*changes: tuple[ChangeType, MemberId], context: bytes = b"") -> ConfChange:
    singles = tuple(SingleChange(kind, member) for kind, member in changes)
    return ConfChangeV2(changes=singles, context=context)


def batch(*commands: Command) -> bytes:
    return encode_batch(77, commands)


def opening(nonce: int = 1, previous: SessionId = NO_SESSION) -> OpenSession:
    return OpenSession(A, previous, nonce, "a", "host-a")


def test_each_batch_of_an_entry_gets_the_outcomes_of_its_commands(machine: TableMachine) -> None:
    values = machine.apply(
        LogIndex(5), [batch(opening()), batch(CloseSession(SessionId(9)), SetIntent(A, Wish.DRAIN))]
    )
    assert values == [[Outcome(value=1)], [Outcome(Rejection.UNKNOWN_SESSION), Outcome()]]
    assert machine.table.applied_index == 5


def test_an_entry_without_commands_moves_the_index(machine: TableMachine) -> None:
    assert machine.apply(LogIndex(3), []) == []
    assert machine.table.applied_index == 3


def test_a_committed_batch_that_cannot_be_read_is_not_skipped(machine: TableMachine) -> None:
    before = machine.table.digest()
    with pytest.raises(MalformedFrameError):
        machine.apply(machine.table.applied_index, [batch(opening())[:-1]])
    assert machine.table.digest() == before


def test_a_new_member_comes_with_its_record_and_a_change_of_role_needs_none(
    machine: TableMachine,
) -> None:
    adding = change((ChangeType.ADD_LEARNER, B), context=encode_member(NEW))
    machine.configured(LogIndex(2), adding, CONF)
    assert machine.table.members[B].name == "b"
    assert machine.table.members[B].joined_index == 2
    record = machine.table.members[B]
    machine.configured(LogIndex(3), change((ChangeType.ADD_VOTER, B)), CONF)
    machine.configured(LogIndex(4), change((ChangeType.ADD_LEARNER, B)), CONF)
    machine.configured(LogIndex(5), ConfChangeV2(), CONF)  # leaves a joint configuration
    assert machine.table.members[B] == record
    assert machine.table.applied_index == 5


def test_a_removed_member_is_forgotten(machine: TableMachine) -> None:
    adding = change((ChangeType.ADD_LEARNER, B), context=encode_member(NEW))
    machine.configured(LogIndex(2), adding, CONF)
    machine.configured(LogIndex(3), change((ChangeType.REMOVE, B)), CONF)
    assert set(machine.table.members) == {A}


def test_a_snapshot_brings_the_whole_table_and_its_index(machine: TableMachine) -> None:
    machine.apply(LogIndex(8), [batch(opening())])
    other = TableMachine(Table.empty())
    other.restore(LogIndex(9), machine.snapshot())
    assert other.table.applied_index == 9
    machine.table.advance(LogIndex(9))
    assert other.table.digest() == machine.table.digest()
