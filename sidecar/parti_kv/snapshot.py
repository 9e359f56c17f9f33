"""The whole state as parts, put together to chunks: what is made at once, while the store waits.
None is much larger than `SNAPSHOT_CHUNK_BYTES`, or one value.

Each part is its kind, its length and its body. The parts of all records, sessions and locks stand
between a first one with what is there once and a last one with the counts, so that a snapshot cut
short or put together wrongly is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from struct import Struct
from typing import Final

from parti_kv.errors import MalformedKvError
from parti_kv.limits import KEY_BYTES_MAX, SNAPSHOT_CHUNK_BYTES, VALUE_BYTES_MAX
from parti_kv.locks import Queue
from parti_kv.packing import Reader, pack_blob, pack_column
from parti_kv.sessions import Session
from parti_kv.values import NO_REVISION, NO_SESSION, Record, Revision, SessionId, Ticket

FORMAT_VERSION: Final = 1
_BEGIN, _RECORDS, _SESSION, _LOCK, _END = range(1, 6)
_RECORDS_MAX: Final = 1_024  # of one part
_GROUP_BYTES_MIN: Final = 32 << 10
_GROUP_PARTS_MAX: Final = 64

_PART = Struct("<BI")  # kind, length
_BEGIN_FIELDS = Struct("<BQQQ")  # version, revision, bytes_max, last session
_SESSION_FIELDS = Struct("<QQIQI")  # id, nonce, TTL, kept from, answers
_TICKET_FIELDS = Struct("<QQ")  # session, token
_COUNT = Struct("<I")
_END_FIELDS = Struct("<III")


@dataclass(slots=True)
class State:
    """All that is replicated."""

    revision: Revision = NO_REVISION
    bytes_max: int = 0
    last_session: SessionId = NO_SESSION
    records: dict[bytes, Record] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)
    locks: dict[bytes, Queue] = field(default_factory=dict)


def encode_state(state: State) -> Iterator[bytes]:
    """Give the chunks, each made when it is taken; the state must not change meanwhile.

    Small ones are put together, so that all cost about the same.
    """
    group: list[bytes] = []
    size_bytes = 0
    for part in _parts(state):
        group.append(part)
        size_bytes += len(part)
        if size_bytes >= _GROUP_BYTES_MIN or len(group) >= _GROUP_PARTS_MAX:
            yield b"".join(group)
            group, size_bytes = [], 0
    yield b"".join(group)


def _parts(state: State) -> Iterator[bytes]:
    yield _part(
        _BEGIN,
        _BEGIN_FIELDS.pack(FORMAT_VERSION, state.revision, state.bytes_max, state.last_session),
    )
    yield from _record_parts(state.records)
    for session in state.sessions:
        yield _part(_SESSION, _session_body(session))
    for name, queue in state.locks.items():
        yield _part(_LOCK, _lock_body(name, queue))
    counts = len(state.records), len(state.sessions), len(state.locks)
    yield _part(_END, _END_FIELDS.pack(*counts))


def read_state(data: bytes) -> State:
    """Return the state of all chunks together; `MalformedKvError` if they are not whole."""
    reader = Reader(data)
    begin = _read_first(reader, _BEGIN)
    version, revision, bytes_max, last_session = begin.fields(_BEGIN_FIELDS)
    if version != FORMAT_VERSION:
        raise MalformedKvError(f"a snapshot of format {version}, this is {FORMAT_VERSION}")
    state = State(Revision(revision), bytes_max, SessionId(last_session))
    while _read_part(reader, state) != _END:
        pass
    reader.end()
    _check_links(state)
    return state


def _part(kind: int, body: bytes) -> bytes:
    return _PART.pack(kind, len(body)) + body


def _read_first(reader: Reader, expected: int) -> Reader:
    kind, length = reader.fields(_PART)
    if kind != expected:
        raise MalformedKvError(f"a part of kind {kind} where {expected} belongs")
    return Reader(reader.take(length))


def _read_part(reader: Reader, state: State) -> int:
    kind, length = reader.fields(_PART)
    body = Reader(reader.take(length))
    if kind == _RECORDS:
        _read_records(body, state.records)
    elif kind == _SESSION:
        state.sessions.append(_read_session(body))
    elif kind == _LOCK:
        name, queue = _read_lock(body)
        state.locks[name] = queue
    elif kind == _END:
        counts = len(state.records), len(state.sessions), len(state.locks)
        if body.fields(_END_FIELDS) != counts:
            raise MalformedKvError(f"a snapshot that holds {counts} things, not what it says")
    else:
        raise MalformedKvError(f"a part of kind {kind}")
    body.end()
    return kind


def _record_parts(records: dict[bytes, Record]) -> Iterator[bytes]:
    rest = iter(records.items())
    while part := list(islice(rest, _RECORDS_MAX)):
        start = size_bytes = 0
        for position, (key, record) in enumerate(part):
            size_bytes += len(key) + len(record.value)
            if size_bytes > SNAPSHOT_CHUNK_BYTES:
                yield _part(_RECORDS, _records_body(part[start : position + 1]))
                start, size_bytes = position + 1, 0
        if start < len(part):
            yield _part(_RECORDS, _records_body(part[start:]))


def _records_body(part: list[tuple[bytes, Record]]) -> bytes:
    keys = [key for key, _ in part]
    values = [record.value for _, record in part]
    return b"".join(
        (
            _COUNT.pack(len(part)),
            pack_column("Q", [record.created for _, record in part]),
            pack_column("Q", [record.revision for _, record in part]),
            pack_column("H", list(map(len, keys))),
            pack_column("I", list(map(len, values))),
            *keys,
            *values,
        )
    )


def _read_records(reader: Reader, records: dict[bytes, Record]) -> None:
    (count,) = reader.fields(_COUNT)
    created = reader.column("Q", count)
    revisions = reader.column("Q", count)
    key_lengths = reader.column("H", count)
    value_lengths = reader.column("I", count)
    keys = reader.slices(key_lengths)
    values = reader.slices(value_lengths)
    records.update(
        zip(keys, map(Record._make, zip(values, created, revisions, strict=True)), strict=True)
    )


def _session_body(session: Session) -> bytes:
    answers = list(session.answers.values())
    return b"".join(
        (
            _SESSION_FIELDS.pack(
                session.id, session.nonce, session.ttl_ms, session.kept_from, len(answers)
            ),
            pack_column("Q", list(session.answers)),
            bytes(status for status, _, _ in answers),
            pack_column("Q", [revision for _, revision, _ in answers]),
            pack_column("I", [len(result) for _, _, result in answers]),
            *(result for _, _, result in answers),
        )
    )


def _read_session(reader: Reader) -> Session:
    session_id, nonce, ttl_ms, kept_from, count = reader.fields(_SESSION_FIELDS)
    seqs = reader.column("Q", count)
    statuses = reader.take(count)
    revisions = reader.column("Q", count)
    results = reader.slices(reader.column("I", count))
    answers = zip(statuses, revisions, results, strict=True)
    kept = dict(zip(seqs, answers, strict=True))
    return Session(SessionId(session_id), nonce, ttl_ms, kept_from, kept)


def _lock_body(name: bytes, queue: Queue) -> bytes:
    parts = [pack_blob(name), _COUNT.pack(len(queue))]
    for session, ticket in queue.items():
        parts += (_TICKET_FIELDS.pack(session, ticket.token), pack_blob(ticket.value))
    return b"".join(parts)


def _read_lock(reader: Reader) -> tuple[bytes, Queue]:
    name = reader.blob(KEY_BYTES_MAX)
    (count,) = reader.fields(_COUNT)
    queue: Queue = {}
    for _ in range(count):
        session, token = reader.fields(_TICKET_FIELDS)
        queue[SessionId(session)] = Ticket(Revision(token), reader.blob(VALUE_BYTES_MAX))
    return name, queue


def _check_links(state: State) -> None:
    """Refuse a lock of a session that is not there."""
    known = {session.id for session in state.sessions}
    for name, queue in state.locks.items():
        if not queue or not queue.keys() <= known:
            raise MalformedKvError(f"lock {name!r} belongs to no session")
