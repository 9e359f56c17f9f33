"""Bytes of commands and snapshots: what is written is read, everything else is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parti_kv import limits
from parti_kv.codec import decode_command, encode_command, is_kv
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
from parti_kv.store import KvStore
from parti_kv.txn import (
    Action,
    ActionResult,
    Compare,
    Relation,
    Target,
    Txn,
    TxnOp,
    TxnResult,
    decode_txn,
    decode_txn_result,
    encode_txn,
    encode_txn_result,
)
from parti_kv.values import SessionId
from tests.parti_kv.kv_commands import acquire, apply, open_session, put, snapshot, writes

U64 = st.integers(0, 2**64 - 1)
KEY = st.binary(min_size=1, max_size=40)
VALUE = st.binary(max_size=60)
COMPARE = st.builds(Compare, KEY, st.sampled_from(Target), st.sampled_from(Relation), U64, VALUE)
ACTION = st.builds(Action, st.sampled_from(TxnOp), KEY, VALUE)
TXN = st.builds(
    Txn,
    *(st.lists(of, max_size=4).map(tuple) for of in (COMPARE, ACTION, ACTION)),
)


@st.composite
def any_writes(draw: st.DrawFn) -> Writes:
    session = draw(U64)
    simple = [Op.PUT, Op.DELETE, *([Op.ACQUIRE, Op.RELEASE] if session else [])]
    batch = Writes(b"", [], [], (), (), SessionId(session), draw(U64))
    ops: list[int] = []
    expects: list[int] = []
    keys: list[bytes] = []
    values: list[bytes] = []
    for position in range(draw(st.integers(0, 6))):
        op = draw(st.sampled_from([*simple, Op.TXN]))
        ops.append(op)
        expects.append(draw(U64))
        keys.append(b"" if op is Op.TXN else draw(KEY))
        values.append(b"" if op is Op.TXN else draw(VALUE))
        if op is Op.TXN:
            batch.txns[position] = draw(TXN)
    seqs = tuple(draw(st.lists(U64, min_size=len(ops), max_size=len(ops))))
    return replace(
        batch,
        ops=bytes(ops),
        keys=keys,
        values=values,
        expects=tuple(expects),
        seqs=seqs,
        origin=draw(U64),
        request=draw(U64),
    )


TTL = st.integers(limits.SESSION_TTL_MS_MIN, limits.SESSION_TTL_MS_MAX)
COMMAND: st.SearchStrategy[Command] = st.one_of(
    any_writes(),
    st.builds(OpenSession, U64, TTL, U64, U64),
    st.builds(CloseSession, U64.map(SessionId), U64, U64),
    st.builds(ExpireSession, U64.map(SessionId)),
    st.builds(Configure, st.integers(0, limits.STORE_BYTES_MAX_MAX)),
)


@given(COMMAND)
def test_commands_come_back(command: Command) -> None:
    data = encode_command(command)
    assert is_kv(data)
    assert decode_command(data) == command


@given(COMMAND, st.data())
def test_damaged_commands_are_refused_or_are_other_commands(
    command: Command, draw: st.DataObject
) -> None:
    data = encode_command(command)
    with pytest.raises(MalformedKvError):
        decode_command(data[: draw.draw(st.integers(0, len(data) - 1))])
    with pytest.raises(MalformedKvError):
        decode_command(data + b"\0")
    at = draw.draw(st.integers(0, len(data) - 1))
    damaged = data[:at] + bytes((data[at] ^ draw.draw(st.integers(1, 255)),)) + data[at + 1 :]
    try:
        other = decode_command(damaged)
    except MalformedKvError:
        return
    assert encode_command(other) == damaged


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_a_command(data: bytes) -> None:
    for guess in (data, b"K\1\1" + data):
        try:
            decode_command(guess)
        except MalformedKvError:
            continue


@given(TXN)
def test_transactions_come_back(txn: Txn) -> None:
    data = encode_txn(txn)
    assert decode_txn(data) == txn


def test_transaction_results_come_back() -> None:
    result = TxnResult(True, (ActionResult(True, value=b"x"), ActionResult(False)))
    assert decode_txn_result(encode_txn_result(result)) == result
    with pytest.raises(MalformedKvError):
        decode_txn_result(b"\2\0\0")


def _txn_batch(txn: Txn) -> Writes:
    return replace(writes((Op.TXN, b"", b"", 0)), txns={0: txn})


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        (writes(put(b"", b"")), "an empty key"),
        (replace(writes(put(b"", b""), (Op.TXN, b"", b"", 0)), txns={1: Txn()}), "an empty key"),
        (writes(put(b"k" * (limits.KEY_BYTES_MAX + 1), b"")), "a key of more"),
        (writes(put(b"k", b"v" * (limits.VALUE_BYTES_MAX + 1))), "a value of more"),
        (writes(*(put(b"k", b"v" * limits.VALUE_BYTES_MAX),) * 2), "a batch of more"),
        (writes((9, b"k", b"", 0)), "unknown kind"),  # type: ignore[arg-type]
        (writes(acquire(b"l")), "a lock without a session"),
        (_txn_batch(Txn(then=(Action(TxnOp.PUT, b""),))), "an empty key"),
    ],
)
def test_writes_over_a_limit_are_refused(batch: Writes, says: str) -> None:
    with pytest.raises(MalformedKvError, match=says):
        encode_command(batch)
    with pytest.MonkeyPatch.context() as patch:
        for check in ("_check_sizes", "_check_writes", "decode_txn"):
            patch.setattr(f"parti_kv.codec.{check}", lambda *_: None)
        data = encode_command(batch)
    with pytest.raises(MalformedKvError, match=says):
        decode_command(data)


@pytest.mark.parametrize(
    "batch", [replace(writes(put(b"k", b"")), txns={0: Txn()}), writes((Op.TXN, b"", b"", 0))]
)
def test_a_transaction_comes_with_its_content(batch: Writes) -> None:
    with pytest.raises(MalformedKvError, match="without its content"):
        encode_command(batch)


def test_a_transaction_has_no_key() -> None:
    with pytest.raises(MalformedKvError, match="a transaction with a key"):
        decode_command(encode_command(replace(_txn_batch(Txn()), keys=[b"k"])))


@pytest.mark.parametrize("ttl_ms", [limits.SESSION_TTL_MS_MIN - 1, limits.SESSION_TTL_MS_MAX + 1])
def test_a_ttl_has_bounds(ttl_ms: int) -> None:
    with pytest.raises(MalformedKvError):
        encode_command(OpenSession(1, ttl_ms))
    good = encode_command(OpenSession(1, 5_000))
    with pytest.raises(MalformedKvError):
        decode_command(good[:-4] + ttl_ms.to_bytes(4, "little"))


def test_parts_over_a_limit_are_refused() -> None:
    with pytest.raises(MalformedKvError):
        decode_command(encode_command(Configure(limits.STORE_BYTES_MAX_MAX + 1)))
    with pytest.raises(MalformedKvError, match="65 parts"):
        encode_txn(Txn((Compare(b"k", Target.VALUE, Relation.EQUAL),) * 65))
    count = (limits.BATCH_OPS_MAX + 1).to_bytes(4, "little")
    with pytest.raises(MalformedKvError, match="a batch of 1025 writes"):
        decode_command(b"K\1\1" + bytes(32) + count)
    with pytest.raises(MalformedKvError, match="parts of a transaction"):
        decode_txn(b"\xff\xff")


def test_snapshots_that_are_not_whole_are_refused() -> None:
    store = KvStore()
    session = open_session(store, 1)
    apply(store, writes(put(b"a", b"1"), acquire(b"l"), session=session))
    data = snapshot(store)
    for size in range(len(data)):
        with pytest.raises(MalformedKvError):
            KvStore().restore(data[:size])
    with pytest.raises(MalformedKvError):
        KvStore().restore(data + b"\0")


def parts(data: bytes) -> list[bytes]:
    """The parts that a snapshot is made of: kind, length, body."""
    found = []
    while data:
        size = 5 + int.from_bytes(data[1:5], "little")
        found.append(data[:size])
        data = data[size:]
    return found


def test_a_snapshot_without_one_of_its_parts_is_refused() -> None:
    store = KvStore()
    session = open_session(store, 1)
    apply(store, writes(put(b"a", b"1"), acquire(b"l"), session=session))
    whole = parts(snapshot(store))
    assert len(whole) == 5
    for missing in range(len(whole)):
        with pytest.raises(MalformedKvError):
            KvStore().restore(b"".join(whole[:missing] + whole[missing + 1 :]))


def test_chunks_are_neither_large_nor_many() -> None:
    """A chunk is what is made at once, so its size bounds how long the loop stands still."""
    store = KvStore()
    for nonce in range(300):
        open_session(store, nonce)
    for number in range(3_000):
        store.apply(encode_command(writes(put(b"%d" % number, b"v"))))
    for number in range(4):
        store.apply(encode_command(writes(put(b"large %d" % number, bytes(200 << 10)))))
    chunks = list(store.freeze())
    assert max(map(len, chunks)) < 512 << 10
    assert max(len(parts(chunk)) for chunk in chunks) <= 64
    assert len(chunks) < 20


def test_other_formats_are_refused() -> None:
    data = bytearray(snapshot(KvStore()))
    data[5] = 9
    with pytest.raises(MalformedKvError, match="format 9"):
        KvStore().restore(bytes(data))
    with pytest.raises(MalformedKvError, match="kind 77"):
        KvStore().restore(snapshot(KvStore())[: 5 + 25] + b"\x4d" + bytes(4))
