"""What members say to each other besides Raft: renewals, and commands on their way to the leader.

A frame is a kind byte, a format version byte and fixed-width fields. Everything that does not
follow is refused with `MalformedFrameError`, what is left over as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Any, TypeAlias

from parti_shard.commands import Rejection
from parti_shard.errors import MalformedFrameError, Reason
from parti_shard.ids import Epoch, LogIndex, MemberId, PartitionId, SessionId
from parti_shard.kv_frames import (
    KvKeep,
    KvKept,
    KvPropose,
    KvRefused,
    decode_keep,
    decode_kept,
    decode_propose,
    decode_refused,
    encode_keep,
    encode_kept,
    encode_propose,
    encode_refused,
)
from parti_shard.lease import RenewAck, RenewRefusal
from parti_shard.limits import PARTITIONS_MAX
from parti_shard.packing import Reader, read_enum, read_flag

FORMAT_VERSION = 1
PROPOSAL_BYTES_MAX = 64 << 10


@dataclass(frozen=True, slots=True)
class Renew:
    """A member keeps its session alive and reports what the leader has to know."""

    session: SessionId
    member: MemberId
    seq: int
    acknowledged_seq: int  # the newest of its renewals that counts at the member
    applied_index: LogIndex
    worker_ready: bool
    draining: bool
    released: tuple[tuple[PartitionId, Epoch], ...] = ()  # never admitted under again
    load: tuple[tuple[PartitionId, int], ...] = ()  # messages since the last report


@dataclass(frozen=True, slots=True)
class RenewRefused:
    """This renewal gives no lease."""

    seq: int
    session: SessionId
    reason: RenewRefusal


@dataclass(frozen=True, slots=True)
class Propose:
    """A member hands an encoded batch of forwardable commands to the leader."""

    request_id: int
    batch: bytes


@dataclass(frozen=True, slots=True)
class Proposed:
    """What became of it: a `reason` other than OK means that it did not reach the log, or that
    this is not known; `rejection` and `value` are the table's answer to its last command.
    """

    request_id: int
    reason: Reason
    rejection: Rejection = Rejection.NONE
    value: int = 0
    index: LogIndex = LogIndex(0)


KvFrame: TypeAlias = KvPropose | KvRefused | KvKeep | KvKept
Frame: TypeAlias = Renew | RenewAck | RenewRefused | Propose | Proposed | KvFrame

_RENEW, _ACK, _REFUSED, _PROPOSE, _PROPOSED = range(1, 6)
_KV_PROPOSE, _KV_REFUSED, _KV_KEEP, _KV_KEPT = range(6, 10)
_HEAD = Struct("<BB")
_RENEW_FIELDS = Struct("<QQQQQBBII")
_ACK_FIELDS = Struct("<QQQ")
_REFUSED_FIELDS = Struct("<QQB")
_PROPOSE_FIELDS = Struct("<QI")
_PROPOSED_FIELDS = Struct("<QBBQQ")


def encode_frame(frame: Frame) -> bytes:
    kind, encoder = _ENCODERS[type(frame)]
    return _HEAD.pack(kind, FORMAT_VERSION) + encoder(frame)


def decode_frame(data: bytes) -> Frame:
    """Return the frame; `MalformedFrameError` if it is none."""
    reader = Reader(data)
    kind, version = reader.fields(_HEAD)
    decoder = _DECODERS.get(kind)
    if decoder is None or version != FORMAT_VERSION:
        raise MalformedFrameError(f"a frame of kind {kind}, format {version}")
    frame = decoder(reader)
    reader.end()
    return frame


def _encode_renew(renew: Renew) -> bytes:
    assert max(len(renew.released), len(renew.load)) <= PARTITIONS_MAX, "a report too long"
    fields = _RENEW_FIELDS.pack(
        renew.session,
        renew.member,
        renew.seq,
        renew.acknowledged_seq,
        renew.applied_index,
        renew.worker_ready,
        renew.draining,
        len(renew.released),
        len(renew.load),
    )
    return fields + _pack_pairs(renew.released) + _pack_pairs(renew.load)


def _decode_renew(reader: Reader) -> Renew:
    session, member, seq, acknowledged, applied, ready, draining, released, load = reader.fields(
        _RENEW_FIELDS
    )
    partitions, epochs = _read_pairs(reader, released)
    loaded, counts = _read_pairs(reader, load)
    return Renew(
        SessionId(session),
        MemberId(member),
        seq,
        acknowledged,
        LogIndex(applied),
        read_flag(ready),
        read_flag(draining),
        tuple(zip(partitions, map(Epoch, epochs), strict=True)),
        tuple(zip(loaded, counts, strict=True)),
    )


def _pack_pairs(pairs: tuple[tuple[PartitionId, int], ...]) -> bytes:
    count = len(pairs)
    return Struct(f"<{count}I{count}Q").pack(*(p for p, _ in pairs), *(v for _, v in pairs))


def _read_pairs(reader: Reader, count: int) -> tuple[list[PartitionId], list[int]]:
    if count > PARTITIONS_MAX:
        raise MalformedFrameError(f"a report on {count} partitions")
    partitions = reader.column("I", count)
    if max(partitions, default=0) >= PARTITIONS_MAX:
        raise MalformedFrameError(f"{max(partitions)} is no partition")
    return list(map(PartitionId, partitions)), reader.column("Q", count)


def _encode_ack(ack: RenewAck) -> bytes:
    return _ACK_FIELDS.pack(ack.seq, ack.session, ack.read_index)


def _decode_ack(reader: Reader) -> RenewAck:
    seq, session, read_index = reader.fields(_ACK_FIELDS)
    return RenewAck(seq, SessionId(session), LogIndex(read_index))


def _encode_refused(refused: RenewRefused) -> bytes:
    return _REFUSED_FIELDS.pack(refused.seq, refused.session, refused.reason)


def _decode_refused(reader: Reader) -> RenewRefused:
    seq, session, reason = reader.fields(_REFUSED_FIELDS)
    return RenewRefused(seq, SessionId(session), read_enum(RenewRefusal, reason))


def _encode_propose(propose: Propose) -> bytes:
    assert len(propose.batch) <= PROPOSAL_BYTES_MAX, len(propose.batch)
    return _PROPOSE_FIELDS.pack(propose.request_id, len(propose.batch)) + propose.batch


def _decode_propose(reader: Reader) -> Propose:
    return Propose(reader.int64(), reader.blob(PROPOSAL_BYTES_MAX))


def _encode_proposed(proposed: Proposed) -> bytes:
    return _PROPOSED_FIELDS.pack(
        proposed.request_id, proposed.reason, proposed.rejection, proposed.value, proposed.index
    )


def _decode_proposed(reader: Reader) -> Proposed:
    request_id, reason, rejection, value, index = reader.fields(_PROPOSED_FIELDS)
    return Proposed(
        request_id,
        read_enum(Reason, reason),
        read_enum(Rejection, rejection),
        value,
        LogIndex(index),
    )


_ENCODERS: dict[type[Frame], tuple[int, Callable[[Any], bytes]]] = {
    Renew: (_RENEW, _encode_renew),
    RenewAck: (_ACK, _encode_ack),
    RenewRefused: (_REFUSED, _encode_refused),
    Propose: (_PROPOSE, _encode_propose),
    Proposed: (_PROPOSED, _encode_proposed),
    KvPropose: (_KV_PROPOSE, encode_propose),
    KvRefused: (_KV_REFUSED, encode_refused),
    KvKeep: (_KV_KEEP, encode_keep),
    KvKept: (_KV_KEPT, encode_kept),
}

_DECODERS: dict[int, Callable[[Reader], Frame]] = {
    _RENEW: _decode_renew,
    _ACK: _decode_ack,
    _REFUSED: _decode_refused,
    _PROPOSE: _decode_propose,
    _PROPOSED: _decode_proposed,
    _KV_PROPOSE: decode_propose,
    _KV_REFUSED: decode_refused,
    _KV_KEEP: decode_keep,
    _KV_KEPT: decode_kept,
}
