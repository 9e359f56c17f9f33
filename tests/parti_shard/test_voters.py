"""The voter controller's decisions, carried out by real members."""

from __future__ import annotations

from parti_raft.types import ConfState, LogIndex
from parti_shard.commands import DescribeMember, Intent, SetIntent, SetPolicy
from parti_shard.ids import NO_MEMBER, MemberId
from parti_shard.membership import Promote
from parti_shard.policy import Policy
from parti_shard.voters import CHANGE_DEADLINE_MS, LIVE_FOR_MS, LOOK_EVERY_MS, Voters, VotersTag
from tests.parti_shard.member_world import PARTITIONS, A, B, C, D, E, World

REPLACE_AFTER_MS = 3_000


def grown(*joiners: MemberId) -> World:
    """A cluster that others have joined, settled."""
    world = World(A, policy=Policy(voters_max=3, voter_replace_after_ms=REPLACE_AFTER_MS))
    world.wait(world.settled)
    for joiner in joiners:
        world.join(joiner, via=A)
    world.wait(world.settled)
    return world


def conf(world: World) -> ConfState:
    assert world.leader is not None
    return world.up(world.leader).replica.conf_state


def live(controller: Voters, now_ms: int) -> set[int]:
    members = controller._membership(now_ms).members
    return {member for member, candidate in members.items() if candidate.live}


def voters(world: World) -> set[int]:
    return set(conf(world).voters)


def test_members_come_as_learners_and_three_of_them_vote() -> None:
    world = grown(B)
    world.run(2_000)
    assert conf(world) == ConfState(voters=(A,), learners=(B,))
    world.join(C, via=A)
    world.wait(lambda: voters(world) == {A, B, C}, 3_000)


def test_no_more_vote_than_the_policy_says() -> None:
    world = grown(B, C, D, E)
    world.run(5_000)
    assert voters(world) == {A, B, C}
    assert set(conf(world).learners) == {D, E}
    world.propose(A, "five", SetPolicy(Policy(voters_max=5)))
    world.wait(lambda: voters(world) == {A, B, C, D, E}, 3_000)
    world.propose(A, "one", SetPolicy(Policy(voters_max=1)))
    world.wait(lambda: len(voters(world)) == 1, 5_000)
    assert world.leader == A


def test_a_member_that_never_answered_does_not_vote() -> None:
    """It is marked as active when it is added; as a second voter it would stop the cluster."""
    world = World(A, policy=Policy(voters_max=3))
    world.wait(world.settled)
    world.cut = {B}
    world.join(B, via=A)
    world.join(C, via=A)
    world.run(3 * LIVE_FOR_MS)
    assert voters(world) == {A}
    world.cut.clear()
    world.wait(lambda: voters(world) == {A, B, C}, 3_000)


def test_a_new_leader_does_not_take_dead_learners_for_live_ones() -> None:
    world = grown(B, C, D, E)
    world.wait(lambda: voters(world) == {A, B, C}, 3_000)
    world.propose(A, "five", SetPolicy(Policy(voters_max=5)))
    world.run(5)  # the policy is committed; nobody is promoted yet
    world.cut = {D, E}
    world.crash(A)
    world.wait(lambda: world.leader == B, 3_000)
    world.run(2 * LIVE_FOR_MS)
    assert voters(world) == {A, B, C}
    assert world.leader == B


def test_zones_and_capacities_that_an_operator_sets_count() -> None:
    world = grown(B, C, D)
    world.wait(lambda: voters(world) == {A, B, C}, 3_000)
    zones = [(A, "x"), (B, "x"), (C, "x"), (D, "y")]
    world.propose(A, "zones", *(DescribeMember(member, zone, 0) for member, zone in zones))
    world.wait(lambda: D in voters(world) and A in voters(world), 5_000)
    assert len(voters(world)) == 3
    world.propose(A, "shares", *(DescribeMember(member, "", 1) for member in (A, B, C)))
    world.propose(A, "share", DescribeMember(D, "y", 3))
    world.wait(lambda: world.served_by().count(D) == PARTITIONS // 2, 30_000)


def test_a_dead_voter_is_replaced_after_a_while_by_a_learner() -> None:
    world = grown(B, C, D)
    world.run(2_000)
    assert voters(world) == {A, B, C}
    world.crash(C)
    world.run(REPLACE_AFTER_MS - 500)
    assert voters(world) == {A, B, C}
    world.wait(lambda: voters(world) == {A, B, D}, 3_000)
    world.start(C)
    world.wait(world.settled)
    assert conf(world) == ConfState(voters=(A, B, D), learners=(C,))


def test_a_dead_member_is_taken_out_once_its_session_is_over() -> None:
    world = grown(B, C, D)
    world.crash(C)
    world.propose(A, "remove", SetIntent(C, Intent.REMOVE))
    world.run(1_000)
    assert C in world.up(A).table.members  # its lease may still be live
    world.wait(lambda: C not in world.up(A).table.members, 10_000)
    assert voters(world) == {A, B, D}
    assert C not in conf(world).learners
    assert C in world.nodes[A].effects.members_gone
    assert world.settled()


def test_a_live_member_that_shall_go_hands_over_leaves_and_knows_it() -> None:
    world = grown(B, C, D)
    world.run(15_000)
    assert C in world.served_by()
    world.propose(A, "remove", SetIntent(C, Intent.REMOVE))
    world.wait(lambda: world.nodes[C].effects.removed, 5_000)
    assert C not in world.up(A).table.members
    assert voters(world) == {A, B, D}
    assert not world.nodes[A].effects.removed
    assert "expired" not in " ".join(world.up(A).coordinator.story())


def test_a_leader_that_shall_go_hands_leadership_over_first() -> None:
    world = grown(B, C, D)
    world.run(15_000)
    world.propose(A, "remove", SetIntent(A, Intent.REMOVE))
    world.wait(lambda: world.nodes[A].effects.removed, 10_000)
    assert world.leader not in (A, None)
    world.crash(A)
    world.wait(lambda: world.all_served() and voters(world) == {B, C, D}, 3_000)


def test_leadership_goes_to_the_voter_that_is_asked_for_or_to_the_best() -> None:
    world = World(A, B, C)
    world.wait(world.settled)
    world.up(A).transfer_leader(C)
    world.wait(lambda: world.leader == C, 200)
    world.cut = {A}
    world.run(1_200)  # A is not active any more, and its log falls behind
    world.propose(C, "x", SetIntent(A, Intent.NONE))
    world.run(100)
    world.up(C).transfer_leader(NO_MEMBER)
    world.wait(lambda: world.leader == B, 200)


def test_a_single_voter_has_no_heir() -> None:
    world = grown(B)
    world.up(A).transfer_leader(NO_MEMBER)
    world.run(1_000)
    assert world.leader == A


def test_a_change_that_is_not_heard_of_again_blocks_others_for_a_while_only() -> None:
    world = grown(B, C)
    world.run(1_000)
    controller = world.up(A).leadership.voters
    world.cut = {B, C}
    controller._carry_out(Promote(B), world.clock(A))
    controller._looked_at_ms = 0
    assert controller._membership(world.clock(A)).busy
    assert not controller._membership(world.clock(A) + CHANGE_DEADLINE_MS).busy


def test_what_became_of_a_change_lets_the_next_one_begin() -> None:
    world = grown(B, C)
    controller = world.up(A).leadership.voters
    controller._changing_until_ms = world.clock(A) + CHANGE_DEADLINE_MS
    world.up(A).replica._out.unknown.append(VotersTag(Promote(B)))
    world.run(LOOK_EVERY_MS)
    assert not controller._membership(world.clock(A)).busy


def test_nobody_is_live_to_a_new_leader_before_it_has_answered() -> None:
    world = grown(B, C)
    world.run(1_000)
    controller = world.up(A).leadership.voters
    controller.became_leader(world.clock(A))
    assert live(controller, world.clock(A)) == {A, B, C}
    for member in (B, C):
        world.up(A).replica.raw._core.tracker.progress[member].match_index = LogIndex(0)
    assert live(controller, world.clock(A)) == {A}
