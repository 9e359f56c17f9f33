"""The store through whole members: any of them takes requests, whatever happens to the leader."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from parti_kv.codec import encode_command
from parti_kv.commands import Configure, ExpireSession
from parti_kv.values import Answers, SessionId, Status
from parti_raft.replica_values import ReplicaLimits
from parti_shard import kv_access
from parti_shard.errors import Executed, Failure, MalformedFrameError, Reason
from parti_shard.ids import MemberId
from parti_shard.kv_frames import KvKeep, KvPropose
from parti_shard.kv_keeper import PROPOSE_AGAIN_MS, SCAN_EVERY_MS
from parti_shard.lease import keeper_term_ms
from parti_shard.wire import Frame, encode_frame
from tests.parti_kv.kv_commands import Item, acquire, delete, put, writes
from tests.parti_shard.member_world import A, B, C, World

TTL_MS = 3_000


@pytest.fixture
def world() -> World:
    made = World(A, B, C)
    made.wait(lambda: all(made.up(member).session.session for member in (A, B, C)))
    assert made.up(A).is_leader
    return made


def write(
    world: World,
    at: MemberId,
    tag: Hashable,
    *items: Item,
    session: int = 0,
    seqs: tuple[int, ...] = (),
    timeout_ms: int = 5_000,
) -> None:
    batch = writes(*items, session=session, seqs=seqs)
    world.up(at).kv.write(tag, batch, world.clock(at), timeout_ms)
    world.turn(world.nodes[at])


def outcome(world: World, at: MemberId, tag: Hashable) -> object:
    """The value or failure that a member told of a request; None if it has told nothing."""
    effects = world.nodes[at].effects
    told = [value for each, value in effects.applied if each == tag]
    told += [failure for each, failure in effects.failed if each == tag]
    told += [index for each, index in effects.reads if each == tag]
    assert len(told) <= 1, told
    return told[0] if told else None


def failure(world: World, at: MemberId, tag: Hashable) -> tuple[Reason, Executed]:
    found = outcome(world, at, tag)
    assert isinstance(found, Failure), found
    return found.reason, found.executed


def answers(world: World, at: MemberId, tag: Hashable) -> Answers:
    world.wait(lambda: outcome(world, at, tag) is not None)
    found = outcome(world, at, tag)
    assert isinstance(found, Answers), found
    return found


def read(world: World, at: MemberId, tag: Hashable, timeout_ms: int = 5_000) -> None:
    world.up(at).kv.read(tag, world.clock(at), timeout_ms)
    world.turn(world.nodes[at])


def open_session(world: World, at: MemberId, nonce: int = 7) -> SessionId:
    tag = ("open", nonce)
    world.up(at).kv.open_session(tag, nonce, TTL_MS, world.clock(at), 5_000)
    world.turn(world.nodes[at])
    opened = answers(world, at, tag)
    assert opened.statuses == [Status.OK]
    return SessionId(opened.revisions[0])


def value(world: World, at: MemberId, key: bytes) -> bytes | None:
    record = world.up(at).store.get(key)
    return record.value if record is not None else None


@pytest.mark.parametrize("at", [A, B])
def test_any_member_takes_a_write_and_has_applied_it_when_it_answers(
    world: World, at: MemberId
) -> None:
    write(world, at, "w", put(b"k", b"v"))
    assert answers(world, at, "w") == Answers([Status.OK], [1])
    assert value(world, at, b"k") == b"v"


@pytest.mark.parametrize("at", [A, B])
def test_a_read_sees_what_was_acknowledged_elsewhere_before(world: World, at: MemberId) -> None:
    other = C
    write(world, other, "w", put(b"k", b"v"))
    answers(world, other, "w")
    read(world, at, "r")
    world.wait(lambda: outcome(world, at, "r") is not None)
    assert value(world, at, b"k") == b"v"


def test_all_reads_of_a_turn_share_a_round(world: World) -> None:
    before = world.up(A).replica._read_rounds
    for number in range(50):
        world.up(A).kv.read(number, world.clock(A), 5_000)
    world.turn(world.nodes[A])
    world.wait(lambda: outcome(world, A, 49) is not None)
    assert world.up(A).replica._read_rounds <= before + 5


def test_a_read_is_not_answered_without_a_majority(world: World) -> None:
    world.cut |= {A}
    read(world, A, "r", timeout_ms=800)
    world.run(3_000)
    assert failure(world, A, "r") == (Reason.DEADLINE_EXCEEDED, Executed.NO)


def test_a_write_of_a_session_outlives_the_leader_it_was_handed_to(world: World) -> None:
    session = open_session(world, B)
    world.lose = lambda _from, to, frame: to == A and isinstance(frame, KvPropose)
    write(world, B, "w", put(b"k", b"v"), session=session)
    world.run(100)
    world.crash(A)
    assert answers(world, B, "w").statuses == [Status.OK]


def test_a_lost_frame_is_sent_again_and_counts_once(world: World) -> None:
    session = open_session(world, B)
    lost: list[Frame] = []

    def lose_first(_sender: MemberId, _to: MemberId, frame: Frame) -> bool:
        if isinstance(frame, KvPropose) and not lost:
            lost.append(frame)
            return True
        return False

    world.lose = lose_first
    write(world, B, "w", put(b"k", b"v"), session=session)
    assert answers(world, B, "w") == Answers([Status.OK], [1])
    assert lost
    assert world.up(B).kv.stats.repeated == 1
    world.run(2_000)
    assert world.up(A).store.revision == 1


def test_a_write_without_a_session_is_never_repeated_when_its_fate_is_open(world: World) -> None:
    world.lose = lambda _from, _to, frame: isinstance(frame, KvPropose)
    write(world, B, "w", put(b"k", b"v"), timeout_ms=3_000)
    world.run(100)
    world.lose = lambda _from, _to, _frame: False
    world.crash(A)
    world.run(6_000)
    assert failure(world, B, "w") == (Reason.DEADLINE_EXCEEDED, Executed.UNKNOWN)
    assert value(world, B, b"k") is None


def test_a_write_without_a_leader_waits_for_one(world: World) -> None:
    world.crash(A)
    world.wait(lambda: world.up(B).replica.leader != A)
    write(world, B, "w", put(b"k", b"v"))
    assert answers(world, B, "w").statuses == [Status.OK]


def test_a_write_that_never_left_was_not_executed(world: World) -> None:
    for other in (A, C):
        world.crash(other)
    world.wait(lambda: world.up(B).replica.leader == 0)
    write(world, B, "w", put(b"k", b"v"), timeout_ms=500)
    world.run(1_000)
    assert failure(world, B, "w") == (Reason.DEADLINE_EXCEEDED, Executed.NO)


def test_a_refused_write_without_a_session_is_tried_again(world: World) -> None:
    """A member that has not heard of the election yet hands it to the old leader."""
    world.up(A).transfer_leader(C)
    world.turn(world.nodes[A])
    write(world, B, "w", put(b"k", b"v"))
    world.wait(lambda: world.up(C).is_leader)
    assert answers(world, B, "w").statuses == [Status.OK]
    assert world.up(C).store.revision == 1


def test_too_much_waiting_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_access, "PENDING_MAX", 1)
    world.cut |= {B}
    write(world, B, "w1", put(b"k", b"v"))
    write(world, B, "w2", put(b"k", b"v"))
    read(world, B, "r1")
    read(world, B, "r2")
    for tag in ("w2", "r2"):
        assert failure(world, B, tag) == (Reason.OVERLOADED, Executed.NO)
    assert world.up(B).kv.stats.refused_by_reason() == {"overloaded": 2}


def test_every_operation_is_counted_once_where_it_entered(world: World) -> None:
    session = open_session(world, B)
    items = (put(b"k", b"v"), put(b"k", b"w", expect=9), delete(b"other"))
    write(world, B, "w", *items, session=session, seqs=(1, 2, 3))
    answers(world, B, "w")
    write(world, B, "late", put(b"k", b"v"), session=SessionId(99), seqs=(1,))
    answers(world, B, "late")
    world.up(B).kv.read("r", world.clock(B), 5_000, count=3)
    world.turn(world.nodes[B])
    world.wait(lambda: outcome(world, B, "r") is not None)
    keep(world, B, "keep", session, SessionId(99))
    stats = world.up(B).kv.stats
    assert stats.by_outcome() == {
        ("open_session", "ok"): 1,
        ("put", "ok"): 1,
        ("put", "compare_failed"): 1,
        ("put", "refused"): 1,
        ("delete", "absent"): 1,
        ("read", "ok"): 3,
        ("keep_alive", "ok"): 1,
        ("keep_alive", "refused"): 1,
    }
    assert stats.refused_by_reason() == {"session_over": 2}
    assert not world.up(A).kv.stats.by_outcome()


def test_an_open_fate_is_counted_as_unknown(world: World) -> None:
    world.lose = lambda _from, _to, frame: isinstance(frame, KvPropose)
    write(world, B, "w", put(b"a", b"v"), put(b"b", b"v"), timeout_ms=1_000)
    world.run(2_000)
    stats = world.up(B).kv.stats
    assert stats.by_outcome() == {("put", "unknown"): 2}
    assert not stats.refused_by_reason()
    assert stats.handed_over == 1


def test_waiting_bytes_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_access, "PENDING_BYTES_MAX", 500)
    write(world, B, "w", put(b"k", b"v" * 500))
    assert failure(world, B, "w") == (Reason.OVERLOADED, Executed.NO)


def test_what_the_leader_cannot_take_is_refused(world: World) -> None:
    made = World(A, B, C, limits=ReplicaLimits(command_bytes_max=200))
    made.wait(lambda: made.up(B).session.session)
    write(made, B, "w", put(b"k", b"v" * 200))
    made.wait(lambda: outcome(made, B, "w") is not None)
    assert failure(made, B, "w") == (Reason.INVALID_ARGUMENT, Executed.NO)


# --- client sessions ------------------------------------------------------------------------


def keep(world: World, at: MemberId, tag: Hashable, *sessions: SessionId) -> None:
    world.up(at).kv.keep_alive(tag, sessions, world.clock(at))
    world.turn(world.nodes[at])
    world.wait(lambda: outcome(world, at, tag) is not None)


def alive(world: World, session: SessionId) -> bool:
    return session in world.up(A).store.sessions.open


def test_a_silent_session_expires_after_its_ttl_and_not_before(world: World) -> None:
    session = open_session(world, B)
    write(world, B, "l", acquire(b"lock"), session=session)
    answers(world, B, "l")
    keep(world, B, "k", session)
    assert outcome(world, B, "k") == (True,)
    took_ms = world.wait(lambda: not alive(world, session))
    assert keeper_term_ms(TTL_MS) - 10 <= took_ms <= keeper_term_ms(TTL_MS) + 2 * SCAN_EVERY_MS
    assert world.up(A).store.lock(b"lock").session == 0
    assert world.up(A).kv.keeper.expired == 1
    keep(world, B, "late", session)
    assert outcome(world, B, "late") == (False,)


@pytest.mark.parametrize("at", [A, B])
def test_a_session_kept_alive_lives_on_and_writes_nothing(world: World, at: MemberId) -> None:
    session = open_session(world, at)
    for turn in range(15):
        keep(world, at, turn, session)
        assert outcome(world, at, turn) == (True,)
        if turn == 5:  # by then the partitions have their owners
            last = world.up(A).replica.raw.last_index
        world.run(TTL_MS // 3)
    assert alive(world, session)
    assert world.up(A).replica.raw.last_index == last


def test_a_new_leader_gives_every_session_its_whole_ttl(world: World) -> None:
    session = open_session(world, B)
    world.run(TTL_MS - 500)
    world.crash(A)
    world.wait(lambda: world.up(B).is_leader or world.up(C).is_leader)
    leader = B if world.up(B).is_leader else C
    open_sessions = world.up(leader).store.sessions.open
    took_ms = world.wait(lambda: session not in open_sessions)
    assert took_ms >= keeper_term_ms(TTL_MS) - 10


def test_a_keep_alive_is_not_confirmed_without_a_majority(world: World) -> None:
    session = open_session(world, A)
    world.cut |= {A}
    keep(world, A, "k", session)
    assert not isinstance(outcome(world, A, "k"), tuple)


def test_a_session_that_is_being_expired_is_not_kept_alive_any_more(world: World) -> None:
    session = open_session(world, B)
    keeper = world.up(A).kv.keeper
    world.run(2 * SCAN_EVERY_MS)
    late_ms = world.clock(A) + 10 * TTL_MS
    assert session in keeper.take_silent(late_ms)
    assert keeper.heard([session], late_ms) == (False,)
    assert keeper.take_silent(late_ms + SCAN_EVERY_MS) == []
    assert keeper.take_silent(late_ms + PROPOSE_AGAIN_MS + SCAN_EVERY_MS) == [session]


def test_a_session_that_is_closed_is_over(world: World) -> None:
    session = open_session(world, B)
    world.up(B).kv.close_session("c", session, world.clock(B), 5_000)
    world.turn(world.nodes[B])
    assert answers(world, B, "c").statuses == [Status.OK]
    assert not alive(world, session)


# --- the leader's own commands --------------------------------------------------------------


@pytest.mark.parametrize("command", [ExpireSession(SessionId(1)), Configure(5)])
def test_what_only_a_leader_may_propose_is_refused(
    world: World, command: ExpireSession | Configure
) -> None:
    frame = encode_frame(KvPropose(1, encode_command(command)))
    with pytest.raises(MalformedFrameError, match="only a leader"):
        world.up(A).receive(B, (), (frame,), world.clock(A))


def test_a_malformed_command_does_not_enter_the_log(world: World) -> None:
    frame = encode_frame(KvPropose(1, b"K\1\1nonsense"))
    with pytest.raises(MalformedFrameError):
        world.up(A).receive(B, (), (frame,), world.clock(A))


def test_the_limit_of_the_store_is_the_leaders(world: World) -> None:
    world.up(A).kv._bytes_max = 123
    world.wait(lambda: world.up(C).store.bytes_max == 123)


def test_whoever_does_not_lead_cannot_tell_about_sessions(world: World) -> None:
    session = open_session(world, B)
    frame = encode_frame(KvKeep(1, (session,)))
    world.up(C).receive(B, (), (frame,), world.clock(C))
    assert session not in world.up(C).kv.keeper._heard_ms


# --- restarts and snapshots -----------------------------------------------------------------


def test_the_store_survives_a_restart_of_all(world: World) -> None:
    session = open_session(world, B)
    write(world, B, "w", put(b"k", b"v"), session=session)
    answers(world, B, "w")
    for member in (A, B, C):
        world.restart(member)
    world.wait(lambda: any(world.up(member).is_leader for member in (A, B, C)))
    world.wait(lambda: value(world, B, b"k") == b"v")
    write(world, B, "again", put(b"k", b"v"), session=session)
    assert answers(world, B, "again") == Answers([Status.OK], [1])
    assert world.up(B).store.revision == 1


def test_replayed_requests_of_an_earlier_run_answer_nobody(world: World) -> None:
    """A run counts its requests from 1; entries of the run before it carry the same numbers."""
    for number in range(3):
        write(world, B, number, put(b"k", b"%d" % number))
        answers(world, B, number)
    world.cut |= {B}
    world.restart(B)
    write(world, B, "new", put(b"k", b"new"))
    world.run(500)
    assert outcome(world, B, "new") is None


def test_a_member_that_lags_gets_the_store_in_a_snapshot() -> None:
    limits = ReplicaLimits(snapshot_every_entries=10, keep_entries=2, lagging_entries=2)
    world = World(A, B, C, limits=limits)
    world.wait(lambda: world.up(B).session.session)
    session = open_session(world, A)
    world.crash(C)
    for number in range(40):
        write(world, A, number, put(b"k", b"%d" % number), session=session, seqs=(number,))
        answers(world, A, number)
    world.start(C)
    world.wait(lambda: value(world, C, b"k") == b"39")
    assert world.up(C).store.history.floor > 0
    assert session in world.up(C).store.sessions.open
