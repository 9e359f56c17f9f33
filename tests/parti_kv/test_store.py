"""The store, one command at a time."""

from __future__ import annotations

import pytest

from parti_kv import limits
from parti_kv.commands import ANY_REVISION, IF_FREE, Configure
from parti_kv.errors import HistoryCompactedError
from parti_kv.store import KvStore
from parti_kv.txn import Action, ActionResult, Compare, Relation, Target, Txn, TxnOp
from parti_kv.values import Change, LockView, Record, Revision, SessionId, Status
from tests.parti_kv.kv_commands import (
    acquire,
    apply,
    close,
    copy_of,
    delete,
    do,
    expire,
    open_session,
    put,
    release,
    transact,
    txn_result,
    writes,
)


@pytest.fixture
def store() -> KvStore:
    return KvStore()


def test_a_put_gives_the_revision_that_it_made(store: KvStore) -> None:
    assert do(store, put(b"a", b"1")) == (Status.OK, 1)
    assert do(store, put(b"a", b"2")) == (Status.OK, 2)
    assert store.get(b"a") == Record(b"2", Revision(1), Revision(2))


def test_a_key_that_comes_back_begins_anew(store: KvStore) -> None:
    do(store, put(b"a", b"1"))
    assert do(store, delete(b"a")) == (Status.OK, 2)
    assert store.get(b"a") is None
    do(store, put(b"a", b"2"))
    assert store.get(b"a") == Record(b"2", Revision(3), Revision(3))


def test_deleting_nothing_changes_nothing(store: KvStore) -> None:
    do(store, put(b"a", b"1"))
    assert do(store, delete(b"b")) == (Status.ABSENT, 1)
    assert store.revision == 1


@pytest.mark.parametrize(
    ("expect", "status", "revision"),
    [(1, Status.OK, 2), (0, Status.COMPARE_FAILED, 1), (7, Status.COMPARE_FAILED, 1)],
)
def test_compare_and_set_asks_for_the_present_revision(
    store: KvStore, expect: int, status: Status, revision: int
) -> None:
    do(store, put(b"a", b"1"))
    assert do(store, put(b"a", b"2", expect)) == (status, revision)


def test_expecting_revision_0_creates_once(store: KvStore) -> None:
    assert do(store, put(b"a", b"1", 0)) == (Status.OK, 1)
    assert do(store, put(b"a", b"2", 0)) == (Status.COMPARE_FAILED, 1)
    assert do(store, put(b"b", b"2", 9)) == (Status.COMPARE_FAILED, 0)


def test_a_conditional_delete(store: KvStore) -> None:
    do(store, put(b"a", b"1"))
    assert do(store, delete(b"a", 5)) == (Status.COMPARE_FAILED, 1)
    assert do(store, delete(b"b", 5)) == (Status.COMPARE_FAILED, 0)
    assert do(store, delete(b"a", 1)) == (Status.OK, 2)


def test_a_page_is_ordered_and_says_whether_more_follows(store: KvStore) -> None:
    apply(store, writes(*(put(key, key) for key in (b"b/2", b"a", b"b/1", b"b", b"b/3", b"c"))))
    page = store.page(b"b/", None, 2)
    assert [item.key for item in page.items] == [b"b/1", b"b/2"]
    assert page.more
    page = store.page(b"b/", page.items[-1].key, 2)
    assert [item.key for item in page.items] == [b"b/3"]
    assert not page.more
    assert [item.key for item in store.page(b"", None, 100).items] == sorted(
        [b"b/2", b"a", b"b/1", b"b", b"b/3", b"c"]
    )


def test_a_page_is_bounded_in_bytes_and_items(store: KvStore) -> None:
    half = b"v" * (limits.RANGE_BYTES_MAX // 2)
    apply(store, writes(put(b"a", half), put(b"b", half)))
    page = store.page(b"", None, 10)
    assert [item.key for item in page.items] == [b"a"]
    assert page.more
    for start in range(0, limits.RANGE_ITEMS_MAX + 5, 500):
        apply(store, writes(*(put(b"x/%06d" % n, b"") for n in range(start, start + 500))))
    page = store.page(b"x/", None, 10**9)
    assert len(page.items) == limits.RANGE_ITEMS_MAX
    assert page.more


def test_what_does_not_fit_is_refused_and_deleting_makes_room(store: KvStore) -> None:
    apply(store, Configure(2 * limits.RECORD_OVERHEAD_BYTES + 10))
    assert do(store, put(b"a", b"12345")) == (Status.OK, 1)
    assert do(store, put(b"b", b"12345")) == (Status.STORE_FULL, 0)
    assert do(store, put(b"a", b"1234")) == (Status.OK, 2)
    assert do(store, put(b"b", b"1234")) == (Status.OK, 3)
    assert do(store, put(b"a", b"12345")) == (Status.STORE_FULL, 0)
    assert do(store, delete(b"b")) == (Status.OK, 4)
    assert do(store, put(b"a", b"12345")) == (Status.OK, 5)


def test_a_smaller_limit_keeps_what_is_there(store: KvStore) -> None:
    do(store, put(b"a", b"12345"))
    apply(store, Configure(1))
    assert store.get(b"a") is not None
    assert do(store, put(b"a", b"1234"))[0] is Status.OK
    assert do(store, put(b"a", b"12345"))[0] is Status.STORE_FULL


# --- transactions ---------------------------------------------------------------------------------


def test_a_transaction_takes_one_branch_as_one_revision(store: KvStore) -> None:
    do(store, put(b"a", b"1"))
    txn = Txn(
        (Compare(b"a", Target.VALUE, Relation.EQUAL, value=b"1"),),
        (Action(TxnOp.PUT, b"a", b"2"), Action(TxnOp.PUT, b"b", b"3")),
        (Action(TxnOp.DELETE, b"a"),),
    )
    first = transact(store, txn)
    assert first.revisions == [2]
    assert txn_result(first).succeeded
    assert store.history.after(Revision(1), b"", 10)[0] == [
        Change(Revision(2), b"a", b"2"),
        Change(Revision(2), b"b", b"3"),
    ]
    second = transact(store, txn)
    assert not txn_result(second).succeeded
    assert store.get(b"a") is None


def test_actions_see_those_before_them(store: KvStore) -> None:
    do(store, put(b"a", b"1"))
    answers = transact(
        store,
        Txn(
            then=(
                Action(TxnOp.GET, b"a"),
                Action(TxnOp.PUT, b"a", b"2"),
                Action(TxnOp.GET, b"a"),
                Action(TxnOp.DELETE, b"a"),
                Action(TxnOp.GET, b"a"),
                Action(TxnOp.DELETE, b"a"),
            )
        ),
    )
    assert txn_result(answers).actions == (
        ActionResult(found=True, revision=Revision(1), value=b"1"),
        ActionResult(found=True, revision=Revision(2)),
        ActionResult(found=True, revision=Revision(2), value=b"2"),
        ActionResult(found=True, revision=Revision(2)),
        ActionResult(found=False),
        ActionResult(found=False),
    )
    assert store.get(b"a") is None


def test_a_transaction_that_only_reads_makes_no_revision(store: KvStore) -> None:
    do(store, put(b"a", b"1"))
    answers = transact(store, Txn(then=(Action(TxnOp.GET, b"a"), Action(TxnOp.DELETE, b"b"))))
    assert answers.revisions == [1]
    assert store.revision == 1


def test_a_transaction_over_a_limit_changes_nothing(store: KvStore) -> None:
    apply(store, Configure(2 * limits.RECORD_OVERHEAD_BYTES))
    answers = transact(
        store, Txn(then=(Action(TxnOp.PUT, b"a", b"1"), Action(TxnOp.PUT, b"b", b"1")))
    )
    assert answers.statuses == [Status.STORE_FULL]
    assert len(store) == store.revision == 0


def test_a_transaction_that_reads_too_much_changes_nothing(store: KvStore) -> None:
    do(store, put(b"a", b"x" * limits.VALUE_BYTES_MAX))
    get = Action(TxnOp.GET, b"a")
    answers = transact(store, Txn(then=(Action(TxnOp.PUT, b"b", b"1"), get, get)))
    assert answers.statuses == [Status.ANSWER_TOO_LARGE]
    assert store.get(b"b") is None


@pytest.mark.parametrize(
    ("key", "target", "relation", "number", "value", "held"),
    [
        (b"a", Target.REVISION, Relation.EQUAL, 2, b"", True),
        (b"a", Target.CREATED, Relation.EQUAL, 1, b"", True),
        (b"a", Target.REVISION, Relation.GREATER, 1, b"", True),
        (b"a", Target.REVISION, Relation.LESS, 2, b"", False),
        (b"a", Target.VALUE, Relation.NOT_EQUAL, 0, b"2", False),
        (b"a", Target.VALUE, Relation.LESS, 0, b"3", True),
        (b"a", Target.VALUE, Relation.GREATER, 0, b"1", True),
        (b"z", Target.REVISION, Relation.EQUAL, 0, b"", True),
        (b"z", Target.VALUE, Relation.EQUAL, 0, b"", False),
        (b"z", Target.VALUE, Relation.NOT_EQUAL, 0, b"", True),
        (b"z", Target.VALUE, Relation.LESS, 0, b"x", False),
    ],
)
def test_compares(
    store: KvStore,
    key: bytes,
    target: Target,
    relation: Relation,
    number: int,
    value: bytes,
    held: bool,  # noqa: FBT001
) -> None:
    apply(store, writes(put(b"a", b"1"), put(b"a", b"2")))
    compare = Compare(key, target, relation, number, value)
    assert txn_result(transact(store, Txn((compare,)))).succeeded is held


# --- sessions: exactly once -----------------------------------------------------------------------


def test_a_write_sent_again_counts_once_and_gets_its_answer_again(store: KvStore) -> None:
    session = open_session(store, 11)
    assert do(store, put(b"a", b"1"), session, 5) == (Status.OK, 1)
    do(store, put(b"a", b"2"), session, 6)
    assert do(store, put(b"a", b"1"), session, 5) == (Status.OK, 1)
    record = store.get(b"a")
    assert record is not None
    assert record.value == b"2"


def test_it_counts_once_also_across_a_snapshot(store: KvStore) -> None:
    session = open_session(store, 11)
    txn = Txn(then=(Action(TxnOp.GET, b"a"), Action(TxnOp.PUT, b"a", b"x")))
    first = transact(store, txn, session, 1)
    do(store, delete(b"a"), session, 2)
    store = copy_of(store)
    again = transact(store, txn, session, 1)
    assert (again.statuses, again.revisions) == (first.statuses, first.revisions)
    assert again.results == first.results
    assert do(store, delete(b"a"), session, 2) == (Status.OK, 2)
    assert store.get(b"a") is None


def test_a_compare_that_failed_fails_again_when_sent_again(store: KvStore) -> None:
    session = open_session(store, 11)
    do(store, put(b"a", b"1"))
    assert do(store, put(b"a", b"2", 7), session, 0) == (Status.COMPARE_FAILED, 1)
    assert do(store, put(b"a", b"2", 7), session, 0) == (Status.COMPARE_FAILED, 1)


def test_what_was_refused_may_succeed_later(store: KvStore) -> None:
    session = open_session(store, 11)
    apply(store, Configure(store.bytes_used))
    assert do(store, put(b"a", b"1"), session, 0) == (Status.STORE_FULL, 0)
    apply(store, Configure(10_000))
    assert do(store, put(b"a", b"1"), session, 0) == (Status.OK, 1)


def test_acknowledged_answers_are_forgotten_and_never_done_again(store: KvStore) -> None:
    session = open_session(store, 11)
    for seq in range(4):
        do(store, put(b"a", b"%d" % seq), session, seq)
    apply(store, writes(session=session, acknowledged_below=3))
    assert store.sessions.answers_kept == 1
    assert do(store, put(b"a", b"late"), session, 2) == (Status.FORGOTTEN, 0)
    assert do(store, put(b"a", b"3"), session, 3) == (Status.OK, 4)
    apply(store, writes(session=session, acknowledged_below=2**63))
    assert store.sessions.answers_kept == 0


def test_the_window_of_unacknowledged_writes_is_bounded(store: KvStore) -> None:
    session = open_session(store, 11)
    window = limits.DEDUP_WINDOW
    assert do(store, put(b"a", b""), session, window - 1)[0] is Status.OK
    assert do(store, put(b"a", b""), session, window)[0] is Status.WINDOW_FULL
    apply(store, writes(session=session, acknowledged_below=1))
    assert do(store, put(b"a", b""), session, window)[0] is Status.OK


def test_all_kept_answers_are_bounded(store: KvStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parti_kv.sessions.ANSWERS_KEPT_MAX", 2)
    first, second = open_session(store, 1), open_session(store, 2)
    assert do(store, put(b"a", b""), first, 0)[0] is Status.OK
    assert do(store, put(b"a", b""), second, 0)[0] is Status.OK
    assert do(store, put(b"a", b""), second, 1)[0] is Status.WINDOW_FULL
    assert do(store, put(b"a", b""), second, 0)[0] is Status.OK
    assert do(store, put(b"a", b""))[0] is Status.OK
    close(store, first)
    assert do(store, put(b"a", b""), second, 1)[0] is Status.OK


def test_a_session_is_opened_once_per_nonce_and_its_id_never_comes_back(store: KvStore) -> None:
    session = open_session(store, 11)
    assert open_session(store, 11) == session
    assert close(store, session) is Status.OK
    assert close(store, session) is Status.SESSION_OVER
    assert open_session(copy_of(store), 11) == session + 1
    assert do(store, put(b"a", b"1"), session, 0) == (Status.SESSION_OVER, 0)
    assert store.get(b"a") is None


def test_sessions_are_bounded(store: KvStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parti_kv.sessions.SESSIONS_MAX", 1)
    open_session(store, 1)
    with pytest.raises(AssertionError, match=r"SESSIONS_FULL"):
        open_session(store, 2)


def test_a_session_needs_room(store: KvStore) -> None:
    apply(store, Configure(limits.RECORD_OVERHEAD_BYTES))
    open_session(store, 1)
    with pytest.raises(AssertionError, match=r"STORE_FULL"):
        open_session(store, 2)


# --- locks ----------------------------------------------------------------------------------------


def test_a_lock_goes_from_session_to_session_with_rising_tokens(store: KvStore) -> None:
    one, two, three = (open_session(store, nonce) for nonce in (1, 2, 3))
    status, first_token = do(store, acquire(b"l", b"one"), one, 0)
    assert status is Status.OK
    assert store.lock(b"l") == LockView(SessionId(one), Revision(first_token), b"one", 0)
    status, second_token = do(store, acquire(b"l", b"two"), two, 0)
    assert status is Status.WAITING
    assert do(store, acquire(b"l"), three, 0)[0] is Status.WAITING
    assert store.locks.take_changed() == [b"l"]
    assert do(store, release(b"l"), one, 1)[0] is Status.OK
    assert store.locks.take_changed() == [b"l"]
    assert store.lock(b"l") == LockView(SessionId(two), Revision(second_token), b"two", 1)
    assert first_token < second_token
    expire(store, two)
    assert store.lock(b"l").session == three
    close(store, three)
    assert store.lock(b"l") == LockView()
    assert store.locks.size_bytes == 0


def test_acquiring_again_gives_the_same_place(store: KvStore) -> None:
    one, two = open_session(store, 1), open_session(store, 2)
    token = do(store, acquire(b"l"), one, 0)[1]
    assert do(store, acquire(b"l"), one, 1) == (Status.OK, token)
    waiting = do(store, acquire(b"l"), two, 0)
    assert do(store, acquire(b"l"), two, 1) == waiting


def test_trying_does_not_wait(store: KvStore) -> None:
    one, two = open_session(store, 1), open_session(store, 2)
    token = do(store, acquire(b"l", expect=IF_FREE), one, 0)[1]
    assert do(store, acquire(b"l", expect=IF_FREE), two, 0) == (Status.HELD, token)
    assert store.lock(b"l").waiting == 0
    assert do(store, release(b"l"), two, 1)[0] is Status.ABSENT


def test_who_waits_may_leave(store: KvStore) -> None:
    one, two = open_session(store, 1), open_session(store, 2)
    do(store, acquire(b"l"), one, 0)
    do(store, acquire(b"l"), two, 0)
    assert do(store, release(b"l"), two, 1)[0] is Status.OK
    assert store.lock(b"l").waiting == 0


def test_locks_survive_a_snapshot_and_those_gone_count_as_changed(store: KvStore) -> None:
    one, two = open_session(store, 1), open_session(store, 2)
    do(store, acquire(b"l", b"v"), one, 0)
    do(store, acquire(b"l"), two, 0)
    copied = copy_of(store)
    assert copied.lock(b"l") == store.lock(b"l")
    close(copied, one)
    assert copied.lock(b"l").session == two
    do(store, acquire(b"other"), one, 1)
    store.locks.take_changed()
    store.restore(b"".join(copied.freeze()))
    assert sorted(store.locks.take_changed()) == [b"l", b"other"]


def test_locks_and_queues_are_bounded(store: KvStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parti_kv.locks.LOCKS_MAX", 1)
    monkeypatch.setattr("parti_kv.locks.LOCK_TICKETS_MAX", 1)
    one, two = open_session(store, 1), open_session(store, 2)
    do(store, acquire(b"l"), one, 0)
    assert do(store, acquire(b"l"), two, 0)[0] is Status.LOCKS_FULL
    assert do(store, acquire(b"m"), two, 1)[0] is Status.LOCKS_FULL
    apply(store, Configure(0))
    assert do(store, release(b"l"), one, 1)[0] is Status.OK
    assert do(store, acquire(b"m"), two, 2)[0] is Status.STORE_FULL


# --- history --------------------------------------------------------------------------------------


def test_a_watch_gives_changes_below_its_prefix_from_a_revision_on(store: KvStore) -> None:
    apply(store, writes(put(b"a/1", b"x"), put(b"b", b"y"), delete(b"a/1"), put(b"a/2", b"z")))
    changes, reached = store.history.after(Revision(1), b"a/", 10)
    assert changes == [Change(Revision(3), b"a/1", None), Change(Revision(4), b"a/2", b"z")]
    assert reached == 4
    assert store.history.after(Revision(4), b"a/", 10) == ([], 4)


def test_a_restored_store_says_that_older_changes_are_gone(store: KvStore) -> None:
    apply(store, writes(put(b"a", b"1"), put(b"a", b"2")))
    copied = copy_of(store)
    with pytest.raises(HistoryCompactedError) as raised:
        copied.history.after(Revision(1), b"", 10)
    assert (raised.value.asked, raised.value.oldest) == (1, 2)
    do(copied, put(b"a", b"3"))
    assert copied.history.after(Revision(2), b"", 10)[0] == [Change(Revision(3), b"a", b"3")]


def test_keys_expect_nothing_by_default() -> None:
    assert put(b"a", b"")[3] == ANY_REVISION
