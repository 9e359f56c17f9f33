"""The store against a model: dictionaries, done naively; with snapshots and repeated writes."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from parti_kv.commands import ANY_REVISION, IF_FREE
from parti_kv.store import KvStore
from parti_kv.txn import Action, Compare, Relation, Target, Txn, TxnOp
from parti_kv.values import Revision, Status
from tests.parti_kv.kv_commands import (
    acquire,
    close,
    copy_of,
    delete,
    do,
    expire,
    open_session,
    put,
    release,
    snapshot,
    transact,
    txn_result,
)

KEYS = st.sampled_from([b"a", b"b", b"a/x", b"a/y", b"c\xff"])
VALUES = st.binary(max_size=3)
LOCKS = st.sampled_from([b"l", b"m"])


@dataclass
class _Client:
    session: int
    next_seq: int = 0
    done: list[tuple[int, tuple[object, ...], tuple[Status, int]]] = field(default_factory=list)


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = KvStore()
        self.model: dict[bytes, tuple[bytes, int]] = {}
        self.log: list[tuple[int, bytes, bytes | None]] = []
        self.floor = 0
        self.queues: dict[bytes, list[int]] = {b"l": [], b"m": []}
        self.clients: dict[int, _Client] = {}
        self.nonces = 0
        self.tokens: dict[bytes, int] = {}

    def client(self, data: st.DataObject) -> _Client:
        sessions: list[int] = sorted(self.clients)
        return self.clients[data.draw(st.sampled_from(sessions))]

    @rule()
    def open(self) -> None:
        if len(self.clients) < 3:
            self.nonces += 1
            session = open_session(self.store, self.nonces)
            self.clients[session] = _Client(session)

    @rule(key=KEYS, value=VALUES, guess=st.integers(-2, 1), data=st.data())
    def put(self, key: bytes, value: bytes, guess: int, data: st.DataObject) -> None:
        present = self.model.get(key, (b"", 0))[1]
        expect = ANY_REVISION if guess == -2 else max(0, present + guess)
        item = put(key, value, expect)
        if expect not in (ANY_REVISION, present):
            assert self._do(item, data) == (Status.COMPARE_FAILED, present)
            return
        revision = self.store.revision + 1
        assert self._do(item, data) == (Status.OK, revision)
        self.model[key] = (value, revision)
        self.log.append((revision, key, value))

    @rule(key=KEYS, data=st.data())
    def delete(self, key: bytes, data: st.DataObject) -> None:
        revision = self.store.revision
        if key not in self.model:
            assert self._do(delete(key), data) == (Status.ABSENT, revision)
            return
        assert self._do(delete(key), data) == (Status.OK, revision + 1)
        del self.model[key]
        self.log.append((revision + 1, key, None))

    @rule(key=KEYS, other=KEYS, value=VALUES)
    def swap_if_equal(self, key: bytes, other: bytes, value: bytes) -> None:
        compare = Compare(key, Target.VALUE, Relation.EQUAL, value=value)
        then = (Action(TxnOp.PUT, other, b"T"), Action(TxnOp.GET, other))
        result = txn_result(transact(self.store, Txn((compare,), then, (Action(TxnOp.GET, key),))))
        present = self.model.get(key)
        assert result.succeeded is (present is not None and present[0] == value)
        if result.succeeded:
            assert result.actions[1].value == b"T"
            self.model[other] = (b"T", self.store.revision)
            self.log.append((self.store.revision, other, b"T"))
        else:
            assert result.actions[0].found is (present is not None)

    @precondition(lambda self: bool(self.clients))
    @rule(name=LOCKS, wait=st.booleans(), data=st.data())
    def acquire(self, name: bytes, wait: bool, data: st.DataObject) -> None:  # noqa: FBT001
        client, queue = self.client(data), self.queues[name]
        item = acquire(name, expect=ANY_REVISION if wait else IF_FREE)
        status, token = self._do_as(client, item)
        if client.session not in queue and (wait or not queue):
            queue.append(client.session)
        if client.session not in queue:
            assert status is Status.HELD
            return
        assert status is (Status.OK if queue[0] == client.session else Status.WAITING)
        if status is Status.OK:
            assert token >= self.tokens.get(name, 0)
            self.tokens[name] = token

    @precondition(lambda self: bool(self.clients))
    @rule(name=LOCKS, data=st.data())
    def release(self, name: bytes, data: st.DataObject) -> None:
        client, queue = self.client(data), self.queues[name]
        expected = Status.OK if client.session in queue else Status.ABSENT
        assert self._do_as(client, release(name))[0] is expected
        if client.session in queue:
            queue.remove(client.session)

    @precondition(lambda self: bool(self.clients))
    @rule(silent=st.booleans(), data=st.data())
    def end_session(self, silent: bool, data: st.DataObject) -> None:  # noqa: FBT001
        client = self.client(data)
        del self.clients[client.session]
        if silent:
            expire(self.store, client.session)
        else:
            assert close(self.store, client.session) is Status.OK
        for queue in self.queues.values():
            if client.session in queue:
                queue.remove(client.session)
        assert do(self.store, put(b"a", b"late"), client.session, client.next_seq) == (
            Status.SESSION_OVER,
            0,
        )

    @precondition(lambda self: any(client.done for client in self.clients.values()))
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        done = [
            (client.session, seq, item, outcome)
            for client in self.clients.values()
            for seq, item, outcome in client.done
        ]
        session, seq, item, outcome = data.draw(st.sampled_from(done))
        before = snapshot(self.store)
        assert do(self.store, item, session, seq) == outcome  # type: ignore[arg-type]
        assert snapshot(self.store) == before

    @rule()
    def restart(self) -> None:
        self.floor = self.store.revision
        before = snapshot(self.store)
        self.store = copy_of(self.store)
        assert snapshot(self.store) == before

    @rule()
    def freeze_early(self) -> None:
        chunks, now = self.store.freeze(), snapshot(self.store)
        revision = self.store.revision
        do(self.store, put(b"a", b"after"))
        self.model[b"a"] = (b"after", revision + 1)
        self.log.append((revision + 1, b"a", b"after"))
        assert b"".join(chunks) == now

    @invariant()
    def agrees(self) -> None:
        page = self.store.page(b"", None, 100)
        assert {key: (r.value, r.revision) for key, r in page.items} == self.model
        assert [key for key, _ in page.items] == sorted(self.model)
        changes, _ = self.store.history.after(Revision(self.floor), b"", 10_000)
        assert [tuple(each) for each in changes] == [e for e in self.log if e[0] > self.floor]
        for name, queue in self.queues.items():
            view = self.store.lock(name)
            assert view.session == (queue[0] if queue else 0)
            assert view.waiting == max(0, len(queue) - 1)

    def _do(self, item: tuple[object, ...], data: st.DataObject) -> tuple[Status, int]:
        in_session: bool = data.draw(st.booleans())
        if self.clients and in_session:
            return self._do_as(self.client(data), item)
        return do(self.store, item)  # type: ignore[arg-type]

    def _do_as(self, client: _Client, item: tuple[object, ...]) -> tuple[Status, int]:
        seq = client.next_seq
        client.next_seq += 1
        outcome = do(self.store, item, client.session, seq)  # type: ignore[arg-type]
        client.done.append((seq, item, outcome))
        return outcome


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
