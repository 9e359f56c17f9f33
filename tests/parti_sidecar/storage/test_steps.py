from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from parti_raft.types import Entry, LogIndex, MemberId, Term
from parti_sidecar.storage.base import (
    BatchRejected,
    CorruptState,
    ForeignIdentity,
    Identity,
    LogPosition,
    WriteBatch,
)
from parti_sidecar.storage.limits import CLUSTER_ID_BYTES_MAX
from parti_sidecar.storage.records import LogState
from parti_sidecar.storage.rows import Row, decode_row
from parti_sidecar.storage.steps import Step, changes_identity, plan_step
from tests.parti_sidecar.storage.helpers import MEMBER, append, entries, entry, hard, snapshot


class Log:
    """Rows as a disk would keep them."""

    def __init__(self) -> None:
        self.state = LogState()
        self.rows: list[Row] = []

    def row_holding(self, index: LogIndex) -> Row | None:
        found = [row for row in self.rows if row.first_index <= index]
        return found[-1] if found else None

    def write(self, batch: WriteBatch) -> Step:
        step = plan_step(self.state, batch, self.row_holding)
        assert step is not None
        assert step.state.step == self.state.step + 1
        if step.delete_from is not None:
            self.rows = [row for row in self.rows if row.first_index < step.delete_from]
        self.rows += step.rows
        self.state = step.state
        return step

    def entries(self) -> list[Entry]:
        return [found for row in self.rows for found in decode_row(row)]

    def outline(self) -> list[tuple[int, int]]:
        return [(row.first_index, row.last_index) for row in self.rows]

    def check_chain(self) -> None:
        for before, after in zip(self.rows, self.rows[1:], strict=False):
            assert after.prev_chain == before.chain
        if self.rows:
            assert self.rows[-1].chain == self.state.tail_chain


@pytest.fixture
def log() -> Log:
    """Rows 1..3, 4..6, 7..9 of term 2, committed to 5, snapshot at 4."""
    log = Log()
    log.write(hard(2, MEMBER))
    for first in (1, 4, 7):
        log.write(append(first, first + 2, term=2))
    log.write(hard(2, MEMBER, commit=5))
    log.write(WriteBatch(snapshot=snapshot(4, term=2)))
    return log


@pytest.mark.parametrize(
    ("first", "outline"),
    [
        (10, [(1, 3), (4, 6), (7, 9), (10, 11)]),
        (9, [(1, 3), (4, 6), (7, 10)]),
        (8, [(1, 3), (4, 6), (7, 9)]),
        (7, [(1, 3), (4, 6), (7, 8)]),
        (6, [(1, 3), (4, 7)]),
    ],
)
def test_entries_replace_the_tail_wherever_it_is_cut(
    log: Log, first: int, outline: list[tuple[int, int]]
) -> None:
    kept = log.entries()[: first - 1]
    log.write(append(first, first + 1, term=3))
    assert log.entries() == kept + entries(first, first + 1, term=3)
    assert log.outline() == outline
    log.check_chain()


REFUSED: Sequence[tuple[str, WriteBatch]] = [
    ("leave a gap after 9", append(11, 11, term=2)),
    ("would replace committed ones up to 5", append(5, 5, term=2)),
    ("entry 12 .* out of order", WriteBatch(entries=[entry(10, 2), entry(12, 2)])),
    ("entry 11 .* out of order", WriteBatch(entries=[entry(10, 3), entry(11, 2)])),
    ("term 1 is below 2", hard(1, MEMBER, commit=5)),
    ("second vote in term 2", hard(2, MemberId(7), commit=5)),
    ("second vote in term 2", hard(2, 0, commit=5)),
    ("commit index 4", hard(2, MEMBER, commit=4)),
    ("commit index 10", hard(2, MEMBER, commit=10)),
    ("not newer than the one at 4", WriteBatch(snapshot=snapshot(4, term=2))),
    ("not newer than the one at 4", WriteBatch(snapshot=snapshot(3, term=2))),
    ("beyond the snapshot 4", WriteBatch(compact_to=LogIndex(5))),
]


@pytest.mark.parametrize(("why", "batch"), REFUSED)
def test_a_batch_that_would_do_harm_is_refused(log: Log, why: str, batch: WriteBatch) -> None:
    with pytest.raises(BatchRejected, match=why):
        log.write(batch)


def test_a_snapshot_of_stored_entries_keeps_the_log(log: Log) -> None:
    step = log.write(WriteBatch(snapshot=snapshot(8, term=2)))
    assert step.delete_from is None
    assert log.state.snapshot == LogPosition(LogIndex(8), Term(2))
    assert log.state.hard_state.commit == 8
    assert (log.state.floor.index, log.state.last_index) == (0, 9)


@pytest.mark.parametrize(("index", "term"), [(20, 2), (10, 2), (9, 3), (6, 3)])
def test_a_snapshot_that_the_log_does_not_hold_discards_it(log: Log, index: int, term: int) -> None:
    log.write(
        WriteBatch(
            snapshot=snapshot(index, term),
            entries=entries(index + 1, index + 2, term),
            hard_state=hard(3, 0, index + 1).hard_state,
        )
    )
    assert log.entries() == entries(index + 1, index + 2, term)
    assert log.state.floor == log.state.snapshot == LogPosition(LogIndex(index), Term(term))
    assert log.state.hard_state.commit == index + 1
    log.check_chain()


@pytest.mark.parametrize("index", [1, 2, 3, 4])
def test_compaction_moves_the_floor_to_an_entry_and_its_term(log: Log, index: int) -> None:
    log.write(WriteBatch(compact_to=LogIndex(index)))
    assert log.state.floor == LogPosition(LogIndex(index), Term(2))


def test_what_changes_nothing_is_known_to_change_nothing(log: Log) -> None:
    for batch in (WriteBatch(), hard(2, MEMBER, commit=5), WriteBatch(compact_to=LogIndex(0))):
        assert plan_step(log.state, batch, log.row_holding) is None
    log.write(WriteBatch(compact_to=LogIndex(4)))
    assert plan_step(log.state, WriteBatch(compact_to=LogIndex(3)), log.row_holding) is None


def test_a_missing_row_is_damage(log: Log) -> None:
    log.rows = log.rows[:1]
    with pytest.raises(CorruptState, match="entry 8 is missing"):
        log.write(append(8, 8, term=3))


def test_a_cluster_is_named_once() -> None:
    blank = Identity("", MEMBER)
    named = replace(blank, cluster_id="one")
    assert changes_identity(blank, named)
    assert not changes_identity(named, named)
    assert not changes_identity(blank, blank)
    for asked in (replace(named, cluster_id="two"), blank):
        with pytest.raises(ForeignIdentity, match="'one'"):
            changes_identity(named, asked)
    with pytest.raises(ForeignIdentity):
        changes_identity(blank, Identity("one", MemberId(3)))


def test_an_incarnation_rises_and_a_removal_is_final() -> None:
    named = Identity("one", MEMBER)
    later = replace(named, incarnation=2)
    removed = replace(later, removed=True)
    assert changes_identity(named, later)
    assert changes_identity(later, removed)
    assert not changes_identity(removed, removed)
    refused = [
        (later, named),
        (removed, later),
        (removed, replace(removed, incarnation=3)),
        (later, replace(later, cluster_id="two", incarnation=3)),
        (later, replace(later, member_id=MemberId(3))),
    ]
    for stored, asked in refused:
        with pytest.raises(ForeignIdentity):
            changes_identity(stored, asked)


def test_the_length_of_a_cluster_id_is_limited() -> None:
    blank = Identity("", MEMBER)
    assert changes_identity(blank, replace(blank, cluster_id="x" * CLUSTER_ID_BYTES_MAX))
    with pytest.raises(BatchRejected, match="longer than"):
        changes_identity(blank, replace(blank, cluster_id="x" * (CLUSTER_ID_BYTES_MAX + 1)))
