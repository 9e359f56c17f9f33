"""Bytes of Raft messages between members, and of configuration states.

Little-endian, fixed header, then entries, context and snapshot. The first byte is the format
version; a message of another version, cut short, or with bytes left over is refused whole. Local
storage messages never travel, so their responses are not encoded.
"""

from __future__ import annotations

from struct import Struct, error

from parti_raft.types import (
    ConfState,
    Entry,
    EntryType,
    LogIndex,
    MemberId,
    Message,
    MessageType,
    Snapshot,
    Term,
)

FORMAT_VERSION = 1

_REJECT = 1
_SNAPSHOT = 2

# version, type, flags, to, sender, term, log_term, index, commit, vote, reject_hint,
# number of entries, length of context
_HEADER = Struct("<BBBQQQQQQQQII")
_ENTRY = Struct("<QQBI")
_SNAPSHOT_HEADER = Struct("<QQII")
_CONF_HEADER = Struct("<HHHHB")


class MalformedMessageError(ValueError):
    """The bytes are not a Raft message of this version."""


def encode_message(message: Message) -> bytes:
    """Encode a message that travels between members."""
    flags = _REJECT if message.reject else 0
    if message.snapshot is not None:
        flags |= _SNAPSHOT
    parts = [
        _HEADER.pack(
            FORMAT_VERSION,
            message.type,
            flags,
            message.to,
            message.sender,
            message.term,
            message.log_term,
            message.index,
            message.commit,
            message.vote,
            message.reject_hint,
            len(message.entries),
            len(message.context),
        )
    ]
    for entry in message.entries:
        parts.append(_ENTRY.pack(entry.term, entry.index, entry.type, len(entry.data)))
        parts.append(entry.data)
    parts.append(message.context)
    if message.snapshot is not None:
        parts.append(_encode_snapshot(message.snapshot))
    return b"".join(parts)


def decode_message(data: bytes) -> Message:
    """Decode `encode_message`'s bytes; anything else raises MalformedMessageError."""
    try:
        return _decode_message(data)
    except (error, ValueError) as problem:
        raise MalformedMessageError(f"not a Raft message: {problem}") from problem


def encode_conf_state(conf: ConfState) -> bytes:
    """Encode a membership."""
    groups = (conf.voters, conf.voters_outgoing, conf.learners, conf.learners_next)
    ids = [member for group in groups for member in group]
    header = _CONF_HEADER.pack(*(len(group) for group in groups), conf.auto_leave)
    return header + Struct(f"<{len(ids)}Q").pack(*ids)


def decode_conf_state(data: bytes) -> ConfState:
    """Decode `encode_conf_state`'s bytes; anything else raises MalformedMessageError."""
    try:
        *counts, auto_leave = _CONF_HEADER.unpack_from(data)
        ids = Struct(f"<{sum(counts)}Q").unpack(data[_CONF_HEADER.size :])
    except (error, ValueError) as problem:
        raise MalformedMessageError(f"not a membership: {problem}") from problem
    groups: list[tuple[MemberId, ...]] = []
    start = 0
    for count in counts:
        groups.append(tuple(MemberId(i) for i in ids[start : start + count]))
        start += count
    voters, outgoing, learners, learners_next = groups
    return ConfState(voters, outgoing, learners, learners_next, auto_leave=bool(auto_leave))


def _encode_snapshot(snapshot: Snapshot) -> bytes:
    conf = encode_conf_state(snapshot.conf_state)
    header = _SNAPSHOT_HEADER.pack(snapshot.index, snapshot.term, len(conf), len(snapshot.data))
    return header + conf + snapshot.data


def _decode_message(data: bytes) -> Message:
    (
        version,
        kind,
        flags,
        to,
        sender,
        term,
        log_term,
        index,
        commit,
        vote,
        reject_hint,
        entry_count,
        context_bytes,
    ) = _HEADER.unpack_from(data)
    if version != FORMAT_VERSION:
        raise ValueError(f"format version {version}, this member speaks {FORMAT_VERSION}")
    if flags & ~(_REJECT | _SNAPSHOT):
        raise ValueError(f"unknown flags {flags:#x}")
    entries, position = _decode_entries(data, _HEADER.size, entry_count)
    context = _take(data, position, context_bytes)
    position += context_bytes
    snapshot = None
    if flags & _SNAPSHOT:
        snapshot, position = _decode_snapshot(data, position)
    if position != len(data):
        raise ValueError(f"{len(data) - position} bytes left over")
    return Message(
        type=MessageType(kind),
        to=to,
        sender=sender,
        term=term,
        log_term=log_term,
        index=index,
        commit=commit,
        vote=vote,
        entries=entries,
        snapshot=snapshot,
        reject=bool(flags & _REJECT),
        reject_hint=reject_hint,
        context=context,
    )


def _decode_entries(data: bytes, position: int, count: int) -> tuple[tuple[Entry, ...], int]:
    entries = []
    for _ in range(count):
        term, index, kind, size = _ENTRY.unpack_from(data, position)
        position += _ENTRY.size
        entries.append(
            Entry(Term(term), LogIndex(index), EntryType(kind), _take(data, position, size))
        )
        position += size
    return tuple(entries), position


def _decode_snapshot(data: bytes, position: int) -> tuple[Snapshot, int]:
    index, term, conf_bytes, data_bytes = _SNAPSHOT_HEADER.unpack_from(data, position)
    position += _SNAPSHOT_HEADER.size
    conf = decode_conf_state(_take(data, position, conf_bytes))
    position += conf_bytes
    body = _take(data, position, data_bytes)
    return Snapshot(LogIndex(index), Term(term), conf, body), position + data_bytes


def _take(data: bytes, position: int, size: int) -> bytes:
    part = data[position : position + size]
    if len(part) != size:
        raise ValueError("cut short")
    return part
