"""Translates between the messages of `parti.v1.KV` and the words of the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError

from parti_kv.commands import ANY_REVISION, Op, Writes
from parti_kv.errors import MalformedKvError
from parti_kv.txn import (
    Action,
    ActionResult,
    Compare,
    Relation,
    Target,
    Txn,
    TxnOp,
    decode_txn_result,
)
from parti_kv.values import (
    NO_REVISION,
    Answers,
    Change,
    KeyRecord,
    LockView,
    Record,
    SessionId,
)
from parti_proto import kv_pb2
from parti_shard.errors import Failure, MalformedFrameError
from parti_sidecar.kv_calls import Once
from parti_sidecar.status import detail_of

T = TypeVar("T")

_ABSENT = Record(b"", NO_REVISION, NO_REVISION)
_TARGETS = {"value": Target.VALUE, "revision": Target.REVISION, "created": Target.CREATED}


# --- from the wire ---------------------------------------------------------------------------


def once_of(message: kv_pb2.KvOnce) -> Once:
    """Read what makes a write count once."""
    return Once(SessionId(message.session), message.seq, message.acknowledged_below)


def txn_of(request: kv_pb2.KvTxnRequest) -> Txn:
    """Read a transaction. Raises MalformedKvError."""
    return Txn(
        tuple(map(_compare, request.compare)),
        tuple(map(_action, request.then)),
        tuple(map(_action, request.otherwise)),
    )


def _compare(message: kv_pb2.KvCompare) -> Compare:
    operand = message.WhichOneof("operand")
    if operand is None:
        raise MalformedKvError("a compare without an operand")
    try:
        relation = Relation(message.relation)
    except ValueError as error:
        raise MalformedKvError(f"{message.relation} is no relation") from error
    target = _TARGETS[operand]
    if target is Target.VALUE:
        return Compare(message.key, target, relation, value=message.value)
    return Compare(message.key, target, relation, number=getattr(message, operand))


def _action(message: kv_pb2.KvAction) -> Action:
    kind = message.WhichOneof("action")
    if kind == "get":
        return Action(TxnOp.GET, message.get)
    if kind == "put":
        return Action(TxnOp.PUT, message.put.key, message.put.value)
    if kind == "delete":
        return Action(TxnOp.DELETE, message.delete)
    raise MalformedKvError("an action that does nothing")


def writes_of(frame: kv_pb2.KvFrame) -> Writes:
    """Read the writes of a stream's frame. Raises MalformedFrameError, MalformedKvError."""
    count = len(frame.seq)
    values = _full(frame.value, count, b"", "value")
    writes = Writes(
        ops=_full(frame.op, count, Op.PUT, "op"),
        keys=_full(frame.key, count, b"", "key"),
        values=values,
        expects=_full(frame.expect, count, ANY_REVISION, "expect"),
        seqs=frame.seq[:],
        session=SessionId(frame.session),
        acknowledged_below=frame.acknowledged_below,
    )
    for position, op in enumerate(writes.ops):
        if op == Op.TXN:
            writes.txns[position] = _serialized_txn(values[position])
            values[position] = b""
    return writes


def _serialized_txn(data: bytes) -> Txn:
    try:
        return txn_of(kv_pb2.KvTxnRequest.FromString(data))
    except DecodeError as error:
        raise MalformedFrameError("a transaction that cannot be read") from error


def _full(values: Sequence[T], count: int, default: T, name: str) -> list[T]:
    """One value per item; the default for all when the array is empty."""
    if not values:
        return [default] * count
    if len(values) != count:
        raise MalformedFrameError(f"{name} has {len(values)} elements for {count} writes")
    return list(values)


# --- to the wire -----------------------------------------------------------------------------


def get_reply(record: Record | None, store_revision: int) -> kv_pb2.KvGetReply:
    """Write what a key holds."""
    if record is None:
        return kv_pb2.KvGetReply(store_revision=store_revision)
    return kv_pb2.KvGetReply(
        found=True,
        value=record.value,
        revision=record.revision,
        created=record.created,
        store_revision=store_revision,
    )


def item(each: KeyRecord, *, keys_only: bool) -> kv_pb2.KvItem:
    """Write one key of a range."""
    return kv_pb2.KvItem(
        key=each.key,
        value=b"" if keys_only else each.record.value,
        revision=each.record.revision,
        created=each.record.created,
    )


def txn_reply(result: bytes, revision: int) -> kv_pb2.KvTxnReply:
    """Write a transaction's encoded result."""
    read = decode_txn_result(result)
    return kv_pb2.KvTxnReply(
        succeeded=read.succeeded, actions=map(_action_reply, read.actions), revision=revision
    )


def _action_reply(action: ActionResult) -> kv_pb2.KvActionReply:
    return kv_pb2.KvActionReply(found=action.found, value=action.value, revision=action.revision)


def watch_reply(changes: Iterable[Change], reached: int) -> kv_pb2.KvWatchReply:
    """Write changes."""
    return kv_pb2.KvWatchReply(
        changes=[
            kv_pb2.KvChange(
                key=change.key,
                value=change.value or b"",
                revision=change.revision,
                deleted=change.value is None,
            )
            for change in changes
        ],
        reached=reached,
    )


def lock_state(view: LockView) -> kv_pb2.KvLockState:
    """Write who holds a lock."""
    return kv_pb2.KvLockState(
        session=view.session, token=view.token, value=view.value, waiting=view.waiting
    )


def write_answers(session: int, seqs: Sequence[int], answers: Answers) -> kv_pb2.KvAnswers:
    """Write the answers to a frame's writes."""
    frame = kv_pb2.KvAnswers(session=session, seq=seqs, revision=answers.revisions)
    if any(answers.statuses):
        frame.status.extend(answers.statuses)  # type: ignore[arg-type]  # same numbers
    for position, result in answers.results.items():
        frame.result_at.append(position)
        reply = txn_reply(result, answers.revisions[position])
        frame.result.append(reply.SerializeToString())
    return frame


def read_answers(ids: Sequence[int], records: Iterable[Record | None]) -> kv_pb2.KvAnswers:
    """Write the answers to a frame's reads."""
    found = [record or _ABSENT for record in records]
    return kv_pb2.KvAnswers(
        read_id=ids,
        read_revision=[record.revision for record in found],
        read_created=[record.created for record in found],
        read_value=[record.value for record in found],
    )


def refusal(
    failure: Failure, *, session: int = 0, seqs: Sequence[int] = (), read_ids: Sequence[int] = ()
) -> kv_pb2.KvAnswers:
    """Write that a frame's writes or reads have failed."""
    refused = kv_pb2.KvRefusal(seq=seqs, read_id=read_ids, detail=detail_of(failure))
    return kv_pb2.KvAnswers(session=session, refused=[refused])
