from __future__ import annotations

from typing import Any

import pytest

from parti_raft import ChangeType, ConfChangeV1, HardState, MemberId, MessageType, Role, Term
from parti_raft.elections import TRANSFER_CONTEXT
from tests.parti_raft.cluster import (
    BOOT,
    ELECTION_TICKS,
    Cluster,
    entry,
    make_node,
    message,
    take_all,
)

VOTE, VOTE_RESP = MessageType.VOTE, MessageType.VOTE_RESP
PRE_VOTE, PRE_VOTE_RESP = MessageType.PRE_VOTE, MessageType.PRE_VOTE_RESP
PLAIN: dict[str, Any] = {"pre_vote": False, "check_quorum": False}


def test_a_follower_campaigns_after_its_election_timeout_and_wins() -> None:
    cluster = Cluster()
    cluster.tick(2 * ELECTION_TICKS - 2, 1)
    assert cluster.leaders() == []
    cluster.tick(1, 1)
    assert cluster.leaders() == [1]
    assert {node.leader for node in cluster.nodes.values()} == {1}


def test_heartbeats_keep_followers_quiet() -> None:
    cluster = Cluster()
    term = cluster.elect(2).term
    cluster.tick(10 * ELECTION_TICKS)
    assert cluster.leaders() == [2]
    assert cluster.nodes[2].term == term


def test_the_election_timeout_is_drawn_within_the_stated_bounds() -> None:
    drawn = []

    def draw(low: int, high: int) -> int:
        drawn.append((low, high))
        return low

    node, _ = make_node(1, random_timeout=draw)
    assert set(drawn) == {(ELECTION_TICKS, 2 * ELECTION_TICKS - 1)}
    for _ in range(ELECTION_TICKS):
        node.tick()
    assert node.role is Role.PRE_CANDIDATE


def test_a_single_voter_elects_itself_only_after_its_vote_is_on_disk() -> None:
    node, log = make_node(1, voters=(1,))
    node.campaign()
    take_all(node, log)
    assert node.is_leader
    assert log.initial_state()[0].vote == 1


@pytest.mark.parametrize("kind", [VOTE, PRE_VOTE])
def test_a_voter_with_a_newer_log_refuses(kind: MessageType) -> None:
    node, log = make_node(1)
    log.append([entry(2, 2)])
    log.set_hard_state(HardState(Term(2)))
    node, log = make_node(1, log=log)
    for last_term, last_index in ((1, 9), (2, 1)):
        node.step(message(kind, 2, 1, 3, log_term=Term(last_term), index=last_index))
        assert take_all(node, log)[-1].reject
    node.step(message(kind, 2, 1, 3, log_term=Term(2), index=2))
    assert not take_all(node, log)[-1].reject


def test_one_vote_per_term_also_after_a_restart() -> None:
    node, log = make_node(1)
    up_to_date = {"log_term": Term(9), "index": 9}
    node.step(message(VOTE, 2, 1, 5, **up_to_date))
    assert not take_all(node, log)[-1].reject
    node, log = make_node(1, log=log)
    assert (node.term, node.role) == (5, Role.FOLLOWER)
    node.step(message(VOTE, 3, 1, 5, **up_to_date))
    assert take_all(node, log)[-1].reject
    node.step(message(VOTE, 2, 1, 5, **up_to_date))
    assert not take_all(node, log)[-1].reject, "a repeated request gets the same answer"


def test_a_vote_leaves_only_after_it_was_persisted() -> None:
    node, _ = make_node(1, async_storage_writes=True)
    node.step(message(VOTE, 2, 1, 5, log_term=Term(9), index=9))
    (append,) = node.ready().messages
    assert append.type is MessageType.STORAGE_APPEND
    assert (append.term, append.vote) == (5, 2)
    assert [each.type for each in append.responses] == [VOTE_RESP]


def test_a_repeated_grant_counts_once() -> None:
    node, log = make_node(1, voters=(1, 2, 3, 4, 5), **PLAIN)
    node.campaign()
    take_all(node, log)
    for _ in range(5):
        node.step(message(VOTE_RESP, 2, 1, node.term))
    assert node.role is Role.CANDIDATE
    node.step(message(VOTE_RESP, 3, 1, node.term))
    assert node.is_leader


def test_grants_of_an_earlier_term_and_of_non_voters_do_not_count() -> None:
    node, log = make_node(1, voters=(1, 2, 3), learners=(4,), **PLAIN)
    node.campaign()
    take_all(node, log)
    earlier = node.term
    node.campaign()
    take_all(node, log)
    node.step(message(VOTE_RESP, 2, 1, earlier))
    node.step(message(VOTE_RESP, 4, 1, node.term))
    assert node.role is Role.CANDIDATE


def test_a_majority_of_refusals_ends_the_candidacy() -> None:
    node, log = make_node(1, **PLAIN)
    node.campaign()
    take_all(node, log)
    node.step(message(VOTE_RESP, 2, 1, node.term, reject=True))
    node.step(message(VOTE_RESP, 3, 1, node.term, reject=True))
    assert node.role is Role.FOLLOWER


def test_late_pre_vote_answers_do_not_elect() -> None:
    node, log = make_node(1, check_quorum=False)
    node.campaign()
    take_all(node, log)
    node.step(message(PRE_VOTE_RESP, 2, 1, node.term + 1))
    take_all(node, log)
    assert node.role is Role.CANDIDATE
    node.step(message(PRE_VOTE_RESP, 3, 1, node.term))
    assert node.role is Role.CANDIDATE


def test_a_pre_vote_changes_neither_term_nor_vote_nor_timer() -> None:
    node, log = make_node(1)
    for _ in range(2 * ELECTION_TICKS - 2):
        node.tick()
    node.step(message(PRE_VOTE, 2, 1, 7, log_term=Term(9), index=9))
    answer = take_all(node, log)[-1]
    assert (answer.term, answer.reject) == (7, False)
    assert node.term == BOOT
    assert log.initial_state()[0].vote == 0
    node.tick()
    assert node.role is Role.PRE_CANDIDATE, "the timer was not reset"


def test_a_live_leader_is_not_disturbed() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    term = leader.term
    for kind in (VOTE, PRE_VOTE):
        cluster.step(2, message(kind, 3, 2, term + 5, log_term=Term(9), index=99))
    assert not cluster.nodes[2].has_ready()
    assert cluster.nodes[2].term == term


def test_the_leader_lease_ends_after_the_minimum_election_timeout() -> None:
    cluster = Cluster()
    cluster.elect(1)
    for _ in range(ELECTION_TICKS):
        cluster.nodes[2].tick()
    cluster.step(2, message(PRE_VOTE, 3, 2, 9, log_term=Term(9), index=99))
    assert [each.type for each in cluster.take(2)] == [PRE_VOTE_RESP]


def test_a_transfer_vote_is_granted_in_spite_of_a_live_leader() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    request = message(
        VOTE, 3, 2, leader.term + 1, log_term=Term(9), index=99, context=TRANSFER_CONTEXT
    )
    cluster.step(2, request)
    (answer,) = cluster.take(2)
    assert (answer.type, answer.reject) == (VOTE_RESP, False)


def test_a_cut_link_between_two_followers_and_the_leader_does_not_raise_terms() -> None:
    cluster = Cluster()
    term = cluster.elect(1).term
    cluster.cut = {(1, 3), (3, 1)}
    cluster.tick(20 * ELECTION_TICKS)
    assert cluster.leaders() == [1]
    assert {node.term for node in cluster.nodes.values()} == {term}


def test_a_member_that_receives_nothing_does_not_raise_terms() -> None:
    cluster = Cluster()
    term = cluster.elect(1).term
    cluster.cut = {(1, 3), (2, 3)}
    cluster.tick(20 * ELECTION_TICKS)
    cluster.heal()
    cluster.tick(3)
    assert cluster.leaders() == [1]
    assert cluster.nodes[1].term == term
    assert cluster.nodes[3].leader == 1


def test_a_leader_without_quorum_steps_down() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    cluster.isolate(1)
    cluster.tick(2 * ELECTION_TICKS, 1)
    assert not leader.is_leader
    assert leader.leader == 0


def test_without_check_quorum_it_leads_on_until_it_hears_of_a_later_term() -> None:
    cluster = Cluster(**PLAIN)
    cluster.elect(1)
    cluster.isolate(1)
    cluster.tick(2 * ELECTION_TICKS, 1)
    cluster.elect(2)
    assert cluster.leaders() == [1, 2]
    cluster.heal()
    cluster.tick(2)
    assert cluster.leaders() == [2]


def test_a_stuck_leader_of_an_earlier_term_learns_of_the_later_one() -> None:
    node, log = make_node(2)
    node.step(message(MessageType.HEARTBEAT, 3, 2, 7))
    take_all(node, log)
    node.step(message(MessageType.HEARTBEAT, 1, 2, 4))
    (answer,) = take_all(node, log)
    assert (answer.to, answer.term, answer.type) == (1, 7, MessageType.APP_RESP)


def test_a_pre_candidate_of_an_earlier_term_is_told_the_term() -> None:
    node, log = make_node(2)
    node.step(message(MessageType.HEARTBEAT, 3, 2, 7))
    take_all(node, log)
    node.step(message(PRE_VOTE, 1, 2, 4, log_term=Term(1), index=1))
    (answer,) = take_all(node, log)
    assert (answer.type, answer.term, answer.reject) == (PRE_VOTE_RESP, 7, True)


def test_members_with_and_without_pre_vote_elect_a_leader_together() -> None:
    cluster = Cluster()
    cluster.start(3, log=cluster.logs[3], pre_vote=False)
    cluster.elect(1)
    cluster.isolate(1)
    cluster.tick(2 * ELECTION_TICKS, 2, 3)
    cluster.tick(2 * ELECTION_TICKS, 3)
    cluster.tick(4 * ELECTION_TICKS, 2)
    assert set(cluster.leaders()) & {2, 3}


def test_forgetting_the_leader_lets_a_follower_vote() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.nodes[2].forget_leader()
    assert cluster.nodes[2].leader == 0
    cluster.step(2, message(PRE_VOTE, 3, 2, 9, log_term=Term(9), index=99))
    assert [each.reject for each in cluster.take(2)] == [False]


def test_a_learner_never_campaigns_but_votes() -> None:
    node, log = make_node(4, voters=(1, 2, 3), learners=(4,))
    for _ in range(5 * ELECTION_TICKS):
        node.tick()
    node.campaign()
    assert node.role is Role.FOLLOWER
    node.step(message(VOTE, 1, 4, 5, log_term=Term(BOOT), index=BOOT))
    (answer,) = take_all(node, log)
    assert (answer.type, answer.reject) == (VOTE_RESP, False)


def test_an_unapplied_configuration_change_forbids_to_campaign() -> None:
    cluster = Cluster(**PLAIN)
    cluster.elect(1)
    cluster.nodes[1].propose_conf_change(ConfChangeV1(ChangeType.REMOVE, MemberId(3)))
    cluster.pump()
    restarted, _ = make_node(2, log=cluster.logs[2], **PLAIN)
    assert restarted.applied_index < restarted.commit_index
    restarted.campaign()
    assert restarted.role is Role.FOLLOWER, "it would count votes by a configuration of the past"
