from __future__ import annotations

import struct

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parti_raft.types import ConfState, HardState, LogIndex, MemberId, Term
from parti_sidecar.storage.base import (
    FORMAT_VERSION,
    CorruptState,
    FormatTooNew,
    Identity,
    LogPosition,
    SnapshotRecord,
)
from parti_sidecar.storage.records import (
    CLAIM_BYTES,
    Claim,
    LogState,
    RecordKind,
    cluster_checksum,
    decode_claim,
    decode_identity,
    decode_log_state,
    decode_snapshot_record,
    encode_claim,
    encode_identity,
    encode_log_state,
    encode_snapshot_record,
)

u64 = st.integers(0, (1 << 64) - 1)
u32 = st.integers(0, (1 << 32) - 1)
members = st.lists(u64.map(MemberId), max_size=7).map(tuple)
terms, indexes = u64.map(Term), u64.map(LogIndex)
hard_states = st.builds(HardState, terms, u64.map(MemberId), indexes)
positions = st.builds(LogPosition, indexes, terms)
log_states = st.builds(LogState, u64, hard_states, positions, positions, indexes, u32)
conf_states = st.builds(ConfState, members, members, members, members, st.booleans())


@given(st.builds(Identity, st.text(max_size=30), u64.map(MemberId), u32, st.booleans()))
def test_identity_comes_back(identity: Identity) -> None:
    assert decode_identity(encode_identity(identity)) == identity


def test_an_identity_of_the_first_format_is_read() -> None:
    payload = struct.pack("<IQ", 1, 7) + b"cluster"
    crc = google_crc32c.extend(google_crc32c.value(bytes((RecordKind.IDENTITY,))), payload)
    body = payload + struct.pack("<I", crc)
    assert decode_identity(body) == Identity("cluster", MemberId(7))


@given(log_states)
def test_log_state_comes_back(state: LogState) -> None:
    assert decode_log_state(encode_log_state(state)) == state


@given(
    st.builds(
        SnapshotRecord,
        indexes,
        terms,
        conf_states,
        u64,
        u32,
        st.text(alphabet="abc-0123456789", max_size=60),
    )
)
def test_snapshot_record_comes_back(record: SnapshotRecord) -> None:
    assert decode_snapshot_record(encode_snapshot_record(record)) == record


@given(st.builds(Claim, u64, u64.map(MemberId), u32, log_states))
def test_claim_comes_back_in_its_fixed_size(claim: Claim) -> None:
    body = encode_claim(claim)
    assert len(body) == CLAIM_BYTES
    assert decode_claim(body) == claim


def test_every_flipped_bit_of_a_record_is_noticed() -> None:
    body = encode_log_state(LogState(hard_state=HardState(Term(3), MemberId(2), LogIndex(1))))
    for bit in range(8 * len(body)):
        damaged = bytearray(body)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptState, match="checksum"):
            decode_log_state(bytes(damaged))


def test_a_missing_empty_or_swapped_record_is_noticed() -> None:
    with pytest.raises(CorruptState, match="missing"):
        decode_identity(None)
    with pytest.raises(CorruptState):
        decode_identity(b"")
    with pytest.raises(CorruptState):
        decode_log_state(encode_identity(Identity("cluster", MemberId(1))))


def test_a_newer_format_is_told_from_damage() -> None:
    payload = struct.pack("<I", FORMAT_VERSION + 1) + b"whatever the future holds"
    crc = google_crc32c.extend(google_crc32c.value(b"\x01"), payload)
    with pytest.raises(FormatTooNew, match="newer program") as caught:
        decode_identity(payload + struct.pack("<I", crc))
    assert caught.value.found == FORMAT_VERSION + 1


def test_the_cluster_checksum_is_zero_only_without_a_cluster() -> None:
    assert cluster_checksum("") == 0
    assert cluster_checksum("a") != cluster_checksum("b") != 0
