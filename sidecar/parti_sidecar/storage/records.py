"""Records: the small facts beside the log, each as checksummed bytes.

A record's checksum covers its kind too, so that one stored in the place of another is noticed.
The identity's first four bytes (format version) and its last four (checksum) keep their place
in every future format: an old program can then tell new data from damaged data.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

import google_crc32c

from parti_raft.types import ConfState, HardState, LogIndex, MemberId, Term
from parti_sidecar.storage.base import (
    FORMAT_VERSION,
    LOG_START,
    CorruptState,
    FormatTooNew,
    Identity,
    LogPosition,
    SnapshotRecord,
)

_NO_HARD_STATE = HardState()
_CRC = struct.Struct("<I")
_IDENTITY = struct.Struct("<IQI?")  # version, member, incarnation, removed; cluster id follows
_IDENTITY_1 = struct.Struct("<IQ")  # of format 1
_LOG_STATE = struct.Struct("<QQQQQQQQQI")
_SNAPSHOT = struct.Struct("<QQQI?4I")
_CLAIM = struct.Struct("<QQI")


class RecordKind(IntEnum):
    """The numbers are part of the format and never reused."""

    IDENTITY = 1
    LOG_STATE = 2
    SNAPSHOT = 3
    CLAIM = 4


@dataclass(frozen=True, slots=True)
class LogState:
    """Hard state and the log's outline, rewritten in every step together with the entries.

    `step` counts the steps ever written: of two states of one member it tells the older.
    `tail_chain` is the checksum of the last row ever written to the current log: the next
    row continues from it, and at load the last row found must carry it.
    """

    step: int = 0
    hard_state: HardState = _NO_HARD_STATE
    floor: LogPosition = LOG_START
    snapshot: LogPosition = LOG_START
    last_index: LogIndex = LOG_START.index
    tail_chain: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """What the witness knows to be durable: the store may be at a later step, never earlier."""

    sequence: int
    member_id: MemberId
    cluster_crc32c: int
    state: LogState


def _seal(kind: RecordKind, payload: bytes) -> bytes:
    return payload + _CRC.pack(_checksum(kind, payload))


def _open(kind: RecordKind, body: bytes | None) -> bytes:
    name = kind.name.lower()
    if body is None:
        raise CorruptState(f"record {name} is missing")
    payload = body[: -_CRC.size]
    if len(body) < _CRC.size or body[-_CRC.size :] != _CRC.pack(_checksum(kind, payload)):
        raise CorruptState(f"record {name}: checksum mismatch")
    return payload


def _checksum(kind: RecordKind, payload: bytes) -> int:
    crc32c: int = google_crc32c.extend(google_crc32c.value(bytes((kind,))), payload)
    return crc32c


def encode_identity(identity: Identity) -> bytes:
    head = _IDENTITY.pack(
        FORMAT_VERSION, identity.member_id, identity.incarnation, identity.removed
    )
    return _seal(RecordKind.IDENTITY, head + identity.cluster_id.encode())


def decode_identity(body: bytes | None) -> Identity:
    payload = _open(RecordKind.IDENTITY, body)
    version: int = _CRC.unpack_from(payload)[0]
    if version > FORMAT_VERSION:
        raise FormatTooNew(version)
    if version == 1:
        _version, member_id = _IDENTITY_1.unpack_from(payload)
        return Identity(payload[_IDENTITY_1.size :].decode(), MemberId(member_id))
    _version, member_id, incarnation, removed = _IDENTITY.unpack_from(payload)
    return Identity(payload[_IDENTITY.size :].decode(), MemberId(member_id), incarnation, removed)


def encode_log_state(state: LogState) -> bytes:
    return _seal(RecordKind.LOG_STATE, _pack_log_state(state))


def _pack_log_state(state: LogState) -> bytes:
    hard, floor, snapshot = state.hard_state, state.floor, state.snapshot
    return _LOG_STATE.pack(
        state.step,
        hard.term,
        hard.vote,
        hard.commit,
        floor.index,
        floor.term,
        snapshot.index,
        snapshot.term,
        state.last_index,
        state.tail_chain,
    )


def decode_log_state(body: bytes | None) -> LogState:
    return _unpack_log_state(_open(RecordKind.LOG_STATE, body))


def _unpack_log_state(packed: bytes) -> LogState:
    step, term, vote, commit, *positions, last, chain = _LOG_STATE.unpack(packed)
    floor_index, floor_term, snap_index, snap_term = positions
    return LogState(
        step=step,
        hard_state=HardState(Term(term), MemberId(vote), LogIndex(commit)),
        floor=LogPosition(LogIndex(floor_index), Term(floor_term)),
        snapshot=LogPosition(LogIndex(snap_index), Term(snap_term)),
        last_index=LogIndex(last),
        tail_chain=chain,
    )


def encode_snapshot_record(record: SnapshotRecord) -> bytes:
    conf = record.conf_state
    groups = (conf.voters, conf.voters_outgoing, conf.learners, conf.learners_next)
    members = [member for group in groups for member in group]
    head = _SNAPSHOT.pack(
        record.index,
        record.term,
        record.size_bytes,
        record.crc32c,
        conf.auto_leave,
        *map(len, groups),
    )
    body = head + struct.pack(f"<{len(members)}Q", *members) + record.name.encode("ascii")
    return _seal(RecordKind.SNAPSHOT, body)


def decode_snapshot_record(body: bytes | None) -> SnapshotRecord:
    payload = _open(RecordKind.SNAPSHOT, body)
    index, term, size_bytes, crc32c, auto_leave, *sizes = _SNAPSHOT.unpack_from(payload)
    members = struct.unpack_from(f"<{sum(sizes)}Q", payload, _SNAPSHOT.size)
    groups, start = [], 0
    for size in sizes:
        groups.append(tuple(MemberId(member) for member in members[start : start + size]))
        start += size
    name = payload[_SNAPSHOT.size + 8 * len(members) :].decode("ascii")
    voters, voters_outgoing, learners, learners_next = groups
    conf_state = ConfState(voters, voters_outgoing, learners, learners_next, auto_leave)
    return SnapshotRecord(LogIndex(index), Term(term), conf_state, size_bytes, crc32c, name)


def encode_claim(claim: Claim) -> bytes:
    head = _CLAIM.pack(claim.sequence, claim.member_id, claim.cluster_crc32c)
    return _seal(RecordKind.CLAIM, head + _pack_log_state(claim.state))


CLAIM_BYTES = _CLAIM.size + _LOG_STATE.size + _CRC.size


def decode_claim(body: bytes) -> Claim:
    payload = _open(RecordKind.CLAIM, body)
    sequence, member_id, cluster_crc32c = _CLAIM.unpack_from(payload)
    state = _unpack_log_state(payload[_CLAIM.size :])
    return Claim(sequence, MemberId(member_id), cluster_crc32c, state)


def cluster_checksum(cluster_id: str) -> int:
    """Stands for the cluster id in a claim; 0 while the member belongs to no cluster."""
    crc32c: int = google_crc32c.value(cluster_id.encode()) if cluster_id else 0
    return crc32c
