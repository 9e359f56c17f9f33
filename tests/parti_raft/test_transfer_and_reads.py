from __future__ import annotations

from typing import Any

import pytest

from parti_raft import (
    ChangeType,
    ConfChangeV1,
    DropReason,
    MemberId,
    MessageType,
    ProposalDropped,
    ReadDropped,
    ReadOnlyOption,
)
from tests.parti_raft.cluster import ELECTION_TICKS, Cluster, make_node, message, take_all

TWO, THREE, FOUR = MemberId(2), MemberId(3), MemberId(4)
LEASE: dict[str, Any] = {"read_only_option": ReadOnlyOption.LEASE_BASED}


# Transfer of leadership.


def test_leadership_is_handed_to_a_complete_member_at_once() -> None:
    cluster = Cluster()
    cluster.elect(1).transfer_leader(TWO)
    cluster.pump()
    assert cluster.leaders() == [2]


def test_a_follower_forwards_the_wish() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.nodes[3].transfer_leader(TWO)
    cluster.pump()
    assert cluster.leaders() == [2]


def test_a_member_that_is_behind_is_brought_up_to_date_first() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    cluster.isolate(2)
    cluster.propose(1, b"a")
    leader.transfer_leader(TWO)
    cluster.pump()
    assert cluster.leaders() == [1]
    cluster.heal()
    leader.report_unreachable(TWO)
    cluster.tick(2)
    assert cluster.leaders() == [2]
    assert cluster.data(2) == [b"a"]


def test_no_proposals_during_a_transfer_and_service_again_after_its_timeout() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    cluster.isolate(2)
    leader.transfer_leader(TWO)
    with pytest.raises(ProposalDropped) as dropped:
        leader.propose(b"x")
    assert dropped.value.reason is DropReason.TRANSFER_IN_PROGRESS
    cluster.tick(3)
    assert leader.basic_status().transferee == TWO, "heartbeats do not end it"
    cluster.tick(ELECTION_TICKS)
    assert leader.is_leader
    cluster.propose(1, b"y")
    assert cluster.data(3) == [b"y"]


@pytest.mark.parametrize("target", [1, 4, 9])
def test_no_transfer_to_oneself_a_learner_or_a_stranger(target: int) -> None:
    cluster = Cluster(learners=(4,))
    leader = cluster.elect(1)
    leader.transfer_leader(MemberId(target))
    cluster.pump()
    assert leader.basic_status().transferee == 0
    assert cluster.leaders() == [1]


def test_a_newer_wish_replaces_an_older_one() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    cluster.isolate(2)
    leader.transfer_leader(TWO)
    leader.transfer_leader(THREE)
    cluster.pump()
    assert cluster.leaders() == [3]


def test_removing_the_target_ends_the_transfer() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    leader.propose_conf_change(ConfChangeV1(ChangeType.REMOVE, TWO))
    cluster.lose = lambda each: each.type is MessageType.TIMEOUT_NOW
    leader.transfer_leader(TWO)
    cluster.pump()
    assert leader.basic_status().transferee == 0


def test_a_learner_ignores_the_order_to_take_over() -> None:
    node, log = make_node(4, voters=(1, 2, 3), learners=(4,))
    node.step(message(MessageType.TIMEOUT_NOW, 1, 4, 1))
    assert not [each for each in take_all(node, log) if each.type is MessageType.VOTE]


# Linearizable reads.


def test_a_read_is_answered_with_the_commit_index_after_one_round() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    cluster.propose(1, b"a")
    leader.read_index(b"r")
    assert not cluster.reads[1]
    cluster.pump()
    assert [(each.index, each.context) for each in cluster.reads[1]] == [
        (leader.commit_index, b"r")
    ]


def test_a_follower_and_a_learner_read_through_the_leader() -> None:
    cluster = Cluster(learners=(4,))
    leader = cluster.elect(1)
    for member in (2, 4):
        cluster.nodes[member].read_index(b"r")
        cluster.pump()
        assert cluster.reads[member][0].index == leader.commit_index


def test_one_round_confirms_all_reads_before_it() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    for number in range(5):
        leader.read_index(b"%d" % number)
    beats = [each for each in cluster.take(1) if each.type is MessageType.HEARTBEAT]
    cluster.deliver(beats[-2])
    cluster.pump()
    assert [each.context for each in cluster.reads[1]] == [b"0", b"1", b"2", b"3", b"4"]


def test_no_read_before_the_first_commit_of_the_own_term() -> None:
    cluster = Cluster(check_quorum=False)
    cluster.lose = lambda each: each.type is MessageType.APP_RESP
    leader = cluster.elect(1)
    assert not leader.committed_in_term
    leader.read_index(b"early")
    cluster.pump()
    assert not cluster.reads[1]
    cluster.lose = lambda _each: False
    cluster.tick(3)
    (read,) = cluster.reads[1]
    assert read.index >= leader.last_index


def test_a_cut_off_leader_answers_no_read() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    cluster.isolate(1)
    leader.read_index(b"stale")
    cluster.pump()
    assert not cluster.reads[1]


def test_a_repeated_context_is_not_confirmed_by_an_older_round() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    leader.read_index(b"r")
    old = [each for each in cluster.take(1) if each.type is MessageType.HEARTBEAT]
    for beat in old:
        cluster.step(beat.to, beat)
    answers = [each for member in (2, 3) for each in cluster.take(member)]
    leader.step(answers[0])
    cluster.pump()
    assert len(cluster.reads[1]) == 1
    cluster.isolate(1)
    leader.read_index(b"r")
    for answer in answers:
        leader.step(answer)
    cluster.pump()
    assert len(cluster.reads[1]) == 1, "the second read needs a round of its own"


def test_a_learner_confirms_no_read() -> None:
    cluster = Cluster(learners=(4,))
    leader = cluster.elect(1)
    cluster.lose = lambda each: each.sender in (2, 3)
    leader.read_index(b"r")
    cluster.pump()
    assert not cluster.reads[1]


@pytest.mark.parametrize("unconfirmed", [True, False])
def test_reads_are_forgotten_with_the_leadership(unconfirmed: bool) -> None:  # noqa: FBT001
    cluster = Cluster(pre_vote=False, check_quorum=False)
    if not unconfirmed:
        cluster.lose = lambda each: each.type is MessageType.APP_RESP
    leader = cluster.elect(1)
    assert leader.committed_in_term == unconfirmed
    cluster.lose = lambda each: each.type is MessageType.HEARTBEAT
    leader.read_index(b"old")
    cluster.elect(2)
    cluster.lose = lambda _each: False
    cluster.elect(1)
    leader.read_index(b"new")
    cluster.tick(2)
    assert [each.context for each in cluster.reads[1]] == [b"new"]


def test_a_read_without_leader_or_beyond_the_limit_is_dropped() -> None:
    node, _ = make_node(1)
    with pytest.raises(ReadDropped) as dropped:
        node.read_index(b"r")
    assert dropped.value.reason is DropReason.NO_LEADER
    cluster = Cluster(max_pending_reads=2)
    leader = cluster.elect(1)
    leader.read_index(b"1")
    leader.read_index(b"2")
    with pytest.raises(ReadDropped) as dropped:
        leader.read_index(b"3")
    assert dropped.value.reason is DropReason.READ_LIMIT


def test_a_single_voter_reads_at_once() -> None:
    cluster = Cluster(voters=(1,))
    cluster.elect(1).read_index(b"r")
    cluster.pump()
    assert cluster.reads[1][0].context == b"r"


def test_a_lease_read_needs_no_round_and_keeps_the_leader() -> None:
    cluster = Cluster(**LEASE)
    leader = cluster.elect(1)
    cluster.isolate(1)
    leader.read_index(b"r")
    cluster.pump()
    assert len(cluster.reads[1]) == 1
    cluster.nodes[2].forget_leader()
    assert cluster.nodes[2].leader == 1, "forgetting it would break the lease"
