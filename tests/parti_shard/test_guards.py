"""Guards that no other test of this package would miss: the mutation gate named them."""

from __future__ import annotations

import pytest

from parti_shard.commands import Grant
from parti_shard.ids import NO_SESSION, LogIndex
from parti_shard.kv_access import KvReadTag
from parti_shard.kv_frames import KvPropose
from parti_shard.lease import DEAF_TTLS, LeaseHolder, LeaseKeeper, holder_term_ms, keeper_term_ms
from parti_shard.limits import LeaseTimes
from tests.parti_kv.kv_commands import put
from tests.parti_shard.member_world import A, B, C, World
from tests.parti_shard.test_coordinator import settled
from tests.parti_shard.test_kv_access import answers, outcome, read, value, write
from tests.parti_shard.test_lease import INDEX, M1, S1, S2, holder


def test_a_lease_counts_from_the_sending_of_the_renewal_that_was_answered() -> None:
    """Those sent since prove nothing before they are answered themselves."""
    mine = holder()
    first, second = mine.sent(100), mine.sent(500)
    assert mine.acknowledged(first, S1, INDEX)
    assert mine.live_until_ms == 100 + 980
    assert mine.acknowledged(second, S1, INDEX)
    assert mine.live_until_ms == 500 + 980


def test_a_holder_begins_another_session_with_nothing_of_the_one_before() -> None:
    mine = holder()
    later = LogIndex(INDEX + 1)
    counted, waiting = mine.sent(100), mine.sent(200)
    assert mine.acknowledged(counted, S1, INDEX)
    assert mine.acknowledged(waiting, S1, later)
    mine.open(NO_SESSION)
    mine.open(S2)
    assert (mine.live_until_ms, mine.acknowledged_seq) == (0, 0)
    assert mine.renewal_due(201), "a session is renewed at once"
    mine.applied(later)
    mine.check_invariants()
    assert mine.live_until_ms == 0, "an answer that waited for its index was for the old one"


@pytest.mark.parametrize("ttl_ms", [500, 4_000])
def test_leases_last_as_long_as_the_table_says(
    ttl_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On both sides, else a leader that waits less than its holders count breaks G1."""
    assert ttl_ms != LeaseTimes().ttl_ms, "not what everybody begins with"
    monkeypatch.setattr("tests.parti_shard.member_world.TTL_MS", ttl_ms)
    world = World(A, B, C)
    world.wait(world.settled)
    session, leader = world.session(B), world.up(A)
    world.crash(B)
    heard_ms = leader.leadership.keeper.last_heard_ms(session)
    assert heard_ms is not None
    world.run(heard_ms + keeper_term_ms(ttl_ms) - 1 - world.clock(A))
    assert session in leader.table.sessions
    world.wait(lambda: session not in leader.table.sessions, within_ms=200)


@pytest.mark.parametrize("ttl_ms", [500, 4_000])
def test_a_holder_counts_with_the_time_of_its_cluster(ttl_ms: int) -> None:
    mine = LeaseHolder(LeaseTimes(1_000))
    mine.use(LeaseTimes(ttl_ms))
    mine.open(S1)
    mine.applied(INDEX)
    assert mine.acknowledged(mine.sent(100), S1, INDEX)
    assert mine.live_until_ms == 100 + holder_term_ms(ttl_ms)


@pytest.mark.parametrize("ttl_ms", [500, 4_000])
def test_a_member_takes_the_time_of_its_cluster_from_the_table(
    ttl_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.parti_shard.member_world.TTL_MS", ttl_ms)
    world = World(A, B, C)
    world.wait(world.settled)
    world.wait(lambda: world.up(B).lease_remaining_ms(world.clock(B)) > ttl_ms // 2)
    for _ in range(1_000):
        assert world.up(B).lease_remaining_ms(world.clock(B)) < ttl_ms
        world.run(1)


def test_a_holder_that_got_answers_once_and_none_since_is_let_go() -> None:
    """It repeats the last answer that it has; only a newer one shows that it hears."""
    mine = LeaseKeeper(LeaseTimes(1_000))
    mine.became_leader(0, {S1: M1})
    heard_until_ms, now_ms, seq = 2_000, 0, 1
    while not mine.is_stopped(S1) and now_ms < 20_000:
        heard = min(seq - 1, heard_until_ms // 100)
        assert mine.received(S1, M1, seq, heard, now_ms) is None
        context = mine.begin_round(now_ms)
        assert context is not None
        mine.confirmed(context, INDEX, now_ms)
        mine.expirable(now_ms)
        now_ms, seq = now_ms + 100, seq + 1
    deaf_ms = DEAF_TTLS * 1_000
    assert heard_until_ms + deaf_ms <= now_ms <= heard_until_ms + deaf_ms + 300


def test_a_release_that_is_told_again_is_answered_once() -> None:
    """The holder repeats it with each renewal, until its table shows the grant."""
    scene = settled()
    partition = scene.table.owner.index(2)  # type: ignore[arg-type]
    released = ((partition, scene.table.epoch[partition]),)
    scene.renew(2, released)
    (grant,) = scene.turn()
    assert isinstance(grant, Grant)
    scene.renew(2, released)
    assert scene.turn() == []
    scene.apply([grant])
    scene.renew(2, released)
    assert scene.turn() == []


def kv_world() -> World:
    world = World(A, B, C)
    world.wait(lambda: all(world.up(member).session.session for member in (A, B, C)))
    return world


def test_a_read_waits_until_its_index_is_applied() -> None:
    """A member that lags learns the index from the leader before it has what lies below it."""
    world = kv_world()
    world.cut = {B}
    read(world, B, "r")
    kv, behind = world.up(B).kv, world.up(B).replica.applied_index
    kv.read_confirmed(KvReadTag(kv._requests), LogIndex(behind + 1))
    world.turn(world.nodes[B])
    assert outcome(world, B, "r") is None
    world.cut.clear()
    write(world, A, "w", put(b"k", b"v"))
    world.wait(lambda: outcome(world, B, "r") is not None)
    assert world.up(B).replica.applied_index > behind


def test_entries_of_an_earlier_run_answer_no_request_of_this_one() -> None:
    """A run counts its requests from 1, and applies those of the run before it once more."""
    world = kv_world()
    for number in range(3):
        write(world, B, number, put(b"k", b"%d" % number))
        answers(world, B, number)
    world.lose = lambda _from, _to, frame: isinstance(frame, KvPropose)
    world.restart(B)
    for number in range(3):
        write(world, B, f"new {number}", put(b"k", b"new"))
    world.wait(lambda: value(world, B, b"k") == b"2")
    world.run(100)
    assert [outcome(world, B, f"new {number}") for number in range(3)] == [None] * 3
