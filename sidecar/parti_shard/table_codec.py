"""Bytes of the whole table, for snapshots: column by column, so that thousands pack fast.

Equal tables give equal bytes (members and pins are sorted), so a digest of the bytes compares
members. What is read back is checked as a whole; a damaged snapshot is refused, never repaired.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from parti_shard.codec import encode_policy, read_policy
from parti_shard.commands import Cause, Intent, MemberRecord
from parti_shard.errors import Failure, MalformedFrameError, PartiError, Reason
from parti_shard.history import CHANGES_KEPT, Change, PartitionChange
from parti_shard.ids import Epoch, LogIndex, MemberId, PartitionId, SessionId
from parti_shard.limits import LEASE_TTL_MS_MAX, LEASE_TTL_MS_MIN, PARTITIONS_MAX
from parti_shard.packing import Reader, pack_text, read_enum, read_flag
from parti_shard.table_state import Phase, TableState

FORMAT_VERSION = 2

# version, applied index, config index, next session, partitions, members, lease TTL
_HEADER = Struct("<BQQQIII")
# id, session, last, nonce, joined, capacity said and set, router only, intent
_MEMBER = Struct("<QQQQQIIBB")
_PIN = Struct("<IQ")
_COLUMNS = "QQQBQ"  # owner, session, epoch, phase, target
_CHANGE_COLUMNS = "QQBQQB"  # index, at_unix_ms, change, member, epoch, cause


class RollbackError(PartiError):
    """A snapshot would take the table back, or belongs to another cluster."""

    def __init__(self, message: str) -> None:
        super().__init__(Failure(Reason.INTERNAL, message=message))


def encode_state(state: TableState) -> bytes:
    """Return the bytes of a table."""
    parts = [
        _HEADER.pack(
            FORMAT_VERSION,
            state.applied_index,
            state.config_index,
            state.next_session,
            state.partitions,
            len(state.members),
            state.lease_ttl_ms,
        ),
        pack_text(state.cluster_id),
        encode_policy(state.policy),
    ]
    parts.extend(_encode_member(m, record) for m, record in sorted(state.members.items()))
    parts.append(Struct("<I").pack(len(state.pins)))
    parts.extend(_PIN.pack(p, member) for p, member in sorted(state.pins.items()))
    columns: tuple[Iterable[int], ...] = (
        state.owner,
        state.session,
        state.epoch,
        state.phase,
        state.target,
    )
    parts.extend(_pack(code, column) for code, column in zip(_COLUMNS, columns, strict=True))
    parts.append(_pack("B", map(len, state.history)))
    changes: list[tuple[int, ...]] = [c for history in state.history for c in history]
    parts.append(Struct("<I").pack(len(changes)))
    if changes:
        fields = zip(*changes, strict=True)
        parts.extend(_pack(c, column) for c, column in zip(_CHANGE_COLUMNS, fields, strict=True))
    return b"".join(parts)


def decode_state(data: bytes) -> TableState:
    """Return the table of these bytes, proven consistent; `MalformedFrameError` if damaged."""
    reader = Reader(data)
    version, applied, config, next_session, partitions, members, lease_ttl_ms = reader.fields(
        _HEADER
    )
    if version != FORMAT_VERSION:
        raise MalformedFrameError(f"a table of format {version}, this is {FORMAT_VERSION}")
    if partitions > PARTITIONS_MAX:
        raise MalformedFrameError(f"{partitions} partitions, the limit is {PARTITIONS_MAX}")
    if not LEASE_TTL_MS_MIN <= lease_ttl_ms <= LEASE_TTL_MS_MAX:
        raise MalformedFrameError(f"a lease of {lease_ttl_ms} ms")
    state = TableState(reader.text(), partitions, read_policy(reader), lease_ttl_ms)
    state.applied_index, state.config_index = LogIndex(applied), LogIndex(config)
    state.next_session = SessionId(next_session)
    for _ in range(members):
        member, record = _read_member(reader)
        state.members[member] = record
        if record.session:
            state.sessions[record.session] = member
    _read_pins(reader, state)
    _read_columns(reader, state)
    reader.end()
    _prove(state, members)
    return state


def refuse_rollback(mine: TableState, other: TableState) -> None:
    """Refuse a snapshot that would make a member forget what it has applied."""
    if not mine.cluster_id:
        return
    if (mine.cluster_id, mine.partitions) != (other.cluster_id, other.partitions):
        raise RollbackError(f"a snapshot of cluster {other.cluster_id}, this is {mine.cluster_id}")
    if other.applied_index < mine.applied_index:
        raise RollbackError(f"a snapshot of index {other.applied_index}, behind mine")
    if any(theirs < own for own, theirs in zip(mine.epoch, other.epoch, strict=True)):
        raise RollbackError("a snapshot in which an epoch falls")


def _pack(code: str, values: Iterable[int]) -> bytes:
    column = tuple(values)
    return Struct(f"<{len(column)}{code}").pack(*column)


def _encode_member(member: MemberId, record: MemberRecord) -> bytes:
    fields = _MEMBER.pack(
        member,
        record.session,
        record.last_session,
        record.nonce,
        record.joined_index,
        record.said_capacity,
        record.set_capacity,
        record.router_only,
        record.intent,
    )
    texts = (record.name, record.address, record.said_zone, record.set_zone, record.version)
    return fields + b"".join(map(pack_text, texts))


def _read_member(reader: Reader) -> tuple[MemberId, MemberRecord]:
    member, session, last, nonce, joined, said_capacity, set_capacity, router_only, intent = (
        reader.fields(_MEMBER)
    )
    record = MemberRecord(
        name=reader.text(),
        address=reader.text(),
        said_zone=reader.text(),
        set_zone=reader.text(),
        said_capacity=said_capacity,
        set_capacity=set_capacity,
        router_only=read_flag(router_only),
        version=reader.text(),
        session=SessionId(session),
        last_session=SessionId(last),
        nonce=nonce,
        intent=read_enum(Intent, intent),
        joined_index=joined,
    )
    return MemberId(member), record


def _read_pins(reader: Reader, state: TableState) -> None:
    for _ in range(reader.int32()):
        partition, member = reader.fields(_PIN)
        if partition >= state.partitions:
            raise MalformedFrameError(f"{partition} is pinned, but is no partition")
        state.pins[PartitionId(partition)] = MemberId(member)


def _read_columns(reader: Reader, state: TableState) -> None:
    count = state.partitions
    state.owner = [MemberId(value) for value in reader.column("Q", count)]
    state.session = [SessionId(value) for value in reader.column("Q", count)]
    state.epoch = [Epoch(value) for value in reader.column("Q", count)]
    phases = {int(phase): phase for phase in Phase}
    found = reader.column("B", count)
    if not phases.keys() >= set(found):
        raise MalformedFrameError("a partition in no known phase")
    state.phase = [phases[value] for value in found]
    state.target = [MemberId(value) for value in reader.column("Q", count)]
    lengths = reader.column("B", count)
    total = reader.int32()
    if total != sum(lengths) or max(lengths, default=0) > CHANGES_KEPT:
        raise MalformedFrameError("the histories do not add up")
    columns = [reader.column(code, total) for code in _CHANGE_COLUMNS] if total else []
    changes = [_change(*values) for values in zip(*columns, strict=True)]
    start = 0
    for partition, length in enumerate(lengths):
        state.history[partition] = tuple(changes[start : start + length])
        start += length


def _change(
    index: int, at_unix_ms: int, change: int, member: int, epoch: int, cause: int
) -> PartitionChange:
    return PartitionChange(
        LogIndex(index),
        at_unix_ms,
        read_enum(Change, change),
        MemberId(member),
        Epoch(epoch),
        read_enum(Cause, cause),
    )


def _prove(state: TableState, members: int) -> None:
    """What holds for every table must hold for one that was read."""
    try:
        assert len(state.members) == members, "a member is there twice"
        assert not state.policy.validate(), state.policy
        state.check_invariants()
    except AssertionError as error:
        raise MalformedFrameError(f"a table that cannot be: {error}") from error
