"""What operators set of members, and plans that are too old to win."""

from __future__ import annotations

import pytest

from parti_raft.confchange import ChangeType, ConfChangeV2, SingleChange
from parti_raft.types import ConfState
from parti_shard.codec import encode_batch
from parti_shard.commands import (
    CloseSession,
    Command,
    DescribeMember,
    Intent,
    NewMember,
    OpenSession,
    Outcome,
    Pin,
    Rejection,
    Require,
    SetIntent,
    SetPolicy,
)
from parti_shard.ids import LogIndex, MemberId, PartitionId, SessionId
from parti_shard.machine import TableMachine
from parti_shard.policy import Policy
from parti_shard.table import Table

A, B = MemberId(1), MemberId(2)


class Log:
    """Applies commands one entry after the other."""

    def __init__(self) -> None:
        self.table = Table.initial("c", 4, Policy(), NewMember(A, "a", "host-a", "rack-1"))
        self.machine = TableMachine(self.table)

    def apply(self, *commands: Command) -> list[Outcome]:
        index = LogIndex(self.table.applied_index + 1)
        (outcomes,) = self.machine.apply(index, [encode_batch(1, commands)])
        assert isinstance(outcomes, list)
        self.table.check_invariants()
        return outcomes

    def facts(self, member: MemberId = A) -> tuple[str, int]:
        record = self.table.members[member]
        return record.zone, record.capacity


@pytest.fixture
def log() -> Log:
    return Log()


def opening(previous: int = 0, nonce: int = 1, zone: str = "rack-1") -> OpenSession:
    return OpenSession(A, SessionId(previous), nonce, "a", "host-a", zone, 100, version="1")


# --- facts


def test_what_is_set_wins_over_what_the_member_says_now_and_later(log: Log) -> None:
    log.apply(opening())
    assert log.facts() == ("rack-1", 100)
    log.apply(DescribeMember(A, "zone-b", 300))
    assert log.facts() == ("zone-b", 300)
    log.apply(opening(previous=1, nonce=2, zone=""))
    assert log.facts() == ("zone-b", 300)
    log.apply(opening(previous=2, nonce=3, zone="rack-9"))
    assert log.facts() == ("zone-b", 300)


def test_what_is_taken_back_is_again_what_the_member_says(log: Log) -> None:
    log.apply(opening(), DescribeMember(A, "zone-b", 300))
    log.apply(DescribeMember(A, "", 300))
    assert log.facts() == ("rack-1", 300)
    log.apply(DescribeMember(A, "zone-b", 0))
    assert log.facts() == ("zone-b", 100)


def test_facts_set_survive_a_new_admission_of_the_same_member(log: Log) -> None:
    log.apply(DescribeMember(A, "zone-b", 300))
    log.table.member_added(LogIndex(9), NewMember(A, "a", "elsewhere", "rack-2"))
    assert log.facts() == ("zone-b", 300)
    log.apply(DescribeMember(A, "", 0))
    assert log.facts() == ("rack-2", 1)


def test_facts_set_survive_a_snapshot(log: Log) -> None:
    log.apply(opening(), DescribeMember(A, "zone-b", 300))
    other = Table.empty()
    other.restore(log.table.snapshot())
    assert other.members == log.table.members
    assert other.config_index == log.table.config_index
    assert other.digest() == log.table.digest()


# --- plans that are too old


def test_every_change_of_what_is_planned_from_moves_the_index(log: Log) -> None:
    for change in (
        SetIntent(A, Intent.CORDON),
        DescribeMember(A, "zone-b", 0),
        Pin(PartitionId(0), A),
        SetPolicy(Policy(rebalance=False)),
    ):
        log.apply(change)
        assert log.table.config_index == log.table.applied_index, change
    index = LogIndex(log.table.applied_index + 1)
    promotion = ConfChangeV2(changes=(SingleChange(ChangeType.ADD_VOTER, A),))
    log.machine.configured(index, promotion, ConfState(voters=(A,)))
    assert log.table.config_index == index
    log.table.member_added(LogIndex(index + 1), NewMember(B, "b", "host-b"))
    assert log.table.config_index == index + 1
    log.table.member_removed(LogIndex(index + 2), B)
    assert log.table.config_index == index + 2


def test_sessions_and_what_changes_nothing_leave_the_index(log: Log) -> None:
    log.apply(SetIntent(A, Intent.CORDON), DescribeMember(A, "zone-b", 0))
    index = log.table.config_index
    log.apply(opening())
    log.apply(SetIntent(A, Intent.CORDON))
    log.apply(DescribeMember(A, "zone-b", 0))
    log.apply(SetIntent(B, Intent.CORDON))  # refused
    log.apply(CloseSession(SessionId(1)))
    assert log.table.config_index == index


def test_a_requirement_that_does_not_hold_ends_its_batch_and_no_other(log: Log) -> None:
    log.apply(SetIntent(A, Intent.CORDON))
    seen = log.table.config_index
    log.apply(opening())
    assert log.apply(Require(seen), SetIntent(A, Intent.DRAIN)) == [Outcome(), Outcome()]
    changed = log.table.config_index
    assert changed > seen
    refused = Outcome(Rejection.CONFIG_CHANGED, changed)
    asked = Require(seen), SetIntent(A, Intent.REMOVE), CloseSession(SessionId(1))
    assert log.apply(*asked) == [refused] * 3
    assert log.table.members[A].intent is Intent.DRAIN
    assert log.table.sessions
    assert log.table.rejections[Rejection.CONFIG_CHANGED] == 1


def test_of_two_plans_in_one_entry_the_first_wins(log: Log) -> None:
    seen = log.table.config_index
    batches = [
        encode_batch(1, [Require(seen), SetIntent(A, intent)])
        for intent in (Intent.DRAIN, Intent.NONE)
    ]
    log.machine.apply(LogIndex(7), batches)
    assert log.table.members[A].intent is Intent.DRAIN


def test_a_new_cluster_has_an_index_to_require() -> None:
    """In requests 0 says that nothing is required."""
    assert Log().table.config_index > 0
