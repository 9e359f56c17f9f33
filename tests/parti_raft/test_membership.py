from __future__ import annotations

from typing import Any

import pytest

from parti_raft import (
    ChangeType,
    ConfChangeError,
    ConfChangeReason,
    ConfChangeV1,
    ConfChangeV2,
    Entry,
    EntryType,
    LogIndex,
    MemberId,
    MemoryLog,
    MessageType,
    Role,
    SingleChange,
    Term,
    Transition,
)
from parti_raft.confchange import encode_conf_change
from tests.parti_raft.cluster import BOOT, ELECTION_TICKS, Cluster, message

PLAIN: dict[str, Any] = {"pre_vote": False, "check_quorum": False}


def one(kind: ChangeType, member: int) -> ConfChangeV1:
    return ConfChangeV1(kind, MemberId(member))


def several(*changes: tuple[ChangeType, int], explicit: bool = False) -> ConfChangeV2:
    transition = Transition.JOINT_EXPLICIT if explicit else Transition.AUTO
    singles = tuple(SingleChange(kind, MemberId(member)) for kind, member in changes)
    return ConfChangeV2(transition, singles)


def conf_types(cluster: Cluster, member: int) -> list[EntryType]:
    return [each.type for each in cluster.applied[member] if each.type is not EntryType.NORMAL]


def test_a_change_takes_effect_when_it_is_applied_on_every_member() -> None:
    cluster = Cluster(learners=(4,))
    cluster.elect(1)
    cluster.change(1, one(ChangeType.ADD_VOTER, 4))
    assert {node.conf_state.voters for node in cluster.nodes.values()} == {(1, 2, 3, 4)}


def test_only_one_change_at_a_time() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    leader.propose_conf_change(one(ChangeType.ADD_LEARNER, 4))
    leader.propose_conf_change(one(ChangeType.ADD_LEARNER, 5))
    last = leader.last_index
    assert leader.entry_type(last) is EntryType.NORMAL, "replaced by an empty entry"
    cluster.pump()
    assert list(leader.conf_state.learners) == [4]
    cluster.change(1, one(ChangeType.ADD_LEARNER, 5))
    assert list(leader.conf_state.learners) == [4, 5]


def test_two_changes_in_one_batch_are_two_changes() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    entries = tuple(
        Entry(Term(0), LogIndex(0), *encode_conf_change(one(ChangeType.ADD_LEARNER, member)))
        for member in (4, 5)
    )
    leader.step(message(MessageType.PROP, 2, 1, 0, entries=entries))
    cluster.pump()
    assert leader.conf_state.learners == (4,)


def test_a_new_leader_admits_no_change_while_its_log_may_hold_another() -> None:
    cluster = Cluster(**PLAIN)
    cluster.elect(1)
    cluster.lose = lambda each: each.type is MessageType.APP_RESP
    cluster.change(1, one(ChangeType.ADD_LEARNER, 9))
    cluster.isolate(1)
    leader = cluster.elect(2)
    assert leader.commit_index < leader.last_index - 1
    leader.propose_conf_change(one(ChangeType.REMOVE, 3))
    assert leader.entry_type(leader.last_index) is EntryType.NORMAL


def test_a_joint_configuration_needs_both_halves_also_after_a_restart() -> None:
    cluster = Cluster(voters=(1, 2, 3), learners=(4, 5), **PLAIN)
    cluster.elect(1)
    joint = several(
        (ChangeType.REMOVE, 2),
        (ChangeType.REMOVE, 3),
        (ChangeType.ADD_VOTER, 4),
        (ChangeType.ADD_VOTER, 5),
        explicit=True,
    )
    cluster.change(1, joint)
    leader = cluster.nodes[1]
    assert leader.conf_state.voters_outgoing == (1, 2, 3)
    log = cluster.logs[1]
    log.create_snapshot(leader.applied_index, leader.conf_state, b"")
    cluster.start(1, log=log)
    assert cluster.nodes[1].conf_state == leader.conf_state
    cluster.lose = lambda each: each.sender in (2, 3)
    cluster.nodes[1].campaign()
    cluster.pump()
    assert cluster.nodes[1].role is Role.CANDIDATE, "the incoming half alone elects nobody"
    cluster.lose = lambda _each: False
    cluster.elect(1)
    cluster.lose = lambda each: each.sender in (2, 3)
    before = cluster.nodes[1].commit_index
    cluster.propose(1, b"x")
    assert cluster.nodes[1].commit_index == before
    cluster.lose = lambda _each: False
    cluster.tick(3)
    assert cluster.nodes[1].commit_index > before


def test_an_implicit_joint_configuration_is_left_by_itself() -> None:
    cluster = Cluster(learners=(4,))
    cluster.elect(1)
    cluster.change(1, several((ChangeType.REMOVE, 3), (ChangeType.ADD_VOTER, 4)))
    assert cluster.nodes[1].conf_state.voters == (1, 2, 4)
    assert cluster.nodes[1].conf_state.voters_outgoing == ()
    assert conf_types(cluster, 2) == [EntryType.CONF_CHANGE_V2] * 2


def test_an_explicit_joint_configuration_is_left_by_an_empty_change_only() -> None:
    cluster = Cluster(learners=(4,))
    leader = cluster.elect(1)
    cluster.change(1, ConfChangeV2())
    assert leader.entry_type(leader.last_index) is EntryType.NORMAL, "nothing to leave"
    cluster.change(1, several((ChangeType.ADD_VOTER, 4), explicit=True))
    cluster.change(1, one(ChangeType.REMOVE, 3))
    assert leader.conf_state.voters_outgoing == (1, 2, 3)
    cluster.change(1, ConfChangeV2())
    assert not leader.conf_state.voters_outgoing


def test_a_change_that_does_not_fit_is_refused_as_a_whole() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    before = leader.status()
    with pytest.raises(ConfChangeError) as refused:
        leader.apply_conf_change(ConfChangeV2())
    assert refused.value.reason is ConfChangeReason.NOT_JOINT
    assert leader.status() == before


def test_a_removed_leader_leads_until_the_change_is_applied_and_then_steps_down() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    leader.propose_conf_change(one(ChangeType.REMOVE, 1))
    assert leader.is_leader
    cluster.pump()
    assert leader.role is Role.FOLLOWER
    leader.campaign()
    assert leader.role is Role.FOLLOWER
    cluster.tick(ELECTION_TICKS)
    cluster.elect(2)
    cluster.propose(2, b"on")
    assert cluster.data(3) == [b"on"]


def test_a_group_of_two_shrinks_to_one_while_both_live_and_then_commits_alone() -> None:
    cluster = Cluster(voters=(1, 2))
    cluster.elect(1)
    cluster.change(1, one(ChangeType.REMOVE, 2))
    cluster.isolate(2)
    cluster.propose(1, b"alone")
    assert cluster.data(1) == [b"alone"]


def test_removing_a_dead_member_commits_what_it_held_back() -> None:
    cluster = Cluster(voters=(1, 2, 3, 4), **PLAIN)
    leader = cluster.elect(1)
    cluster.change(1, one(ChangeType.REMOVE, 4))
    cluster.isolate(3)
    cluster.propose(1, b"x")
    assert leader.commit_index == leader.last_index
    cluster.isolate(2)
    leader.propose(b"y")
    cluster.pump()
    held = leader.last_index
    assert leader.commit_index < held
    leader.apply_conf_change(several((ChangeType.REMOVE, 2)))
    leader.apply_conf_change(several((ChangeType.REMOVE, 3)))
    assert leader.commit_index == held


def test_a_new_member_has_time_to_answer_before_the_quorum_is_checked() -> None:
    cluster = Cluster(voters=(1,))
    leader = cluster.elect(1)
    cluster.tick(ELECTION_TICKS - 1)
    cluster.change(1, one(ChangeType.ADD_VOTER, 2))
    cluster.tick(1)
    assert leader.is_leader
    cluster.tick(ELECTION_TICKS)
    assert not leader.is_leader


def test_a_removed_member_with_a_high_term_disturbs_nobody() -> None:
    cluster = Cluster(voters=(1, 2, 3))
    term = cluster.elect(1).term
    cluster.isolate(3)
    cluster.change(1, one(ChangeType.REMOVE, 3))
    cluster.start(3, log=cluster.logs[3], **PLAIN)
    for _ in range(5):
        cluster.nodes[3].campaign()
        cluster.pump()
    cluster.heal()
    cluster.tick(5 * ELECTION_TICKS)
    assert cluster.leaders() == [1]
    assert cluster.nodes[1].term == term


def test_a_promoted_learner_that_does_not_know_it_yet_votes() -> None:
    cluster = Cluster(voters=(1, 2), learners=(3,), **PLAIN)
    cluster.elect(1)
    cluster.isolate(3)
    cluster.change(1, one(ChangeType.ADD_VOTER, 3))
    assert cluster.nodes[3].conf_state.learners == (3,)
    cluster.heal()
    cluster.isolate(1)
    cluster.cut -= {(2, 3), (3, 2)}
    cluster.elect(2)
    cluster.tick(3, 2)
    assert cluster.nodes[3].conf_state.voters == (1, 2, 3)


def test_a_new_member_gets_its_log_by_snapshot() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.propose(1, b"a")
    cluster.change(1, one(ChangeType.ADD_LEARNER, 4))
    leader, log = cluster.nodes[1], cluster.logs[1]
    log.create_snapshot(leader.applied_index, leader.conf_state, b"a")
    cluster.start(4, log=MemoryLog())
    cluster.tick(3)
    leader.report_snapshot(cluster.nodes[4].id, ok=False)
    cluster.tick(3)
    assert cluster.nodes[4].last_index == leader.last_index > BOOT
    assert cluster.nodes[4].conf_state == leader.conf_state
