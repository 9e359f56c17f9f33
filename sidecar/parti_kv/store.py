"""The store: what the log drives. Deterministic: the same commands give the same state everywhere.

Invariants, which `check_invariants` asserts:
- every change of a key has a revision of its own, except that a transaction has one for all;
- a command is done as a whole or, refused, changes nothing;
- what is held never exceeds `bytes_max` by more than what was held when that was set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from parti_kv.codec import decode_command
from parti_kv.commands import (
    ANY_REVISION,
    IF_FREE,
    CloseSession,
    Configure,
    ExpireSession,
    Op,
    OpenSession,
    Writes,
)
from parti_kv.history import History
from parti_kv.limits import (
    RANGE_BYTES_MAX,
    RANGE_ITEMS_MAX,
    RECORD_OVERHEAD_BYTES,
    STORE_BYTES_MAX,
    TXN_ANSWER_BYTES_MAX,
)
from parti_kv.locks import Locks, ticket_bytes
from parti_kv.ordered_keys import OrderedKeys
from parti_kv.sessions import Session, Sessions
from parti_kv.snapshot import State, encode_state, read_state
from parti_kv.txn import (
    Action,
    ActionResult,
    Txn,
    TxnOp,
    TxnResult,
    encode_txn_result,
    holds,
)
from parti_kv.values import (
    NO_REVISION,
    Answer,
    Answers,
    KeyRecord,
    LockView,
    Page,
    Record,
    Revision,
    SessionId,
    Status,
    Ticket,
)

# As plain numbers: these are compared and given for every single write.
_OK = int(Status.OK)
_REFUSED_FROM = int(Status.SESSION_OVER)


class KvStore:
    """See the module's docstring. Others only read what `sessions`, `locks` and `history` hold."""

    def __init__(self) -> None:
        self.revision = NO_REVISION
        self.bytes_max = STORE_BYTES_MAX
        self.sessions = Sessions()
        self.locks = Locks()
        self.history = History()
        self._records: dict[bytes, Record] = {}
        self._records_bytes = 0
        self._keys = OrderedKeys()

    # --- views ---------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._records)

    @property
    def bytes_used(self) -> int:
        """What counts against `bytes_max`."""
        return self._records_bytes + self.sessions.size_bytes + self.locks.size_bytes

    def get(self, key: bytes) -> Record | None:
        """The record of a key."""
        return self._records.get(key)

    def lock(self, name: bytes) -> LockView:
        """Who holds a lock."""
        return self.locks.view(name)

    def page(self, prefix: bytes, after: bytes | None, items_max: int) -> Page:
        """The keys below `prefix`, in order, behind `after`; as many as fit into one page."""
        items_max = min(items_max, RANGE_ITEMS_MAX)
        start = prefix if after is None else max(prefix, after + b"\0")
        items: list[KeyRecord] = []
        size_bytes = 0
        for key in self._keys.starting_at(start):
            if not key.startswith(prefix):
                break
            record = self._records[key]
            size_bytes += len(key) + len(record.value)
            if len(items) >= items_max or (items and size_bytes > RANGE_BYTES_MAX):
                return Page(items, more=True)
            items.append(KeyRecord(key, record))
        return Page(items, more=False)

    # --- applying ------------------------------------------------------------------------------

    def apply(self, data: bytes) -> tuple[int, int, Answers] | None:
        """Apply one command; gives its origin, request and answers if somebody may wait for them.

        Raises MalformedKvError: this member must not go on.
        """
        command = decode_command(data)
        if isinstance(command, Writes):
            return command.origin, command.request, self._apply_writes(command)
        if isinstance(command, OpenSession):
            return command.origin, command.request, self._open(command)
        if isinstance(command, CloseSession):
            ended = self._end_session(command.session)
            status = Status.OK if ended else Status.SESSION_OVER
            return command.origin, command.request, Answers([status], [NO_REVISION])
        if isinstance(command, ExpireSession):
            self._end_session(command.session)
        else:
            assert isinstance(command, Configure), command
            self.bytes_max = command.bytes_max
        return None

    def _apply_writes(self, writes: Writes) -> Answers:
        session = None
        if writes.session:
            session = self.sessions.open.get(writes.session)
            if session is None:
                count = len(writes.ops)
                return Answers([Status.SESSION_OVER] * count, [NO_REVISION] * count)
            self.sessions.acknowledge(session, writes.acknowledged_below)
        statuses: list[int] = []
        revisions: list[int] = []
        results: dict[int, bytes] = {}
        for position, op in enumerate(writes.ops):
            if session is None:
                status, revision, result = _WRITES[op](self, writes, position, session)
            else:
                status, revision, result = self._once(writes, position, session)
            statuses.append(status)
            revisions.append(revision)
            if result:
                results[position] = result
        return Answers(statuses, revisions, results)

    def _once(self, writes: Writes, position: int, session: Session) -> Answer:
        """Give the answer to a write that was done before; else do it, and remember its answer."""
        seq = writes.seqs[position]
        known = session.answers.get(seq)
        if known is not None:
            return known
        refusal = self.sessions.refusal(session, seq)
        if refusal is not None:
            return refusal, NO_REVISION, b""
        answer = _WRITES[writes.ops[position]](self, writes, position, session)
        if answer[0] < _REFUSED_FROM:
            self.sessions.remember(session, seq, answer)
        return answer

    def _put(self, writes: Writes, position: int, _session: Session | None) -> Answer:
        key, value = writes.keys[position], writes.values[position]
        old = self._records.get(key)
        expect = writes.expects[position]
        if expect != ANY_REVISION:
            present = old.revision if old is not None else NO_REVISION
            if present != expect:
                return Status.COMPARE_FAILED, present, b""
        if old is None:
            grown_bytes = RECORD_OVERHEAD_BYTES + len(key) + len(value)
        else:
            grown_bytes = len(value) - len(old.value)
        if grown_bytes > 0 and not self._has_room(grown_bytes):
            return Status.STORE_FULL, NO_REVISION, b""
        revision = self.revision = Revision(self.revision + 1)
        if old is None:
            self._keys.add(key)
            self._records[key] = Record(value, revision, revision)
        else:
            self._records[key] = Record(value, old.created, revision)
        self._records_bytes += grown_bytes
        self.history.add(revision, key, value)
        return _OK, revision, b""

    def _delete(self, writes: Writes, position: int, _session: Session | None) -> Answer:
        key, expect = writes.keys[position], writes.expects[position]
        old = self._records.get(key)
        present = old.revision if old is not None else NO_REVISION
        if expect not in (ANY_REVISION, present):
            return Status.COMPARE_FAILED, present, b""
        if old is None:
            return Status.ABSENT, self.revision, b""
        revision = self.revision = Revision(self.revision + 1)
        self._set(key, old, None, revision)
        return Status.OK, revision, b""

    def _txn(self, writes: Writes, position: int, session: Session | None) -> Answer:
        txn = writes.txns[position]
        stage = _Stage(self._records, Revision(self.revision + 1))
        result = stage.run(txn)
        if stage.answer_bytes > TXN_ANSWER_BYTES_MAX:
            return Status.ANSWER_TOO_LARGE, NO_REVISION, b""
        encoded = encode_txn_result(result)
        if not self._has_room(stage.grown_bytes() + (len(encoded) if session else 0)):
            return Status.STORE_FULL, NO_REVISION, b""
        if stage.changed:
            self.revision = stage.revision
            for key, value in stage.changed.items():
                old = self._records.get(key)
                if old is not None or value is not None:
                    self._set(key, old, value, self.revision)
        return Status.OK, self.revision, encoded

    def _acquire(self, writes: Writes, position: int, session: Session | None) -> Answer:
        assert session is not None, "the codec refuses a lock without a session"
        name, value = writes.keys[position], writes.values[position]
        mine = self.locks.ticket(name, session.id)
        if mine is None:
            view = self.locks.view(name)
            if writes.expects[position] == IF_FREE and view.session:
                return Status.HELD, view.token, b""
            if not self.locks.has_room(name):
                return Status.LOCKS_FULL, NO_REVISION, b""
            if not self._has_room(ticket_bytes(name, value)):
                return Status.STORE_FULL, NO_REVISION, b""
            self.revision = Revision(self.revision + 1)
            mine = Ticket(self.revision, value)
            self.locks.line_up(name, session.id, mine)
            session.locks[name] = None
        status = Status.OK if self.locks.holds(name, session.id) else Status.WAITING
        return status, mine.token, b""

    def _release(self, writes: Writes, position: int, session: Session | None) -> Answer:
        assert session is not None, "the codec refuses a lock without a session"
        name = writes.keys[position]
        session.locks.pop(name, None)
        status = Status.OK if self.locks.leave(name, session.id) else Status.ABSENT
        return status, self.revision, b""

    def _open(self, command: OpenSession) -> Answers:
        if not self._has_room(RECORD_OVERHEAD_BYTES):
            return Answers([Status.STORE_FULL], [NO_REVISION])
        session = self.sessions.begin(command.nonce, command.ttl_ms)
        if session is None:
            return Answers([Status.SESSIONS_FULL], [NO_REVISION])
        return Answers([Status.OK], [session])

    def _end_session(self, session_id: SessionId) -> bool:
        session = self.sessions.end(session_id)
        if session is None:
            return False
        for name in session.locks:
            self.locks.leave(name, session_id)
        return True

    def _has_room(self, grown_bytes: int) -> bool:
        return grown_bytes <= 0 or self.bytes_used + grown_bytes <= self.bytes_max

    def _set(self, key: bytes, old: Record | None, value: bytes | None, revision: Revision) -> None:
        """Change one key; there is something to change."""
        if value is None:
            assert old is not None, key
            del self._records[key]
            self._keys.remove(key)
        else:
            if old is None:
                self._keys.add(key)
            created = revision if old is None else old.created
            self._records[key] = Record(value, created, revision)
        self._records_bytes += _grown_bytes(key, old, value)
        self.history.add(revision, key, value)

    # --- snapshots -----------------------------------------------------------------------------

    def freeze(self) -> Iterator[bytes]:
        """The state as it is now, in chunks to be taken at any later time.

        Only references are copied here; the chunks are made when they are taken.
        """
        return encode_state(
            State(
                self.revision,
                self.bytes_max,
                self.sessions.last_id,
                self._records.copy(),
                [
                    Session(each.id, each.nonce, each.ttl_ms, each.kept_from, each.answers.copy())
                    for each in self.sessions.open.values()
                ],
                {name: queue.copy() for name, queue in self.locks.queues.items()},
            )
        )

    def restore(self, data: bytes) -> None:
        """Become the state that `freeze` gave. Raises MalformedKvError."""
        state = read_state(data)
        self.revision = state.revision
        self.bytes_max = state.bytes_max
        self.sessions = Sessions(state.last_session)
        for session in state.sessions:
            self.sessions.add(session)
        watched = self.locks.queues.keys()
        self.locks = Locks()
        for name, queue in state.locks.items():
            for session_id, ticket in queue.items():
                self.locks.line_up(name, session_id, ticket)
                self.sessions.open[session_id].locks[name] = None
        self.locks.mark_changed(watched)
        self._records = state.records
        self._records_bytes = (
            RECORD_OVERHEAD_BYTES * len(state.records)
            + sum(map(len, state.records))
            + sum(len(record.value) for record in state.records.values())
        )
        self._keys = OrderedKeys(state.records)
        self.history.begin_after(self.revision)

    def check_invariants(self) -> None:
        """Assert what must hold between commands; for tests and the simulator."""
        self.sessions.check_invariants()
        self.locks.check_invariants()
        assert list(self._keys.starting_at(b"")) == sorted(self._records), "keys and records agree"
        size_bytes = 0
        for key, record in self._records.items():
            assert 0 < record.created <= record.revision <= self.revision, (key, record)
            size_bytes += _grown_bytes(key, None, record.value)
        assert size_bytes == self._records_bytes, (size_bytes, self._records_bytes)
        of_sessions = {(n, s.id) for s in self.sessions.open.values() for n in s.locks}
        of_locks = {(n, s) for n, queue in self.locks.queues.items() for s in queue}
        assert of_sessions == of_locks, of_sessions ^ of_locks


class _Stage:
    """What a transaction would do, beside the records."""

    def __init__(self, records: dict[bytes, Record], revision: Revision) -> None:
        self.revision = revision
        self.changed: dict[bytes, bytes | None] = {}
        self.answer_bytes = 0
        self._records = records

    def run(self, txn: Txn) -> TxnResult:
        """Decide and do one branch."""
        succeeded = all(holds(each, self._records.get(each.key)) for each in txn.compares)
        branch: Sequence[Action] = txn.then if succeeded else txn.otherwise
        return TxnResult(succeeded, tuple(self._act(action) for action in branch))

    def grown_bytes(self) -> int:
        """By how much the records would grow."""
        return sum(
            _grown_bytes(key, self._records.get(key), value) for key, value in self.changed.items()
        )

    def _act(self, action: Action) -> ActionResult:
        before = self._see(action.key)
        if action.op is TxnOp.PUT:
            self.changed[action.key] = action.value
            return ActionResult(before is not None, self.revision)
        if before is None:
            return ActionResult(found=False)
        if action.op is TxnOp.DELETE:
            self.changed[action.key] = None
            return ActionResult(found=True, revision=self.revision)
        self.answer_bytes += len(before.value)
        return ActionResult(found=True, revision=before.revision, value=before.value)

    def _see(self, key: bytes) -> Record | None:
        if key not in self.changed:
            return self._records.get(key)
        value = self.changed[key]
        return None if value is None else Record(value, self.revision, self.revision)


def _grown_bytes(key: bytes, old: Record | None, value: bytes | None) -> int:
    """By how much the records grow when `value` takes the place of `old`."""
    if value is None:
        return 0 if old is None else -(RECORD_OVERHEAD_BYTES + len(key) + len(old.value))
    if old is None:
        return RECORD_OVERHEAD_BYTES + len(key) + len(value)
    return len(value) - len(old.value)


_WRITES: dict[int, Callable[[KvStore, Writes, int, Session | None], Answer]] = {
    Op.PUT: KvStore._put,  # noqa: SLF001 - the table of the class's own methods
    Op.DELETE: KvStore._delete,  # noqa: SLF001
    Op.TXN: KvStore._txn,  # noqa: SLF001
    Op.ACQUIRE: KvStore._acquire,  # noqa: SLF001
    Op.RELEASE: KvStore._release,  # noqa: SLF001
}
