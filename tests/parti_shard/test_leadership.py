"""What a leader does for the others: whose word it takes, what it answers, what it forgets."""

from __future__ import annotations

import pytest

from parti_raft.codec import decode_message, encode_message
from parti_raft.errors import DropReason, ProposalDropped
from parti_raft.types import Message, MessageType, Term
from parti_shard.codec import encode_batch
from parti_shard.commands import (
    Cause,
    Command,
    ExpireSession,
    Grant,
    Intent,
    OpenSession,
    Outcome,
    Rejection,
    Release,
    Revoke,
    SetIntent,
)
from parti_shard.errors import MalformedFrameError, Reason
from parti_shard.ids import NO_MEMBER, NO_SESSION, Epoch, LogIndex, MemberId, PartitionId, SessionId
from parti_shard.leadership import BatchTag, RoundTag
from parti_shard.lease import ROUNDS_IN_FLIGHT_MAX, RenewAck, RenewRefusal
from parti_shard.member import Member
from parti_shard.wire import (
    Frame,
    Propose,
    Proposed,
    Renew,
    RenewRefused,
    decode_frame,
    encode_frame,
)
from tests.parti_shard.member_world import TICK_MS, A, B, C, D, World

P0, SESSION = PartitionId(0), SessionId(1)


@pytest.fixture
def world() -> World:
    found = World(A, B, C)
    found.wait(found.settled)
    return found


def batch(*commands: Command) -> bytes:
    return encode_batch(1, commands)


def tell(world: World, to: MemberId, sender: MemberId, *frames: Frame) -> None:
    member = world.up(to)
    member.receive(sender, [], [encode_frame(frame) for frame in frames], world.clock(to))


def renewal(world: World, member: MemberId, seq: int = 1_000) -> Renew:
    return Renew(world.session(member), member, seq, 0, LogIndex(0), True, False)


def answers(member: Member, to: MemberId, now_ms: int) -> list[Frame]:
    """What one turn of this member says to another."""
    frame = member.turn(now_ms).frames.get(to)
    return [] if frame is None else [decode_frame(data) for data in frame.session]


@pytest.mark.parametrize(
    "command",
    [
        ExpireSession(SESSION),
        Grant(P0, Epoch(1), B, SESSION, Cause.ORPHAN),
        Revoke(P0, Epoch(1), B, Cause.MANUAL),
        Release(P0, Epoch(1), SESSION),
    ],
)
def test_commands_that_rest_on_what_a_leader_knows_are_not_taken_from_others(
    world: World, command: Command
) -> None:
    before = world.up(A).table.digest()
    handed_over = Propose(1, batch(SetIntent(B, Intent.CORDON), command))
    with pytest.raises(MalformedFrameError, match="only a leader"):
        tell(world, A, B, handed_over)
    world.run(100)
    assert world.up(A).table.digest() == before


def test_nobody_renews_for_another_member(world: World) -> None:
    heard = world.up(A).leadership.keeper.last_heard_ms(world.session(C))
    with pytest.raises(MalformedFrameError, match="renews for"):
        tell(world, A, B, renewal(world, C))
    assert world.up(A).leadership.keeper.last_heard_ms(world.session(C)) == heard


def test_nothing_of_a_frame_counts_if_a_part_of_it_must_not_be_said(world: World) -> None:
    world.run(50)
    keeper = world.up(A).leadership.keeper
    heard = keeper.last_heard_ms(world.session(B))
    with pytest.raises(MalformedFrameError):
        tell(world, A, B, renewal(world, B), Propose(1, b"junk"))
    assert keeper.last_heard_ms(world.session(B)) == heard
    assert answers(world.up(A), B, world.clock(A)) == []


def test_what_became_of_a_command_is_told_to_the_member_that_handed_it_over(world: World) -> None:
    before = len(world.said)
    tell(world, A, B, Propose(71, batch(SetIntent(C, Intent.CORDON))))
    tell(world, A, B, Propose(72, batch(SetIntent(D, Intent.CORDON))))
    world.turn(world.nodes[A])
    world.run(20)
    told = [f for _, _, to, f in world.said[before:] if to == B and isinstance(f, Proposed)]
    assert [(f.request_id, f.reason, f.rejection) for f in told] == [
        (71, Reason.OK, Rejection.NONE),
        (72, Reason.OK, Rejection.UNKNOWN_MEMBER),
    ]
    assert world.up(B).table.members[C].intent is Intent.CORDON


def test_whoever_does_not_lead_refuses_at_once(world: World) -> None:
    tell(world, B, C, Propose(5, batch(SetIntent(C, Intent.CORDON))), renewal(world, C))
    refused = answers(world.up(B), C, world.clock(B))
    assert refused == [
        Proposed(5, Reason.NO_LEADER),
        RenewRefused(1_000, world.session(C), RenewRefusal.NOT_LEADER),
    ]


def test_a_stranger_is_told_that_it_is_none_of_us(world: World) -> None:
    index = world.up(A).replica.raw.last_index
    command = OpenSession(D, NO_SESSION, 1, "d", "host-d")
    tell(world, A, D, Propose(5, batch(command)))
    known = world.up(A).table.applied_index
    refused = Proposed(5, Reason.UNKNOWN_MEMBER, index=known)
    assert answers(world.up(A), D, world.clock(A)) == [refused]
    assert world.up(A).replica.raw.last_index == index


def test_a_command_that_a_deposed_leader_took_over_is_answered(world: World) -> None:
    """It waits in the replica while the leader loses its office."""
    tell(world, A, B, Propose(9, batch(SetIntent(C, Intent.CORDON))))
    world.up(A).replica.raw._core.become_follower(world.up(A).replica.raw.term, NO_MEMBER)
    assert answers(world.up(A), B, world.clock(A)) == [Proposed(9, Reason.NO_LEADER)]


def test_renewals_of_one_turn_share_a_round(world: World) -> None:
    world.run(3_000)
    keeper = world.up(A).leadership.keeper
    before, said = keeper.stats.rounds, len(world.said)
    tell(world, A, B, renewal(world, B))
    tell(world, A, C, renewal(world, C))
    world.turn(world.nodes[A])
    world.run(10)
    assert keeper.stats.rounds == before + 1
    acks = [to for _, _, to, frame in world.said[said:] if isinstance(frame, RenewAck)]
    assert sorted(acks) == [B, C]


def test_no_renewal_is_answered_without_a_majority(world: World) -> None:
    world.cut = {B, C}
    before = len(world.said)
    tell(world, A, B, renewal(world, B))
    world.turn(world.nodes[A])
    world.run(900)
    assert not any(isinstance(frame, RenewAck) for _, _, _, frame in world.said[before:])


def test_a_round_that_the_replica_gives_up_makes_room_for_another(world: World) -> None:
    member = world.up(A)
    keeper = member.leadership.keeper
    world.run(3_000)
    world.lose = lambda _from, _to, frame: isinstance(frame, Renew)
    world.run(1)
    keeper._rounds.clear()
    contexts = []
    for seq in range(ROUNDS_IN_FLIGHT_MAX):
        assert keeper.received(world.session(B), B, seq, 0, world.clock(A)) is None
        context = keeper.begin_round(world.clock(A))
        assert context is not None
        contexts.append(context)
    keeper.received(world.session(B), B, 9, 0, world.clock(A))
    assert keeper.begin_round(world.clock(A)) is None
    lost = keeper.stats.rounds_lost
    member.replica._out.reads_dropped.extend(RoundTag(context) for context in contexts)
    world.turn(world.nodes[A])
    assert keeper.stats.rounds_lost == lost + ROUNDS_IN_FLIGHT_MAX
    world.run(TICK_MS)
    assert not keeper._waiting


def test_a_deposed_leader_forgets_all_that_only_a_leader_knows(world: World) -> None:
    deposed = world.up(A)
    assert deposed.coordinator.leading
    deposed.transfer_leader(B)
    world.turn(world.nodes[A])
    world.wait(lambda: world.leader == B)
    world.run(50)
    assert not deposed.coordinator.leading
    assert deposed.heard(B) is None
    assert deposed.leadership.keeper.last_heard_ms(world.session(B)) is None
    assert world.up(B).coordinator.leading


def test_a_leadership_that_ended_before_the_turn_asks_for_nothing_in_its_name(
    world: World,
) -> None:
    """The next leader would confirm a forwarded round; the lease argument needs our own."""
    member = world.up(A)
    tell(world, A, B, renewal(world, B, seq=77))
    heartbeat = Message(MessageType.HEARTBEAT, A, B, Term(member.replica.raw.term + 1))
    member.receive(B, [encode_message(heartbeat)], [], world.clock(A))
    rounds = member.leadership.keeper.stats.rounds
    effects = member.turn(world.clock(A))
    assert member.replica.leader == B
    assert member.leadership.keeper.stats.rounds == rounds
    asked = [decode_message(data).type for data in effects.frames[B].raft]
    assert MessageType.READ_INDEX not in asked


def test_a_round_that_is_under_way_when_leadership_ends_gives_no_lease(world: World) -> None:
    member = world.up(A)
    world.run(3_000)
    tell(world, A, B, renewal(world, B, seq=77))
    world.turn(world.nodes[A])
    (context,) = member.leadership.keeper._rounds
    heartbeat = Message(MessageType.HEARTBEAT, A, C, Term(member.replica.raw.term + 1))
    member.receive(C, [encode_message(heartbeat)], [], world.clock(A))
    member.turn(world.clock(A))
    member.leadership.round_confirmed(RoundTag(context), LogIndex(1), world.clock(A))
    assert answers(member, B, world.clock(A)) == []


def test_a_leader_does_nothing_before_it_knows_all_that_was_committed(world: World) -> None:
    world.crash(A)
    heir = world.up(B)
    world.wait(lambda: heir.replica.is_leader)
    assert not heir.is_leader
    assert not heir.coordinator.leading
    tell(world, B, C, renewal(world, C), Propose(4, batch(SetIntent(C, Intent.CORDON))))
    assert answers(heir, C, world.clock(B))[-2:] == [
        RenewRefused(1_000, world.session(C), RenewRefusal.NOT_LEADER),
        Proposed(4, Reason.NO_LEADER),
    ]
    assert not heir.coordinator.leading


def test_a_batch_that_did_not_reach_the_log_is_decided_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run(15_000)
    world.cut = {B}
    leader = world.up(A)

    def refuse(_data: bytes) -> None:
        raise ProposalDropped(DropReason.TRANSFER_IN_PROGRESS)

    with monkeypatch.context() as patched:
        patched.setattr(leader.replica.raw, "propose", refuse)
        expired = leader.coordinator.stats.expired
        world.wait(lambda: leader.coordinator.stats.expired > expired, 4_000)
    world.wait(lambda: leader.table.members[B].session == NO_SESSION, 2 * TICK_MS)
    world.wait(world.all_served, 2 * TICK_MS)


def test_a_command_that_the_table_refuses_is_decided_anew(world: World) -> None:
    leader = world.up(A)
    before = leader.coordinator.stats.rejected
    late = Grant(P0, Epoch(0), B, SESSION, Cause.ORPHAN)
    tag = BatchTag((late, ExpireSession(SESSION)))
    leader.leadership.applied(tag, [Outcome(Rejection.WRONG_EPOCH), Outcome()])
    assert leader.coordinator.stats.rejected == before + 1
