"""Short ways to make commands and to apply them, for the tests of the store."""

from __future__ import annotations

from typing import TypeAlias

from parti_kv.codec import encode_command
from parti_kv.commands import (
    ANY_REVISION,
    CloseSession,
    Command,
    ExpireSession,
    Op,
    OpenSession,
    Writes,
)
from parti_kv.store import KvStore
from parti_kv.txn import Txn, TxnResult, decode_txn_result
from parti_kv.values import Answers, SessionId, Status

Item: TypeAlias = tuple[Op, bytes, bytes, int]


def writes(
    *items: Item,
    session: int = 0,
    seqs: tuple[int, ...] = (),
    acknowledged_below: int = 0,
) -> Writes:
    return Writes(
        ops=bytes(op for op, _, _, _ in items),
        keys=[key for _, key, _, _ in items],
        values=[value for _, _, value, _ in items],
        expects=[expect for _, _, _, expect in items],
        seqs=seqs or tuple(range(len(items))),
        session=SessionId(session),
        acknowledged_below=acknowledged_below,
    )


def put(key: bytes, value: bytes, expect: int = ANY_REVISION) -> Item:
    return Op.PUT, key, value, expect


def delete(key: bytes, expect: int = ANY_REVISION) -> Item:
    return Op.DELETE, key, b"", expect


def acquire(name: bytes, value: bytes = b"", expect: int = ANY_REVISION) -> Item:
    return Op.ACQUIRE, name, value, expect


def release(name: bytes) -> Item:
    return Op.RELEASE, name, b"", ANY_REVISION


def apply(store: KvStore, command: Command) -> Answers:
    applied = store.apply(encode_command(command))
    store.check_invariants()
    return Answers([], []) if applied is None else applied[2]


def do(store: KvStore, item: Item, session: int = 0, seq: int = 0) -> tuple[Status, int]:
    answers = apply(store, writes(item, session=session, seqs=(seq,)))
    return Status(answers.statuses[0]), answers.revisions[0]


def transact(store: KvStore, txn: Txn, session: int = 0, seq: int = 0) -> Answers:
    batch = writes((Op.TXN, b"", b"", ANY_REVISION), session=session, seqs=(seq,))
    batch.txns[0] = txn
    return apply(store, batch)


def txn_result(answers: Answers) -> TxnResult:
    return decode_txn_result(answers.results[0])


def open_session(store: KvStore, nonce: int, ttl_ms: int = 10_000) -> int:
    answers = apply(store, OpenSession(nonce, ttl_ms))
    assert answers.statuses == [Status.OK], Status(answers.statuses[0]).name
    return answers.revisions[0]


def close(store: KvStore, session: int) -> Status:
    return Status(apply(store, CloseSession(SessionId(session))).statuses[0])


def expire(store: KvStore, session: int) -> None:
    apply(store, ExpireSession(SessionId(session)))


def snapshot(store: KvStore) -> bytes:
    return b"".join(store.freeze())


def copy_of(store: KvStore) -> KvStore:
    copied = KvStore()
    copied.restore(snapshot(store))
    copied.check_invariants()
    return copied
