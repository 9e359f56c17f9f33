"""What one durable step does to the log: pure, shared by every implementation.

`plan_step` checks a batch against the log's outline and says which rows go, which come and what
the outline is afterwards; the implementation carries that out as one transaction. The checks
refuse whatever would leave a gap, overwrite a committed entry, or take back a term, a vote, a
commit index or a snapshot: a bug above must not become durable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from parti_raft.types import Entry, HardState, LogIndex, Snapshot, Term
from parti_sidecar.storage.base import (
    NO_INDEX,
    BatchRejected,
    CorruptState,
    ForeignIdentity,
    Identity,
    LogPosition,
    WriteBatch,
)
from parti_sidecar.storage.limits import CLUSTER_ID_BYTES_MAX
from parti_sidecar.storage.records import LogState
from parti_sidecar.storage.rows import Row, decode_row, encode_rows

RowLookup = Callable[[LogIndex], Row | None]


@dataclass(frozen=True, slots=True)
class Step:
    """Delete the rows whose first index is `delete_from` or above, insert `rows`, set `state`.

    `delete_from` is None for a plain append. Rows that end at or below `state.floor` are dead
    and may be deleted at any later time.
    """

    state: LogState
    delete_from: LogIndex | None
    rows: list[Row]


def changes_identity(stored: Identity, asked: Identity) -> bool:
    """Whether to store `asked`; raises unless it is the same, names the cluster for the first time,
    names a later incarnation of it, or says that the member was removed. Nothing is taken back.
    """
    if asked == stored:
        return False
    same_member = asked.member_id == stored.member_id
    same_cluster = stored.cluster_id in ("", asked.cluster_id)
    earlier = asked.incarnation < stored.incarnation
    if not (same_member and same_cluster) or earlier or stored.removed:
        raise ForeignIdentity(stored, asked)
    if len(asked.cluster_id.encode()) > CLUSTER_ID_BYTES_MAX:
        raise BatchRejected(f"the cluster id is longer than {CLUSTER_ID_BYTES_MAX} bytes")
    return True


def plan_step(state: LogState, batch: WriteBatch, row_holding: RowLookup) -> Step | None:
    """Plan the batch; `row_holding` finds the stored row that holds a given live entry.

    None if the batch changes nothing: there is nothing to make durable then.
    """
    before = state
    delete_from = None
    rows: list[Row] = []
    if batch.snapshot is not None:
        state, delete_from = _plan_snapshot(state, batch.snapshot, row_holding)
    if batch.entries:
        state, cut_from, rows = _plan_entries(state, batch.entries, row_holding)
        delete_from = cut_from if delete_from is None else delete_from
    if batch.hard_state is not None:
        _check_hard_state(state, batch.hard_state)
        state = replace(state, hard_state=batch.hard_state)
    if batch.compact_to > state.floor.index:
        state = replace(state, floor=_new_floor(state, batch.compact_to, row_holding))
    if state == before and not rows:
        return None
    return Step(replace(state, step=before.step + 1), delete_from, rows)


def _plan_snapshot(
    state: LogState, snapshot: Snapshot, row_holding: RowLookup
) -> tuple[LogState, LogIndex | None]:
    if snapshot.index <= state.snapshot.index:
        raise BatchRejected(
            f"snapshot at {snapshot.index} is not newer than the one at {state.snapshot.index}"
        )
    position = LogPosition(snapshot.index, snapshot.term)
    hard = state.hard_state
    if hard.commit < snapshot.index:  # what a snapshot holds is committed
        hard = replace(hard, commit=snapshot.index)
    state = replace(state, snapshot=position, hard_state=hard)
    if snapshot.index <= state.last_index and (
        _term_at(snapshot.index, row_holding) == snapshot.term
    ):
        return state, None
    return replace(state, floor=position, last_index=snapshot.index), NO_INDEX


def _plan_entries(
    state: LogState, entries: Sequence[Entry], row_holding: RowLookup
) -> tuple[LogState, LogIndex | None, list[Row]]:
    first_index, last_index = entries[0].index, entries[-1].index
    _check_entries(state, entries)
    if first_index == state.last_index + 1:
        cut_from, kept, chain = None, [], state.tail_chain
    else:
        row = _require(row_holding(first_index), first_index)
        kept = [entry for entry in decode_row(row) if entry.index < first_index]
        cut_from, chain = row.first_index, row.prev_chain
    rows = encode_rows([*kept, *entries] if kept else entries, chain)
    state = replace(state, last_index=last_index, tail_chain=rows[-1].chain)
    return state, cut_from, rows


def _check_entries(state: LogState, entries: Sequence[Entry]) -> None:
    first_index, term = entries[0].index, entries[0].term
    if first_index > state.last_index + 1:
        raise BatchRejected(f"entries from {first_index} leave a gap after {state.last_index}")
    if first_index <= state.hard_state.commit:
        raise BatchRejected(
            f"entries from {first_index} would replace committed ones up to "
            f"{state.hard_state.commit}"
        )
    for position, entry in enumerate(entries):
        if entry.index != first_index + position or entry.term < term:
            raise BatchRejected(f"entry {entry.index} (term {entry.term}) is out of order")
        term = entry.term


def _check_hard_state(state: LogState, new: HardState) -> None:
    old = state.hard_state
    if new.term < old.term:
        raise BatchRejected(f"term {new.term} is below {old.term}")
    if new.term == old.term and old.vote and new.vote != old.vote:
        raise BatchRejected(f"second vote in term {old.term}")
    if not old.commit <= new.commit <= state.last_index:
        raise BatchRejected(
            f"commit index {new.commit} is outside of {old.commit}..{state.last_index}"
        )


def _new_floor(state: LogState, index: LogIndex, row_holding: RowLookup) -> LogPosition:
    if index > state.snapshot.index:
        raise BatchRejected(f"compaction to {index} is beyond the snapshot {state.snapshot.index}")
    if index == state.snapshot.index:
        return state.snapshot
    return LogPosition(index, _term_at(index, row_holding))


def _term_at(index: LogIndex, row_holding: RowLookup) -> Term:
    row = _require(row_holding(index), index)
    return decode_row(row)[index - row.first_index].term


def _require(row: Row | None, index: LogIndex) -> Row:
    if row is None or not row.first_index <= index <= row.last_index:
        raise CorruptState(f"log row of entry {index} is missing")
    return row
