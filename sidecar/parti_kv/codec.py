"""Bytes of commands.

A command begins with a mark by which it is told from a batch of table commands in the same entry, a
format version and its kind. Writes are columns. Decoding refuses what it does not know entirely: a
member must never apply half an entry, since the others would apply the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, Final

from parti_kv.commands import (
    CloseSession,
    Command,
    Configure,
    ExpireSession,
    Op,
    OpenSession,
    Writes,
)
from parti_kv.errors import MalformedKvError
from parti_kv.limits import (
    BATCH_BYTES_MAX,
    BATCH_OPS_MAX,
    KEY_BYTES_MAX,
    SESSION_TTL_MS_MAX,
    SESSION_TTL_MS_MIN,
    STORE_BYTES_MAX_MAX,
    VALUE_BYTES_MAX,
)
from parti_kv.packing import Reader, pack_column
from parti_kv.txn import Txn, decode_txn, encode_txn
from parti_kv.values import NO_SESSION, SessionId

MARK: Final = 0x4B  # the first byte of every command of the store
FORMAT_VERSION: Final = 1

_WRITES, _OPEN, _CLOSE, _EXPIRE, _CONFIGURE = range(1, 6)

_HEAD = Struct("<BBB")
_WRITES_FIELDS = Struct("<QQQQI")  # origin, request, session, acknowledged below, count
_OPEN_FIELDS = Struct("<QQQI")
_CLOSE_FIELDS = Struct("<QQQ")
_ONE = Struct("<Q")
_KNOWN_OPS = frozenset(Op)
_LOCK_OPS = frozenset({Op.ACQUIRE, Op.RELEASE})


def encode_command(command: Command) -> bytes:
    """Return the bytes of one command; `MalformedKvError` if no member would take it."""
    kind, encoder = _ENCODERS[type(command)]
    return _HEAD.pack(MARK, FORMAT_VERSION, kind) + encoder(command)


def decode_command(data: bytes) -> Command:
    """Return the command; `MalformedKvError` if it is none."""
    reader = Reader(data)
    mark, version, kind = reader.fields(_HEAD)
    decoder = _DECODERS.get(kind)
    if mark != MARK or version != FORMAT_VERSION or decoder is None:
        raise MalformedKvError(f"a command {mark:#x} of kind {kind}, format {version}")
    command = decoder(reader)
    reader.end()
    return command


def is_kv(command: bytes) -> bool:
    """Whether a command of the log belongs to the store."""
    return bool(command) and command[0] == MARK


def _encode_writes(writes: Writes) -> bytes:
    values: list[bytes] = list(writes.values)
    for position, txn in writes.txns.items():
        values[position] = encode_txn(txn)
        decode_txn(values[position])
    key_lengths, value_lengths = list(map(len, writes.keys)), list(map(len, values))
    count = len(writes.ops)
    assert all(len(column) == count for column in (key_lengths, value_lengths, writes.expects))
    _check_sizes(count, key_lengths, value_lengths)
    _check_writes(writes, key_lengths, value_lengths)
    return b"".join(
        (
            _WRITES_FIELDS.pack(
                writes.origin, writes.request, writes.session, writes.acknowledged_below, count
            ),
            bytes(writes.ops),
            pack_column("Q", writes.seqs),
            pack_column("Q", writes.expects),
            pack_column("H", key_lengths),
            pack_column("I", value_lengths),
            *writes.keys,
            *values,
        )
    )


def _decode_writes(reader: Reader) -> Writes:
    origin, request, session, acknowledged_below, count = reader.fields(_WRITES_FIELDS)
    _check_sizes(count, (), ())
    ops = reader.take(count)
    seqs = reader.column("Q", count)
    expects = reader.column("Q", count)
    key_lengths = reader.column("H", count)
    value_lengths = reader.column("I", count)
    _check_sizes(count, key_lengths, value_lengths)
    writes = Writes(
        ops=ops,
        keys=reader.slices(key_lengths),
        values=reader.slices(value_lengths),
        expects=expects,
        seqs=seqs,
        session=SessionId(session),
        acknowledged_below=acknowledged_below,
        origin=origin,
        request=request,
    )
    if Op.TXN in ops:
        _read_txns(writes)
    _check_writes(writes, key_lengths, value_lengths)
    return writes


def _check_sizes(count: int, key_lengths: Sequence[int], value_lengths: Sequence[int]) -> None:
    if count > BATCH_OPS_MAX:
        raise MalformedKvError(f"a batch of {count} writes, the limit is {BATCH_OPS_MAX}")
    if max(key_lengths, default=0) > KEY_BYTES_MAX:
        raise MalformedKvError(f"a key of more than {KEY_BYTES_MAX} bytes")
    if sum(key_lengths) + sum(value_lengths) > BATCH_BYTES_MAX:
        raise MalformedKvError(f"a batch of more than {BATCH_BYTES_MAX} bytes")


def _check_writes(writes: Writes, key_lengths: Sequence[int], value_lengths: Sequence[int]) -> None:
    """Refuse single writes that make no sense: before they enter the log, and when applied."""
    kinds = set(writes.ops)
    if not kinds <= _KNOWN_OPS:
        raise MalformedKvError("a write of an unknown kind")
    if writes.session == NO_SESSION and not kinds.isdisjoint(_LOCK_OPS):
        raise MalformedKvError("a lock without a session")
    txns = writes.txns
    if (txns or Op.TXN in kinds) and txns.keys() != {
        position for position, op in enumerate(writes.ops) if op == Op.TXN
    }:
        raise MalformedKvError("a transaction without its content")
    if min(key_lengths, default=1) == 0 and not all(
        length or position in txns for position, length in enumerate(key_lengths)
    ):
        raise MalformedKvError("an empty key")
    if max(value_lengths, default=0) > VALUE_BYTES_MAX and not all(
        length <= VALUE_BYTES_MAX or position in txns
        for position, length in enumerate(value_lengths)
    ):
        raise MalformedKvError(f"a value of more than {VALUE_BYTES_MAX} bytes")


def _read_txns(writes: Writes) -> None:
    values: list[bytes] = list(writes.values)
    txns: dict[int, Txn] = {}
    for position, op in enumerate(writes.ops):
        if op == Op.TXN:
            if writes.keys[position]:
                raise MalformedKvError("a transaction with a key")
            txns[position] = decode_txn(values[position])
            values[position] = b""
    writes.values, writes.txns = values, txns


def _encode_open(command: OpenSession) -> bytes:
    _check_ttl(command.ttl_ms)
    return _OPEN_FIELDS.pack(command.origin, command.request, command.nonce, command.ttl_ms)


def _decode_open(reader: Reader) -> OpenSession:
    origin, request, nonce, ttl_ms = reader.fields(_OPEN_FIELDS)
    _check_ttl(ttl_ms)
    return OpenSession(nonce, ttl_ms, origin, request)


def _check_ttl(ttl_ms: int) -> None:
    if not SESSION_TTL_MS_MIN <= ttl_ms <= SESSION_TTL_MS_MAX:
        limits = f"{SESSION_TTL_MS_MIN} to {SESSION_TTL_MS_MAX}"
        raise MalformedKvError(f"a session with a TTL of {ttl_ms} ms, it may be {limits}")


def _decode_close(reader: Reader) -> CloseSession:
    origin, request, session = reader.fields(_CLOSE_FIELDS)
    return CloseSession(SessionId(session), origin, request)


def _decode_configure(reader: Reader) -> Configure:
    (bytes_max,) = reader.fields(_ONE)
    if bytes_max > STORE_BYTES_MAX_MAX:
        raise MalformedKvError(f"a store of {bytes_max} bytes")
    return Configure(bytes_max)


_ENCODERS: dict[type[Command], tuple[int, Callable[[Any], bytes]]] = {
    Writes: (_WRITES, _encode_writes),
    OpenSession: (_OPEN, _encode_open),
    CloseSession: (
        _CLOSE,
        lambda command: _CLOSE_FIELDS.pack(command.origin, command.request, command.session),
    ),
    ExpireSession: (_EXPIRE, lambda command: _ONE.pack(command.session)),
    Configure: (_CONFIGURE, lambda command: _ONE.pack(command.bytes_max)),
}

_DECODERS: dict[int, Callable[[Reader], Command]] = {
    _WRITES: _decode_writes,
    _OPEN: _decode_open,
    _CLOSE: _decode_close,
    _EXPIRE: lambda reader: ExpireSession(SessionId(reader.fields(_ONE)[0])),
    _CONFIGURE: _decode_configure,
}
