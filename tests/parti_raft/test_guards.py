"""Guards that no other test of this package would miss: the mutation gate named them."""

from __future__ import annotations

import pytest

from parti_raft import MessageType, Role
from parti_raft.confchange import ChangeType, ConfChangeV2, SingleChange, Transition
from parti_raft.replica_values import Drop, ReplicaLimits
from parti_raft.types import MemberId, Message
from tests.parti_raft.cluster import Cluster, make_node, message, take_all
from tests.parti_raft.test_replica import A, B, C, Group, propose, values

VOTE_RESP = MessageType.VOTE_RESP


def test_learners_commit_nothing() -> None:
    cluster = Cluster(learners=(4, 5, 6))
    leader = cluster.elect(1)
    before = leader.commit_index
    cluster.lose = lambda each: each.sender in (2, 3)
    cluster.propose(1, b"x")
    assert leader.commit_index == before
    cluster.lose = lambda _each: False
    cluster.tick(3)
    assert leader.commit_index == before + 1


@pytest.mark.parametrize("incoming", [(1, 4, 5), (1,)], ids=["three", "one"])
def test_a_read_in_a_joint_configuration_needs_both_halves(incoming: tuple[int, ...]) -> None:
    cluster = Cluster(learners=(4, 5))
    leader = cluster.elect(1)
    added = [SingleChange(ChangeType.ADD_VOTER, MemberId(each)) for each in incoming[1:]]
    removed = [SingleChange(ChangeType.REMOVE, MemberId(each)) for each in (2, 3)]
    cluster.change(1, ConfChangeV2(Transition.JOINT_EXPLICIT, (*removed, *added)))
    assert leader.conf_state.voters_outgoing == (1, 2, 3)
    cluster.lose = lambda each: each.sender in (2, 3)
    leader.read_index(b"r")
    cluster.pump()
    assert not cluster.reads[1]
    cluster.lose = lambda _each: False
    cluster.tick(1)
    assert [each.context for each in cluster.reads[1]] == [b"r"]


def test_of_two_answers_of_a_voter_the_first_counts() -> None:
    node, log = make_node(1, voters=(1, 2, 3, 4, 5), pre_vote=False)
    node.campaign()
    take_all(node, log)
    node.step(message(VOTE_RESP, 2, 1, node.term, reject=True))
    node.step(message(VOTE_RESP, 2, 1, node.term))
    node.step(message(VOTE_RESP, 3, 1, node.term))
    assert node.role is Role.CANDIDATE, "two of five"


def test_a_full_window_that_was_compacted_meanwhile_gets_a_snapshot() -> None:
    cluster = Cluster(max_inflight_msgs=2)
    leader, log = cluster.elect(1), cluster.logs[1]
    cluster.lose = lambda each: each.type is MessageType.APP and each.to == 3
    for number in range(6):
        cluster.propose(1, b"%d" % number)
    assert leader.status().progress[MemberId(3)].inflight_full
    log.create_snapshot(leader.applied_index, leader.conf_state, b"state")
    log.compact(leader.applied_index)
    cluster.lose = lambda _each: False
    cluster.tick(6)
    assert cluster.nodes[3].last_index == leader.last_index
    assert cluster.logs[3].snapshot().data == b"state"


def test_a_transfer_does_not_begin_before_the_log_of_its_target_is_complete() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    cluster.lose = lambda each: each.type is MessageType.APP and each.to == 2
    cluster.propose(1, b"a")
    leader.transfer_leader(MemberId(2))
    cluster.pump()
    assert cluster.sent(MessageType.TIMEOUT_NOW) == []
    assert cluster.leaders() == [1]


@pytest.mark.parametrize("kind", [MessageType.HEARTBEAT, MessageType.APP])
def test_a_leader_that_missed_a_term_is_told(kind: MessageType) -> None:
    node, log = make_node(2)
    node.step(message(MessageType.HEARTBEAT, 3, 2, 7))
    take_all(node, log)
    node.step(message(kind, 1, 2, 4))
    told = [(each.type, each.to, each.term) for each in take_all(node, log)]
    assert told == [(MessageType.APP_RESP, 1, 7)]


def test_a_vote_waits_for_the_disk_and_a_heartbeat_does_not() -> None:
    node, _ = make_node(1, async_storage_writes=True)
    node.step(message(MessageType.VOTE, 2, 1, 5, log_term=9, index=9))
    sent = [each.type for each in node.ready().messages]
    assert sent == [MessageType.STORAGE_APPEND]


class HalfDeaf(Group):
    """Nobody gets entries of `mute`."""

    mute: MemberId | None = None

    def _deliver(self, sender: MemberId, message: Message) -> None:
        if sender != self.mute or message.type is not MessageType.APP:
            super()._deliver(sender, message)


def test_a_command_is_not_applied_that_another_one_replaced() -> None:
    """The other one stands at the same index, so only the term tells them apart."""
    group = HalfDeaf(A, B, C)
    group.mute = A
    group.replicas[A].raw.campaign()
    group.settle()
    propose(group, A, "lost")
    group.cut, group.mute = {A}, None
    group.tick(B, 25)
    group.tick(C, 25)
    leader = next(each for each in (B, C) if group.replicas[each].is_leader)
    propose(group, leader, "kept")
    group.cut.clear()
    group.tick(leader, 5)
    assert group.outcomes[A].applied == []
    assert group.outcomes[A].dropped == [("lost", Drop.OVERWRITTEN)]


def test_two_rounds_of_reads_may_be_under_way() -> None:
    group = Group(A, B, C)
    leader = group.elect(A)
    group.cut = {B, C}
    for tag in ("first", "second"):
        leader.read(tag)
        group.settle()
    group.cut.clear()
    group.tick(A, 3)
    assert [tag for tag, _ in group.outcomes[A].reads] == ["first", "second"]


def test_what_does_not_fit_into_an_entry_goes_into_the_next() -> None:
    group = Group(A, B, C, limits=ReplicaLimits(entry_bytes_max=10))
    leader = group.elect(A)
    before = leader.raw.last_index
    for tag in ("aaaa", "bbbb", "cccc", "dddd", "eeeeeeeeeeeeeeee", "f"):
        leader.propose(tag, tag.encode())
    group.settle()
    assert leader.raw.last_index - before == 4
    assert list(values(group.outcomes[A].applied).values()) == [0, 1, 2, 3, 4, 5]
    assert group.machines[B].commands[:3] == [b"aaaa", b"bbbb", b"cccc"]


def test_entries_reach_the_disk_with_the_commit_index_known_before_them() -> None:
    """A restart must not campaign in a membership two changes old, see `_persist_nothing`."""
    group = Group(A, B, C)
    leader = group.elect(A)
    propose(group, A, "x")
    leader.tick()
    leader.tick()
    group.settle()
    known = group.replicas[B].raw.commit_index
    assert known == leader.raw.commit_index
    assert group.disks[B].state.hard_state.commit < known, "a commit index costs no write"
    group.cut = {C}
    propose(group, A, "y")
    assert group.disks[B].state.entries[-1].index == known + 1
    assert group.disks[B].state.hard_state.commit >= known


def test_a_single_voter_commits_nothing_before_its_own_disk_has_it() -> None:
    node, log = make_node(1, voters=(1,))
    node.campaign()
    take_all(node, log)
    assert node.is_leader
    node.propose(b"x")
    ready = node.ready()
    assert [each.data for each in ready.entries] == [b"x"]
    assert ready.committed_entries == ()
    log.append(ready.entries)
    node.advance()
    assert [each.data for each in node.ready().committed_entries] == [b"x"]
