"""Whole members together: sessions, leases and ownership through crashes, cuts and restarts."""

from __future__ import annotations

from collections import Counter

import pytest

from parti_raft.codec import decode_message, encode_message
from parti_raft.replica_values import ReplicaLimits
from parti_raft.types import LogIndex, Message, MessageType, Term
from parti_shard.commands import Intent, NewMember, Outcome, Rejection, SetIntent
from parti_shard.errors import Executed, MalformedFrameError, Reason
from parti_shard.ids import NO_MEMBER, NO_SESSION, MemberId, SessionId
from parti_shard.lease import RenewAck, RenewRefusal, holder_term_ms, keeper_term_ms
from parti_shard.own_session import REQUEST_AGAIN_MS
from parti_shard.policy import Policy
from parti_shard.wire import Frame, Propose, Proposed, Renew, RenewRefused, encode_frame
from tests.parti_shard.member_world import HOP_MS, PARTITIONS, TICK_MS, TTL_MS, A, B, C, D, World

ELECTION_MS_MAX = 1_000
RENEW_EVERY_MS = TTL_MS // 5


def settled(*voters: MemberId, **settings: object) -> World:
    """A cluster in which every member owns something; rebalancing is over."""
    world = World(*(voters or (A, B, C)), **settings)  # type: ignore[arg-type]
    world.wait(world.settled)
    world.wait(lambda: len(set(world.served_by())) == len(world.nodes), 5_000)
    world.run(2_000)
    return world


def owned(world: World, member: MemberId) -> list[int]:
    return [p for p, owner in enumerate(world.served_by()) if owner == member]


# --- sessions and leases


def test_sessions_open_as_soon_as_there_is_a_leader() -> None:
    world = World(A, B, C)
    world.wait(lambda: world.leader is not None, 2 * ELECTION_MS_MAX)
    assert world.wait(lambda: world.session(A)) <= 3 * HOP_MS
    # The others heard of it before it was complete, and ask again with their next tick.
    assert world.wait(lambda: all(map(world.session, (B, C)))) <= 2 * TICK_MS
    assert world.wait(world.settled) <= 6 * HOP_MS
    assert {world.session(member) for member in (A, B, C)} == {1, 2, 3}


def test_a_single_member_serves_everything() -> None:
    world = settled(A)
    assert world.served_by() == [A] * PARTITIONS
    assert world.send(A, 0) == "OK"
    assert world.up(A).lease_remaining_ms(world.clock(A)) > 0


def test_renewals_keep_leases_live_and_write_nothing() -> None:
    world = settled()
    writes = {member: node.writes for member, node in world.nodes.items()}
    sessions = list(map(world.session, (A, B, C)))
    for _ in range(200):
        world.run(TICK_MS)
        assert world.settled()
    assert {member: node.writes for member, node in world.nodes.items()} == writes
    assert list(map(world.session, (A, B, C))) == sessions


def test_without_a_majority_no_lease_lives_on() -> None:
    world = settled()
    world.cut = {B, C}
    world.run(holder_term_ms(TTL_MS))
    assert world.served_by() == [NO_MEMBER] * PARTITIONS
    assert not any(map(world.live, (A, B, C)))
    assert world.send(A, owned_by_table(world, A)) == ""  # it waits
    world.cut.clear()
    world.wait(world.settled, 3_000)


def owned_by_table(world: World, member: MemberId) -> int:
    return world.up(member).table.owner.index(member)


def test_a_lease_is_counted_from_before_it_was_asked_for() -> None:
    world = settled()
    acks: list[Frame] = []
    world.lose = lambda _from, to, frame: to == B and isinstance(frame, RenewAck) and bool(acks)
    world.wait(lambda: newest_renewal(world, B) >= world.now_ms - HOP_MS)
    sent_ms = newest_renewal(world, B)
    world.run(10)
    acks.append(Proposed(0, Reason.OK))  # from here on every answer is lost
    end_ms = sent_ms + holder_term_ms(TTL_MS)
    world.run(end_ms - world.now_ms - 1)
    assert world.live(B)
    world.run(1)
    assert not world.live(B)


def newest_renewal(world: World, member: MemberId) -> int:
    sent = (at for at, me, _, frame in world.said if me == member and isinstance(frame, Renew))
    return max(sent, default=0)


def test_a_dead_member_is_expired_after_its_lease_and_not_before() -> None:
    world = settled()
    (partition, *_) = owned(world, C)
    world.wait(lambda: newest_renewal(world, C) == world.now_ms)
    world.run(2 * HOP_MS)  # it arrives
    last_receipt_ms = newest_renewal(world, C) + HOP_MS
    session = world.session(C)
    world.crash(C)
    world.wait(lambda: session not in world.up(A).table.sessions, 4_000)
    waited_ms = world.now_ms - last_receipt_ms
    assert keeper_term_ms(TTL_MS) <= waited_ms <= keeper_term_ms(TTL_MS) + TICK_MS + 5 * HOP_MS
    assert world.wait(world.all_served) <= 5 * HOP_MS
    assert world.send(world.served_by()[partition], partition) == "OK"


def test_a_dead_leader_disturbs_only_what_it_owned() -> None:
    """Sessions and grants outlive a change of leader; whoever is left never loses its lease."""
    world = settled()
    kept = {p: (m, world.up(m).table.epoch[p]) for p, m in enumerate(world.served_by()) if m != A}
    sessions = {member: world.session(member) for member in (B, C)}
    world.crash(A)
    while not world.all_served():
        world.run(1)
        assert world.live(B)
        assert world.live(C)
    now = {p: (m, world.up(B).table.epoch[p]) for p, m in enumerate(world.served_by())}
    assert {p: now[p] for p in kept} == kept
    assert {member: world.session(member) for member in (B, C)} == sessions


def test_members_speak_to_a_new_leader_at_once() -> None:
    world = settled()
    world.run(RENEW_EVERY_MS)
    world.crash(A)
    world.wait(lambda: world.up(C).replica.leader == B, 2 * ELECTION_MS_MAX)
    assert newest_renewal(world, C) == world.now_ms
    acked = world.up(C).session.holder.acknowledged_seq
    world.wait(lambda: world.up(C).session.holder.acknowledged_seq > acked, 2 * TICK_MS + 5)


def test_a_leader_that_is_cut_off_admits_nothing_when_others_take_its_partitions() -> None:
    world = settled()
    world.cut = {A}
    world.wait(lambda: not world.admitting(owned_by_table(world, A)), TTL_MS)
    world.wait(lambda: NO_MEMBER not in world.served_by(), 3 * TTL_MS)  # G1 is checked each step
    assert A not in world.served_by()
    world.cut.clear()
    world.wait(world.settled)


def test_a_member_that_is_not_heard_loses_its_session_and_opens_another() -> None:
    world = settled()
    session, partition = world.session(B), owned(world, B)[0]
    epoch = world.up(B).table.epoch[partition]
    world.lose = lambda me, _to, frame: me == B and isinstance(frame, Renew)
    world.wait(lambda: world.session(B) not in (session, NO_SESSION), 3 * TTL_MS)
    assert world.up(A).table.epoch[partition] > epoch
    assert "session is over" in world.events(B)
    world.lose = lambda _from, _to, _frame: False
    world.wait(world.settled)


def test_a_restart_ends_the_old_session_at_once() -> None:
    world = settled()
    session, mine = world.session(C), owned(world, C)
    epochs = [world.up(C).table.epoch[p] for p in mine]
    world.restart(C)
    assert world.session(C) == NO_SESSION
    took_ms = world.wait(world.settled, 1_000)
    assert took_ms <= 100 + TICK_MS + 10  # the leader's next heartbeat
    assert world.session(C) > session
    assert [world.up(C).table.epoch[p] for p in mine] == [epoch + 1 for epoch in epochs]


def test_all_restart_and_epochs_go_on() -> None:
    world = settled()
    epochs = list(world.up(A).table.epoch)
    for member in (A, B, C):
        world.crash(member)
    for member in (A, B, C):
        world.start(member)
    world.wait(world.settled)
    assert all(new > old for new, old in zip(world.up(A).table.epoch, epochs, strict=True))


def test_a_table_that_was_behind_is_asked_again_soon() -> None:
    """Its request named the session before the last one."""
    world = settled()
    asked: list[int] = []

    def lose(me: MemberId, _to: MemberId, frame: Frame) -> bool:
        if me != C or not isinstance(frame, Propose):
            return False
        if world.up(C).replica.leader == A:
            asked.append(world.now_ms)
        return len(asked) < 2

    world.lose = lose
    world.restart(C)
    world.wait(lambda: asked)
    answer = Proposed(1, Reason.OK, Rejection.WRONG_SESSION, 1)
    world.up(C).receive(A, [], [encode_frame(answer)], world.clock(C))
    world.wait(lambda: world.session(C), 4 * TICK_MS)
    assert len(asked) == 2


@pytest.mark.parametrize("lost", [Propose, Proposed])
def test_a_lost_word_about_a_session_is_said_again(lost: type[Frame]) -> None:
    world = World(A, B, C)
    dropped: list[Frame] = []

    def lose(me: MemberId, to: MemberId, frame: Frame) -> bool:
        if B not in (me, to) or not isinstance(frame, lost) or dropped:
            return False
        dropped.append(frame)
        return True

    world.lose = lose
    world.wait(lambda: world.leader is not None)
    assert world.wait(world.settled) <= REQUEST_AGAIN_MS + 2 * TICK_MS
    assert dropped
    assert world.up(A).table.next_session == 4  # one each, however often it was asked for


# --- leaving


def test_a_drained_member_hands_everything_over_without_a_gap_and_closes() -> None:
    world = settled()
    mine, session = owned(world, C), world.session(C)
    world.up(C).session.draining = True
    world.turn(world.nodes[C])
    world.wait(lambda: not world.up(C).owns_anything, 1_000)
    assert world.live(C)
    world.up(C).close_session(world.clock(C))
    world.turn(world.nodes[C])
    assert world.session(C) == NO_SESSION
    assert not world.up(C).router.worker_ready  # no gate opens again, whoever attaches
    world.wait(lambda: world.up(C).session.is_closed, 10)
    assert session not in world.up(A).table.sessions
    assert C not in world.served_by()
    assert world.all_served()
    causes = Counter(world.up(A).table.history[p][-1].cause.label for p in mine)
    assert causes == {"drain": len(mine)}
    world.run(3_000)
    assert world.session(C) == NO_SESSION


def test_without_heirs_a_drained_member_lets_go_all_the_same() -> None:
    world = settled(A)
    world.up(A).session.draining = True
    world.turn(world.nodes[A])
    world.wait(lambda: not world.up(A).owns_anything, 1_000)
    assert world.served_by() == [NO_MEMBER] * PARTITIONS
    assert world.up(A).draining


def test_the_leader_closes_its_own_session_and_leads_on() -> None:
    world = settled()
    world.up(A).close_session(world.clock(A))
    world.turn(world.nodes[A])
    world.wait(lambda: world.up(A).session.is_closed, 100)
    world.wait(lambda: A not in world.served_by() and world.all_served(), 1_000)
    assert world.leader == A


@pytest.mark.parametrize("closing", [False, True])
def test_whoever_was_taken_out_unheard_is_told_when_it_speaks_again(closing: bool) -> None:  # noqa: FBT001
    world = settled(A, policy=Policy(voters_max=1))
    world.join(B, via=A)
    world.wait(world.settled)
    world.cut = {B}
    world.propose(A, "remove", SetIntent(B, Intent.REMOVE))
    world.wait(lambda: B not in world.up(A).table.members, 5_000)
    if closing:  # as by a drain
        world.up(B).close_session(world.clock(B))
    world.run(REQUEST_AGAIN_MS)
    assert world.session(B) != NO_SESSION or closing
    assert not world.nodes[B].effects.removed
    world.cut.clear()
    world.wait(lambda: world.nodes[B].effects.removed, REQUEST_AGAIN_MS + 2 * TICK_MS)
    assert B in world.up(B).table.members  # nobody has sent it the entry


@pytest.mark.parametrize("change", ["none", "transfer", "crash"])
@pytest.mark.parametrize("gone", [C, D])
def test_whoever_was_taken_out_unheard_asks_others_than_its_leader_of_then(
    gone: MemberId, change: str
) -> None:
    """A voter knows that its leader is silent, since it campaigns; a learner does not."""
    world = settled(A, B, C, policy=Policy(voters_max=3))
    world.join(D, via=A)
    world.wait(world.settled)
    world.cut = {gone}
    world.propose(A, "remove", SetIntent(gone, Intent.REMOVE))
    world.wait(lambda: gone not in world.up(A).table.members, 10_000)
    if change == "crash":
        world.crash(A)
    elif change == "transfer":
        world.up(A).transfer_leader(B)
        world.turn(world.nodes[A])
    world.wait(lambda: world.leader != A if change != "none" else world.leader == A, 10_000)
    world.cut.clear()
    world.wait(lambda: world.nodes[gone].effects.removed, 10_000)


@pytest.mark.parametrize("ahead", [0, 1])
def test_only_a_leader_that_knows_all_can_say_who_is_no_member(ahead: int) -> None:
    """One of the past, that slept, answers before it hears of the next and of whom that let in."""
    world = settled()
    leader = world.up(A)
    index = LogIndex(leader.table.applied_index + ahead)
    stranger = Renew(SessionId(0), D, 0, 0, index, worker_ready=False, draining=False)
    leader.receive(D, [], [encode_frame(stranger)], world.clock(A))
    world.turn(world.nodes[A])
    [refused] = [f for _, _, to, f in world.said if to == D and isinstance(f, RenewRefused)]
    assert (refused.reason is RenewRefusal.UNKNOWN_MEMBER) == (not ahead)

    member = world.up(B)
    known = LogIndex(member.table.applied_index - ahead)
    answer = Proposed(1, Reason.UNKNOWN_MEMBER, index=known)
    member.receive(A, [], [encode_frame(answer)], world.clock(B))
    world.turn(world.nodes[B])
    assert world.nodes[B].effects.removed == (not ahead)


def test_a_run_that_begins_outside_of_its_table_knows_that_it_was_removed() -> None:
    world = settled()
    table = world.up(A).table.snapshot()
    world.propose(A, "remove", SetIntent(C, Intent.REMOVE))
    world.wait(lambda: world.nodes[C].effects.removed, 5_000)
    assert world.up(C).table.snapshot() != table
    world.nodes[C].effects.removed = False
    world.up(C)._members_seen = frozenset()  # as at the beginning of a run
    world.up(C)._roster_seen = -1
    world.up(C)._followed_index = -1
    world.turn(world.nodes[C])
    assert world.nodes[C].effects.removed


def test_a_member_whose_table_has_not_come_yet_is_not_removed() -> None:
    world = World(A)
    world.add(B)
    world.run(500)
    assert not world.nodes[B].effects.removed
    assert not world.up(B).table.partitions


# --- what peers send


def heartbeat(sender: MemberId, to: MemberId) -> bytes:
    return encode_message(Message(MessageType.HEARTBEAT, to, sender, Term(1_000)))


@pytest.mark.parametrize(
    ("raft", "session"),
    [
        ([b"junk"], []),
        ([heartbeat(B, A)[:-1]], []),
        ([heartbeat(C, A)], []),  # in another's name
        ([heartbeat(B, C)], []),  # for another
        ([heartbeat(B, A)], [b"junk"]),
        ([heartbeat(B, A)], [encode_frame(Propose(1, b"junk"))]),
        ([heartbeat(B, A), b""], [encode_frame(Proposed(1, Reason.OK))]),
    ],
)
def test_nothing_of_a_frame_that_is_wrong_somewhere_counts(
    raft: list[bytes], session: list[bytes]
) -> None:
    world = World(A, B, C)
    world.wait(world.settled)
    term = world.up(A).replica.raw.term
    with pytest.raises(MalformedFrameError):
        world.up(A).receive(B, raft, session, world.clock(A))
    assert (world.up(A).replica.raw.term, world.up(A).is_leader) == (term, True)
    assert not world.up(A).turn(world.clock(A)).frames


def test_a_frame_of_the_disk_cannot_come_from_the_network() -> None:
    world = World(A, B, C)
    world.wait(world.settled)
    refused = world.up(A).replica.messages_refused
    local = Message(MessageType.STORAGE_APPEND_RESP, A, B, index=LogIndex(99))
    world.up(A).receive(B, [encode_message(local)], [], world.clock(A))
    assert world.up(A).replica.messages_refused == refused + 1


def test_a_read_of_another_member_is_not_handed_on_in_its_name() -> None:
    """Who gets it would take the whole frame for forged."""
    world = World(A, B, C)
    world.wait(world.settled)
    leader = world.leader
    assert leader is not None
    follower, asking = (member for member in (A, B, C) if member != leader)
    read = Message(MessageType.READ_INDEX, follower, asking, context=b"r")
    world.up(follower).receive(asking, [encode_message(read)], [], world.clock(follower))
    frames = world.up(follower).turn(world.clock(follower)).frames
    said = [decode_message(data) for frame in frames.values() for data in frame.raft]
    assert {message.sender for message in said} <= {follower}


# --- proposals and reads


def test_the_outcome_of_a_proposal_reaches_whoever_asked() -> None:
    world = settled()
    world.propose(A, "done", SetIntent(B, Intent.CORDON))
    world.propose(B, "refused", SetIntent(C, Intent.CORDON))
    world.up(A).propose("large", bytes(ReplicaLimits().command_bytes_max + 1))
    world.run(20)
    assert world.outcomes(A)["done"] == [Outcome()]
    assert world.outcomes(B)["refused"] == (Reason.NO_LEADER, Executed.NO)
    assert world.outcomes(A)["large"] == (Reason.INVALID_ARGUMENT, Executed.NO)


def test_a_proposal_that_another_leader_replaced_was_not_executed() -> None:
    world = settled()
    world.cut = {A}
    world.propose(A, "lost", SetIntent(B, Intent.CORDON))
    world.wait(lambda: world.leader == B, 2 * ELECTION_MS_MAX)
    world.cut.clear()
    world.wait(lambda: "lost" in world.outcomes(A))
    assert world.outcomes(A)["lost"] == (Reason.PROPOSAL_DROPPED, Executed.NO)
    assert world.up(A).table.members[B].intent is Intent.NONE


def test_a_proposal_that_vanished_behind_a_snapshot_is_unknown() -> None:
    world = World(A, B, C, limits=ReplicaLimits(snapshot_every_entries=4, keep_entries=0))
    world.wait(world.settled)
    world.cut = {A}
    world.propose(A, "lost", SetIntent(B, Intent.CORDON))
    world.wait(lambda: world.leader == B, 2 * ELECTION_MS_MAX)
    for turn in range(20):
        world.propose(B, f"more {turn}", SetIntent(C, Intent.NONE))
        world.run(5)
    world.cut.clear()
    world.wait(lambda: "lost" in world.outcomes(A))
    assert world.outcomes(A)["lost"] == (Reason.CONNECTION_LOST, Executed.UNKNOWN)
    world.wait(world.settled)
    assert world.up(A).table.digest() == world.up(B).table.digest()


def test_admission_is_refused_while_another_change_is_under_way() -> None:
    world = settled()
    world.cut = {B, C}
    for tag in ("first", "second"):
        world.up(A).admit(tag, NewMember(D, "m4", "host-4"))
    world.turn(world.nodes[A])
    assert world.outcomes(A)["second"] == (Reason.PROPOSAL_DROPPED, Executed.NO)
    assert "first" not in world.outcomes(A)


# --- mode Available


def test_in_mode_available_a_member_goes_on_for_exactly_so_long_and_counts_it() -> None:
    world = settled(available_for_ms=5_000)
    mine = owned(world, A)[0]
    world.check = lambda: None  # type: ignore[method-assign]  # this mode gives G1 up
    world.cut = {B, C}
    world.run(RENEW_EVERY_MS)
    end_ms = world.up(A).session.holder.live_until_ms - world.clock(A)
    world.run(end_ms - 1)
    assert world.send(A, mine) == "OK"
    assert world.up(A).router.stats.admitted_overtime == 0
    world.run(1)
    assert not world.live(A)
    assert world.send(A, mine) == "OK"
    assert world.up(A).router.stats.admitted_overtime == 1
    world.run(4_999)
    assert world.send(A, mine) == "OK"
    world.run(1)
    assert world.send(A, mine) == ""
    assert world.up(A).router.stats.admitted_overtime == 2
    assert world.up(A).available_mode


def test_policies_and_sessions_of_a_quiet_cluster_do_not_move() -> None:
    world = settled(policy=Policy(voters_max=3))
    digest = world.up(A).table.digest()
    world.run(12_000)
    assert world.up(A).table.digest() == digest
