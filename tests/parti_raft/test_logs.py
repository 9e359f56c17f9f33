from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parti_raft import (
    NO_LIMIT,
    CompactedError,
    ConfState,
    EntryType,
    HardState,
    LogIndex,
    MemberId,
    MemoryLog,
    Snapshot,
    SnapshotOutdatedError,
    Term,
    UnavailableError,
)
from parti_raft.log import RaftLog
from parti_raft.sizes import encoded_size, entries_encoded_size, fitting_count, payloads_size
from parti_raft.types import Entry
from parti_raft.unstable import Unstable
from tests.parti_raft.cluster import entry


def stored(*terms: int) -> MemoryLog:
    log = MemoryLog()
    log.append([entry(term, at) for at, term in enumerate(terms, 1)])
    return log


@pytest.mark.parametrize(
    ("each", "size"),
    [
        (Entry(Term(1), LogIndex(1)), 4),
        (Entry(Term(0), LogIndex(0)), 4),
        (Entry(Term(127), LogIndex(128)), 5),
        (Entry(Term(1), LogIndex(1), EntryType.CONF_CHANGE), 6),
        (Entry(Term(1), LogIndex(1), data=b"abc"), 9),
        (Entry(Term(1 << 63), LogIndex(1), data=bytes(128)), 1 + 10 + 2 + 1 + 2 + 128),
    ],
)
def test_encoded_sizes(each: Entry, size: int) -> None:
    assert encoded_size(each) == size


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(0, 200))
def test_as_many_entries_as_fit_but_at_least_one(payloads: list[bytes], limit: int) -> None:
    entries = [entry(1, at, data) for at, data in enumerate(payloads, 1)]
    count = fitting_count(entries, limit)
    assert count >= min(1, len(entries))
    assert count <= 1 or entries_encoded_size(entries[:count]) <= limit
    assert count == len(entries) or entries_encoded_size(entries[: count + 1]) > limit
    assert fitting_count(entries, NO_LIMIT) == len(entries)
    assert payloads_size(entries) == sum(map(len, payloads))


def test_the_memory_log_gives_entries_and_terms() -> None:
    log = stored(1, 1, 2)
    assert (log.first_index(), log.last_index()) == (1, 3)
    assert log.term(0) == 0
    assert log.term(3) == 2
    assert log.entries(2, 4, NO_LIMIT) == (entry(1, 2), entry(2, 3))
    assert log.entries(2, 4, 0) == (entry(1, 2),)
    with pytest.raises(UnavailableError):
        log.term(4)
    with pytest.raises(UnavailableError):
        log.entries(2, 5, NO_LIMIT)


def test_compaction_keeps_the_term_before_the_first_entry() -> None:
    log = stored(1, 2, 3)
    log.compact(2)
    log.compact(1)
    assert (log.first_index(), log.last_index(), log.term(2)) == (3, 3, 2)
    with pytest.raises(CompactedError):
        log.term(1)
    with pytest.raises(CompactedError):
        log.entries(2, 4, NO_LIMIT)
    log.append([entry(1, 1), entry(2, 2)])
    log.append([entry(2, 2), entry(3, 3), entry(3, 4)])
    assert log.entries(3, 5, NO_LIMIT) == (entry(3, 3), entry(3, 4))


def test_appending_replaces_from_the_first_entry_on() -> None:
    log = stored(1, 1, 1)
    log.append([entry(2, 2)])
    assert log.entries(1, 3, NO_LIMIT) == (entry(1, 1), entry(2, 2))
    assert log.last_index() == 2
    with pytest.raises(AssertionError):
        log.append([entry(2, 5)])


def test_snapshots_of_the_memory_log() -> None:
    log = stored(1, 2, 3)
    state = ConfState(voters=(MemberId(1),))
    made = log.create_snapshot(2, state, b"s")
    assert (made.index, made.term, log.first_index()) == (2, 2, 1)
    with pytest.raises(SnapshotOutdatedError):
        log.create_snapshot(2, state, b"")
    with pytest.raises(SnapshotOutdatedError):
        log.apply_snapshot(made)
    log.apply_snapshot(Snapshot(LogIndex(9), Term(4), state))
    assert (log.first_index(), log.last_index(), log.term(9)) == (10, 9, 4)
    assert log.initial_state() == (HardState(), state)


def test_the_memory_log_takes_over_what_was_on_disk() -> None:
    log = MemoryLog()
    hard_state = HardState(Term(3), MemberId(2), LogIndex(6))
    snapshot = Snapshot(LogIndex(5), Term(2), ConfState(voters=(MemberId(1),)))
    entries = [entry(2, 4), entry(2, 5), entry(3, 6)]
    log.restore(hard_state, snapshot, (LogIndex(3), Term(2)), entries)
    assert log.initial_state() == (hard_state, snapshot.conf_state)
    assert (log.first_index(), log.last_index(), log.term(3)) == (4, 6, 2)
    assert log.snapshot() == snapshot


def test_unstable_entries_leave_only_with_matching_term() -> None:
    unstable = Unstable(5)
    unstable.truncate_and_append([entry(2, 5), entry(2, 6)])
    unstable.accept_in_progress()
    for index, term in ((4, 2), (7, 2), (6, 1)):
        unstable.stable_to(index, term)
        assert len(unstable.entries) == 2
    unstable.stable_to(5, 2)
    assert (unstable.entries, unstable.offset, unstable.in_progress) == ([entry(2, 6)], 6, 7)


@pytest.mark.parametrize(
    ("first", "offset", "in_progress", "indexes"),
    [(7, 5, 7, [5, 6, 7]), (6, 5, 6, [5, 6]), (5, 5, 5, [5]), (3, 3, 3, [3])],
)
def test_truncation_of_entries_being_written(
    first: int, offset: int, in_progress: int, indexes: list[int]
) -> None:
    unstable = Unstable(5)
    unstable.truncate_and_append([entry(2, 5), entry(2, 6)])
    unstable.accept_in_progress()
    unstable.truncate_and_append([entry(3, first)])
    assert (unstable.offset, unstable.in_progress) == (offset, in_progress)
    assert [each.index for each in unstable.entries] == indexes
    assert [each.index for each in unstable.next_entries()] == [first]
    assert unstable.has_next_entries
    with pytest.raises(AssertionError):
        unstable.truncate_and_append([entry(3, 9)])


def test_a_snapshot_is_handed_out_once_and_leaves_by_its_index() -> None:
    unstable = Unstable(5)
    snapshot = Snapshot(LogIndex(9), Term(3))
    unstable.restore(snapshot)
    assert unstable.next_snapshot() is snapshot
    unstable.accept_in_progress()
    assert unstable.next_snapshot() is None
    assert unstable.term(9) == 3
    unstable.stable_snapshot_to(8)
    assert unstable.snapshot is snapshot
    unstable.stable_snapshot_to(9)
    assert unstable.next_snapshot() is None
    assert unstable.term(9) is None
    assert unstable.offset == 10


def test_the_log_reads_across_stable_and_unstable() -> None:
    log = RaftLog(stored(1, 1), NO_LIMIT)
    log.append([entry(2, 3, b"x" * 10), entry(2, 4)])
    assert [each.index for each in log.slice(1, 5, NO_LIMIT)] == [1, 2, 3, 4]
    assert [each.index for each in log.slice(1, 5, 4)] == [1]
    assert [each.index for each in log.slice(1, 5, 8)] == [1, 2]
    assert [each.index for each in log.slice(1, 5, 12)] == [1, 2]
    assert [each.index for each in log.slice(1, 5, 8 + 16)] == [1, 2, 3]
    assert [each.index for each in log.slice(3, 5, 4)] == [3]
    assert log.entries_from(5, NO_LIMIT) == ()
    assert [log.term(index) for index in range(6)] == [0, 1, 1, 2, 2, None]


def test_the_log_does_not_know_compacted_entries() -> None:
    storage = stored(1, 2, 3)
    log = RaftLog(storage, NO_LIMIT)
    storage.compact(2)
    assert log.term(1) is None
    assert not log.matches(1, 1)
    assert log.matches(2, 2)
    with pytest.raises(CompactedError):
        log.entries_from(2, NO_LIMIT)
    assert log.find_conflict_by_term(1, 9) == (1, 0)


@pytest.mark.parametrize(
    ("last_index", "last_term", "newer"),
    [(3, 2, True), (4, 2, True), (2, 2, False), (1, 3, True), (9, 1, False)],
)
def test_up_to_date(last_index: int, last_term: int, newer: bool) -> None:  # noqa: FBT001
    assert RaftLog(stored(1, 1, 2), NO_LIMIT).is_up_to_date(last_index, last_term) is newer


@pytest.mark.parametrize(
    ("index", "term", "found"),
    [(6, 9, (6, 4)), (6, 3, (4, 3)), (6, 2, (2, 1)), (6, 0, (0, 0)), (9, 1, (9, 0))],
)
def test_where_logs_may_match(index: int, term: int, found: tuple[int, int]) -> None:
    assert RaftLog(stored(1, 1, 3, 3, 4, 4), NO_LIMIT).find_conflict_by_term(index, term) == found
