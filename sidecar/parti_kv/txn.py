"""Transactions: compare, then do one thing or the other, as one change.

Operations of a branch see what those before them did. Nothing counts if a limit is hit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import NamedTuple, TypeVar

from parti_kv.errors import MalformedKvError
from parti_kv.limits import COMPARES_MAX, KEY_BYTES_MAX, TXN_OPS_MAX, VALUE_BYTES_MAX
from parti_kv.packing import Reader, pack_blob
from parti_kv.values import NO_REVISION, Record, Revision


class Target(IntEnum):
    """What of a key is compared; an absent key has revisions 0 and no value."""

    VALUE = 0
    REVISION = 1
    CREATED = 2


class Relation(IntEnum):
    """How the key's side must stand to the operand. An absent value is only NOT_EQUAL."""

    EQUAL = 0
    NOT_EQUAL = 1
    LESS = 2
    GREATER = 3


class TxnOp(IntEnum):
    """What an action does."""

    GET = 0
    PUT = 1
    DELETE = 2


class Compare(NamedTuple):
    """One condition; the operand is `value` for VALUE, else `number`."""

    key: bytes
    target: Target
    relation: Relation
    number: int = 0
    value: bytes = b""


class Action(NamedTuple):
    """One operation of a branch."""

    op: TxnOp
    key: bytes
    value: bytes = b""


@dataclass(frozen=True, slots=True)
class Txn:
    """If all compares hold, `then`, else `otherwise`."""

    compares: tuple[Compare, ...] = ()
    then: tuple[Action, ...] = ()
    otherwise: tuple[Action, ...] = ()


class ActionResult(NamedTuple):
    """GET and DELETE: whether the key was there; GET also what it held, with its revision."""

    found: bool
    revision: Revision = NO_REVISION
    value: bytes = b""


@dataclass(frozen=True, slots=True)
class TxnResult:
    """Which branch ran, and what each of its actions gave."""

    succeeded: bool
    actions: tuple[ActionResult, ...] = ()


_COMPARE = Struct("<BBQ")
_COUNT = Struct("<H")
_FLAG = Struct("<B")
_ACTION_RESULT = Struct("<BQ")

Item = TypeVar("Item")
EnumT = TypeVar("EnumT", bound=IntEnum)


def holds(compare: Compare, record: Record | None) -> bool:
    """Whether a condition holds for the key's record."""
    if compare.target is Target.VALUE:
        if record is None:
            return compare.relation is Relation.NOT_EQUAL
        return _relates(record.value, compare.relation, compare.value)
    number: int = NO_REVISION
    if record is not None:
        number = record.created if compare.target is Target.CREATED else record.revision
    return _relates(number, compare.relation, compare.number)


def _relates(left: int | bytes, relation: Relation, right: int | bytes) -> bool:
    if relation is Relation.EQUAL:
        return left == right
    if relation is Relation.NOT_EQUAL:
        return left != right
    if relation is Relation.LESS:
        return left < right  # type: ignore[operator]  # both are of one kind
    return left > right  # type: ignore[operator]


def encode_txn(txn: Txn) -> bytes:
    """Return the bytes of a transaction; `MalformedKvError` if it has too many parts."""
    parts = [_pack_count(txn.compares, COMPARES_MAX)]
    for compare in txn.compares:
        parts.append(_COMPARE.pack(compare.target, compare.relation, compare.number))
        parts += (pack_blob(compare.key), pack_blob(compare.value))
    for branch in (txn.then, txn.otherwise):
        parts.append(_pack_count(branch, TXN_OPS_MAX))
        for action in branch:
            parts += (_FLAG.pack(action.op), pack_blob(action.key), pack_blob(action.value))
    return b"".join(parts)


def decode_txn(data: bytes) -> Txn:
    """Return the transaction; `MalformedKvError` if it is none."""
    reader = Reader(data)
    compares = _many(reader, COMPARES_MAX, _read_compare)
    then = _many(reader, TXN_OPS_MAX, _read_action)
    otherwise = _many(reader, TXN_OPS_MAX, _read_action)
    reader.end()
    return Txn(compares, then, otherwise)


def encode_txn_result(result: TxnResult) -> bytes:
    """Return the bytes of a transaction's result."""
    parts = [_FLAG.pack(result.succeeded), _COUNT.pack(len(result.actions))]
    for action in result.actions:
        parts.append(_ACTION_RESULT.pack(action.found, action.revision))
        parts.append(pack_blob(action.value))
    return b"".join(parts)


def decode_txn_result(data: bytes) -> TxnResult:
    """Return the result; `MalformedKvError` if it is none."""
    reader = Reader(data)
    succeeded = _read_flag(reader.fields(_FLAG)[0])
    actions = _many(reader, TXN_OPS_MAX, _read_action_result)
    reader.end()
    return TxnResult(succeeded, actions)


def _many(reader: Reader, limit: int, read: Callable[[Reader], Item]) -> tuple[Item, ...]:
    (count,) = reader.fields(_COUNT)
    _check_count(count, limit)
    return tuple(read(reader) for _ in range(count))


def _pack_count(parts: Sequence[object], limit: int) -> bytes:
    _check_count(len(parts), limit)
    return _COUNT.pack(len(parts))


def _check_count(count: int, limit: int) -> None:
    if count > limit:
        raise MalformedKvError(f"{count} parts of a transaction, the limit is {limit}")


def _read_compare(reader: Reader) -> Compare:
    target, relation, number = reader.fields(_COMPARE)
    key = reader.blob(KEY_BYTES_MAX)
    value = reader.blob(VALUE_BYTES_MAX)
    return Compare(_key(key), _enum(Target, target), _enum(Relation, relation), number, value)


def _read_action(reader: Reader) -> Action:
    (op,) = reader.fields(_FLAG)
    key = reader.blob(KEY_BYTES_MAX)
    return Action(_enum(TxnOp, op), _key(key), reader.blob(VALUE_BYTES_MAX))


def _read_action_result(reader: Reader) -> ActionResult:
    found, revision = reader.fields(_ACTION_RESULT)
    return ActionResult(_read_flag(found), Revision(revision), reader.blob(VALUE_BYTES_MAX))


def _key(key: bytes) -> bytes:
    if not key:
        raise MalformedKvError("an empty key")
    return key


def _read_flag(value: int) -> bool:
    if value > 1:
        raise MalformedKvError(f"a flag holds {value}")
    return value == 1


def _enum(kind: type[EnumT], value: int) -> EnumT:
    try:
        return kind(value)
    except ValueError as error:
        raise MalformedKvError(f"{value} is no {kind.__name__}") from error
