"""A store at a later step than the witness's still may not take back what was witnessed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from parti_raft.types import HardState, LogIndex, MemberId, Term
from parti_sidecar.storage.base import CorruptState, Identity, LogPosition
from parti_sidecar.storage.records import (
    Claim,
    LogState,
    RecordKind,
    cluster_checksum,
    encode_identity,
    encode_log_state,
    encode_snapshot_record,
)
from parti_sidecar.storage.recovery import claim_of, recover
from parti_sidecar.storage.rows import encode_rows
from parti_sidecar.storage.snapshots import record_of
from tests.parti_sidecar.storage.helpers import MEMBER, entries, snapshot

IDENTITY = Identity("cluster", MEMBER)
AT_5 = LogPosition(LogIndex(5), Term(1))
STATE = LogState(
    step=9,
    hard_state=HardState(Term(4), MemberId(2), LogIndex(5)),
    floor=AT_5,
    snapshot=AT_5,
    last_index=LogIndex(5),
)
RECORDS: dict[int, bytes] = {
    RecordKind.IDENTITY: encode_identity(IDENTITY),
    RecordKind.LOG_STATE: encode_log_state(STATE),
    RecordKind.SNAPSHOT: encode_snapshot_record(record_of(snapshot(5))),
}
EARLIER = replace(STATE, step=8)
AT_6 = LogPosition(LogIndex(6), Term(1))


def hard(term: int, vote: int, commit: int) -> HardState:
    return HardState(Term(term), MemberId(vote), LogIndex(commit))


@pytest.mark.parametrize(
    "witnessed",
    [
        EARLIER,
        replace(EARLIER, hard_state=hard(4, 0, 5)),
        replace(EARLIER, hard_state=hard(3, 1, 4)),
        LogState(),
        STATE,
    ],
)
def test_a_store_that_follows_the_witness_is_taken(witnessed: LogState) -> None:
    recovered = recover(RECORDS, [], claim_of(IDENTITY, witnessed, 3))
    assert recovered.log_state == STATE
    assert recovered.stored.identity == IDENTITY


@pytest.mark.parametrize(
    ("witnessed", "damage"),
    [
        (replace(EARLIER, hard_state=hard(5, 0, 5)), "does not follow"),
        (replace(EARLIER, hard_state=hard(4, 3, 5)), "does not follow"),
        (replace(EARLIER, hard_state=hard(4, 2, 6)), "does not follow"),
        (replace(EARLIER, snapshot=AT_6), "does not follow"),
        (replace(EARLIER, floor=AT_6), "does not follow"),
        (replace(STATE, step=10), "10 was durable"),
        (replace(STATE, tail_chain=1), "is not the one that was durable"),
    ],
)
def test_a_store_that_takes_back_what_was_witnessed_is_refused(
    witnessed: LogState, damage: str
) -> None:
    with pytest.raises(CorruptState, match=damage):
        recover(RECORDS, [], claim_of(IDENTITY, witnessed, 3))


def test_the_witness_must_be_there_and_belong_to_the_member() -> None:
    with pytest.raises(CorruptState, match="missing"):
        recover(RECORDS, [], None)
    with pytest.raises(CorruptState, match="another member"):
        recover(RECORDS, [], claim_of(replace(IDENTITY, member_id=MemberId(1)), STATE, 3))
    with pytest.raises(CorruptState, match="cluster id"):
        recover(RECORDS, [], Claim(3, MEMBER, cluster_checksum("other"), STATE))


def test_a_gap_between_linked_rows_is_noticed() -> None:
    first = encode_rows(entries(1, 2), 0)[0]
    after_gap = encode_rows(entries(4, 5), first.chain)[0]
    state = LogState(last_index=LogIndex(5), tail_chain=after_gap.chain)
    records: dict[int, bytes] = {
        RecordKind.IDENTITY: encode_identity(IDENTITY),
        RecordKind.LOG_STATE: encode_log_state(state),
    }
    with pytest.raises(CorruptState, match="entry 4 does not follow"):
        recover(records, [first, after_gap], claim_of(IDENTITY, state, 1))


def test_the_snapshot_record_must_be_the_recorded_one() -> None:
    claim = claim_of(IDENTITY, STATE, 3)
    without = {kind: body for kind, body in RECORDS.items() if kind != RecordKind.SNAPSHOT}
    with pytest.raises(CorruptState, match="snapshot is missing"):
        recover(without, [], claim)
    other = encode_snapshot_record(record_of(snapshot(4)))
    with pytest.raises(CorruptState, match="snapshot record is for"):
        recover({**RECORDS, RecordKind.SNAPSHOT: other}, [], claim)
