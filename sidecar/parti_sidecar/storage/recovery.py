"""What was found on disk, verified: either the whole state or an error. Pure.

SQLite notices damage to its own structure only. It returns damaged row contents as they are, and
it takes a decayed write-ahead log for one that ends earlier. So everything is checked here:
- each record and each row carries a checksum (decay of contents);
- rows are chained, contiguous, begin at the floor and end at the recorded tail (lost rows);
- the witness, a separate file, claims a step that was durable some time ago (a lost tail of the
  write-ahead log, a lost write-ahead log, an older database).

Not detected: the loss, after a crash, of steps that the witness does not cover yet (at most
`WITNESS_LAG_COMMITS_MAX` commits under load; at rest those of the last `WITNESS_AGE_MS_MAX` plus
`IDLE_PERIOD_MS`; none after a proper close), since a decayed last commit looks like an
unfinished one; and a whole directory, witness included, replaced by an older copy of itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from parti_raft.types import Entry
from parti_sidecar.storage.base import (
    LOG_START,
    CorruptState,
    Identity,
    LogPosition,
    SnapshotRecord,
    StoredState,
)
from parti_sidecar.storage.records import (
    Claim,
    LogState,
    RecordKind,
    cluster_checksum,
    decode_identity,
    decode_log_state,
    decode_snapshot_record,
)
from parti_sidecar.storage.rows import Row, decode_row


@dataclass(frozen=True, slots=True)
class Recovered:
    """The verified state and the log's outline to go on from."""

    stored: StoredState
    log_state: LogState


def recover(
    records: Mapping[int, bytes], live_rows: Iterable[Row], claim: Claim | None
) -> Recovered:
    """Verify records, live rows (ascending, those that end above the floor) and the claim."""
    identity = decode_identity(records.get(RecordKind.IDENTITY))
    state = decode_log_state(records.get(RecordKind.LOG_STATE))
    snapshot = _current_snapshot(state, records.get(RecordKind.SNAPSHOT))
    entries = _read_log(state, live_rows)
    if claim is None:
        raise CorruptState("the witness is missing or unreadable")
    _check_claim(claim, identity, state)
    stored = StoredState(identity, state.hard_state, entries, snapshot, state.floor)
    return Recovered(stored, state)


def _current_snapshot(state: LogState, body: bytes | None) -> SnapshotRecord | None:
    record = None
    if state.snapshot != LOG_START or body is not None:
        record = decode_snapshot_record(body)
    found = LOG_START if record is None else LogPosition(record.index, record.term)
    if found != state.snapshot:
        raise CorruptState(f"snapshot record is for {found}, expected {state.snapshot}")
    return record


def _read_log(state: LogState, live_rows: Iterable[Row]) -> list[Entry]:
    entries: list[Entry] = []
    previous: Row | None = None
    for row in live_rows:
        decoded = decode_row(row)
        _check_link(state, previous, row)
        entries.extend(decoded)
        previous = row
    last_index, chain = state.floor.index, state.tail_chain
    if previous is not None:
        last_index, chain = previous.last_index, previous.chain
    if (last_index, chain) != (state.last_index, state.tail_chain):
        raise CorruptState(f"the log ends at {last_index}, expected {state.last_index}")
    dead = next((at for at, entry in enumerate(entries) if entry.index > state.floor.index), 0)
    return entries[dead:]


def _check_link(state: LogState, previous: Row | None, row: Row) -> None:
    if previous is None:
        if not row.first_index <= state.floor.index + 1 <= row.last_index:
            raise CorruptState(f"the log begins at {row.first_index}, floor {state.floor.index}")
    elif row.first_index != previous.last_index + 1 or row.prev_chain != previous.chain:
        raise CorruptState(f"log row of entry {row.first_index} does not follow the one before")


def _check_claim(claim: Claim, identity: Identity, state: LogState) -> None:
    witnessed = claim.state
    if claim.member_id != identity.member_id:
        raise CorruptState("the witness belongs to another member")
    if claim.cluster_crc32c not in (0, cluster_checksum(identity.cluster_id)):
        raise CorruptState("the cluster id was lost")
    if state.step < witnessed.step:
        raise CorruptState(
            f"step {state.step} is the last one stored, but {witnessed.step} was durable; "
            f"the log ends at {state.last_index}, was durable to {witnessed.last_index}"
        )
    if state.step == witnessed.step and state != witnessed:
        raise CorruptState(f"step {state.step} is not the one that was durable")
    if _takes_back(state, witnessed):
        raise CorruptState(f"{state} does not follow the witnessed {witnessed}")


def _takes_back(state: LogState, witnessed: LogState) -> bool:
    hard, durable = state.hard_state, witnessed.hard_state
    return (
        hard.term < durable.term
        or hard.commit < durable.commit
        or (hard.term == durable.term and durable.vote not in (0, hard.vote))
        or state.snapshot.index < witnessed.snapshot.index
        or state.floor.index < witnessed.floor.index
    )


def claim_of(identity: Identity, state: LogState, sequence: int) -> Claim:
    """What may be claimed once `state` is durable."""
    return Claim(sequence, identity.member_id, cluster_checksum(identity.cluster_id), state)
