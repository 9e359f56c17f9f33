from __future__ import annotations

import pytest

from parti_raft import (
    HardState,
    InvalidMessageError,
    LogDamagedError,
    LogIndex,
    MemoryLog,
    Message,
    MessageType,
    ProgressState,
    RawNode,
    SnapshotUnavailableError,
    Term,
)
from parti_raft.types import Snapshot
from tests.parti_raft.cluster import (
    BOOT,
    Cluster,
    boot_snapshot,
    entry,
    make_node,
    message,
    take_all,
)

APP, APP_RESP = MessageType.APP, MessageType.APP_RESP


def follower_with(terms: list[int], commit: int = BOOT) -> tuple[RawNode, MemoryLog]:
    """A member 2 whose entries after the boot snapshot have these terms."""
    log = MemoryLog()
    log.apply_snapshot(boot_snapshot((1, 2, 3)))
    log.append([entry(term, BOOT + 1 + at) for at, term in enumerate(terms)])
    log.set_hard_state(HardState(Term(max(terms, default=1)), commit=LogIndex(commit)))
    return make_node(2, log=log)


def append_to_2(term: int, prev: tuple[int, int], terms: list[int], commit: int = 0) -> Message:
    """An append from 1 to 2 after `prev` (index, term)."""
    index, log_term = prev
    entries = tuple(entry(each, index + 1 + at) for at, each in enumerate(terms))
    return message(
        APP, 1, 2, term, index=index, log_term=Term(log_term), entries=entries, commit=commit
    )


def terms_of(node: RawNode, log: MemoryLog) -> list[int]:
    first = log.first_index()
    return [log.term(index) for index in range(first, node.last_index + 1)]


def test_a_proposal_reaches_and_is_applied_by_everybody() -> None:
    cluster = Cluster(learners=(4,))
    cluster.elect(1)
    for data in (b"a", b"b"):
        cluster.propose(1, data)
    assert [cluster.data(member) for member in (1, 2, 3, 4)] == [[b"a", b"b"]] * 4


def test_a_batch_is_appended_together_and_a_follower_forwards() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.nodes[1].propose_entries([b"a", b"b"])
    cluster.pump()
    cluster.propose(2, b"c")
    assert cluster.data(3) == [b"a", b"b", b"c"]


def test_entries_of_an_earlier_term_are_not_committed_by_counting() -> None:
    # Raft figure 8: an entry of term 2 sits on a majority, but the leader is of term 4.
    cluster = Cluster(pre_vote=False, check_quorum=False)
    cluster.elect(1)
    cluster.isolate(1)
    cluster.nodes[1].propose(b"old")
    cluster.pump()
    old = cluster.nodes[1].last_index
    cluster.start(1, log=cluster.logs[1])
    cluster.heal()
    cluster.lose = lambda each: any(e.term == each.term for e in each.entries)
    cluster.nodes[1].campaign()
    cluster.pump()
    leader = cluster.nodes[1]
    leader.step(message(APP_RESP, 2, 1, leader.term, index=old))
    leader.step(message(APP_RESP, 3, 1, leader.term, index=old))
    assert leader.commit_index < old
    leader.step(message(APP_RESP, 2, 1, leader.term, index=leader.last_index))
    assert leader.commit_index == leader.last_index


def test_a_late_shorter_append_does_not_cut_off_acknowledged_entries() -> None:
    node, log = follower_with([2, 2, 2])
    node.step(append_to_2(2, (BOOT, 1), [2]))
    (answer,) = take_all(node, log)
    assert (answer.index, answer.reject) == (BOOT + 1, False)
    assert terms_of(node, log) == [2, 2, 2]


def test_a_conflict_replaces_the_tail() -> None:
    node, log = follower_with([2, 2, 2])
    node.step(append_to_2(3, (BOOT + 1, 2), [3]))
    take_all(node, log)
    assert terms_of(node, log) == [2, 3]


def test_a_conflict_with_a_committed_entry_is_damage() -> None:
    node, _ = follower_with([2, 2], commit=BOOT + 2)
    node.step(append_to_2(3, (BOOT, 1), [3]))
    assert node.last_index == BOOT + 2, "what lies below the commit index is not looked at"
    with pytest.raises(LogDamagedError):
        node._core.log.append([entry(3, BOOT + 2)])


@pytest.mark.parametrize("terms", [[], [2]])
def test_commit_never_passes_what_the_append_has_verified(terms: list[int]) -> None:
    node, _ = follower_with([2, 2, 2])
    node.step(append_to_2(3, (BOOT, 1), terms, commit=BOOT + 3))
    assert node.commit_index == BOOT + len(terms)


def test_a_heartbeat_beyond_the_log_means_lost_entries() -> None:
    node, _ = follower_with([2])
    with pytest.raises(LogDamagedError):
        node.step(message(MessageType.HEARTBEAT, 1, 2, 2, commit=BOOT + 5))


def test_heartbeats_carry_no_commit_beyond_the_match() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    cluster.isolate(3)
    cluster.propose(1, b"a")
    leader.tick()
    beats = {m.to: m.commit for m in cluster.take(1) if m.type is MessageType.HEARTBEAT}
    assert beats == {2: leader.commit_index, 3: leader.commit_index - 1}


def test_an_append_below_the_commit_index_is_acknowledged_up_to_it() -> None:
    node, log = follower_with([2, 2, 2], commit=BOOT + 2)
    node.step(append_to_2(2, (BOOT, 1), [2]))
    (answer,) = take_all(node, log)
    assert (answer.reject, answer.index) == (False, BOOT + 2)


def test_an_append_from_the_beginning_after_compaction_changes_nothing() -> None:
    node, log = follower_with([2, 2, 2], commit=BOOT + 3)
    take_all(node, log)
    log.compact(BOOT + 2)
    for _ in range(2):
        node.step(append_to_2(2, (0, 0), [1, 2, 2, 2]))
        (answer,) = take_all(node, log)
        assert (answer.reject, answer.index) == (False, BOOT + 3)
    assert node.last_index == BOOT + 3


def test_an_empty_append_does_not_match_an_empty_log_beyond_its_end() -> None:
    log = MemoryLog()
    node, log = make_node(2, log=log)
    node.step(append_to_2(2, (5, 0), [], commit=5))
    (answer,) = take_all(node, log)
    assert answer.reject
    assert node.commit_index == 0


@pytest.mark.parametrize("bad", [(3, 4, 6), (4, 5)])
def test_an_append_with_a_gap_is_refused(bad: tuple[int, ...]) -> None:
    node, _ = follower_with([])
    entries = tuple(entry(2, index) for index in bad)
    with pytest.raises(InvalidMessageError):
        node.step(message(APP, 1, 2, 2, index=2, log_term=Term(1), entries=entries))


def test_acknowledgements_out_of_order_do_not_take_the_match_back() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    for data in (b"a", b"b", b"c"):
        cluster.propose(1, data)
    before = leader.status().progress
    leader.step(message(APP_RESP, 2, 1, leader.term, index=BOOT + 1))
    leader.step(message(APP_RESP, 2, 1, leader.term, index=BOOT + 1, reject=True, reject_hint=BOOT))
    leader.check_invariants()
    assert leader.status().progress[leader.id] == before[leader.id]
    assert leader.status().progress == before
    assert leader.commit_index == leader.last_index


def test_matches_are_forgotten_at_an_election() -> None:
    cluster = Cluster(pre_vote=False, check_quorum=False)
    leader = cluster.elect(1)
    cluster.propose(1, b"a")
    assert all(each.match_index for each in leader.status().progress.values())
    cluster.elect(2)
    cluster.lose = lambda each: each.type is APP_RESP
    cluster.elect(1)
    others = [each for member, each in leader.status().progress.items() if member != 1]
    assert [each.match_index for each in others] == [0, 0]


@pytest.mark.parametrize(
    ("leader_terms", "follower_terms"),
    [([2] * 50 + [5] * 10, [2] * 3 + [3] * 60), ([2] + [4] * 60, [2] + [3] * 55)],
)
def test_long_conflicts_need_few_probes(leader_terms: list[int], follower_terms: list[int]) -> None:
    cluster = Cluster(voters=(1, 2), pre_vote=False, check_quorum=False)
    for member, terms in ((1, leader_terms), (2, follower_terms)):
        log = MemoryLog()
        log.apply_snapshot(boot_snapshot((1, 2)))
        log.append([entry(term, BOOT + 1 + at) for at, term in enumerate(terms)])
        log.set_hard_state(HardState(Term(terms[-1])))
        cluster.start(member, log=log)
    cluster.elect(1)
    assert cluster.nodes[2].last_index == cluster.nodes[1].last_index
    assert cluster.nodes[1].commit_index == cluster.nodes[1].last_index
    assert len([each for each in cluster.sent(APP_RESP) if each.reject]) <= 3


def compacted_cluster() -> Cluster:
    """Member 3 has missed entries that the leader 1 has compacted away."""
    cluster = Cluster(check_quorum=False)
    cluster.elect(1)
    cluster.isolate(3)
    for number in range(5):
        cluster.propose(1, b"%d" % number)
    leader, log = cluster.nodes[1], cluster.logs[1]
    log.create_snapshot(leader.applied_index, leader.conf_state, b"state")
    log.compact(leader.applied_index)
    return cluster


def test_an_idle_leader_with_a_purged_log_sends_a_snapshot() -> None:
    cluster = compacted_cluster()
    cluster.heal()
    cluster.tick(3)
    assert cluster.nodes[3].last_index == cluster.nodes[1].last_index
    assert cluster.logs[3].snapshot().data == b"state"
    assert cluster.nodes[1].status().progress[cluster.nodes[3].id].state is (
        ProgressState.REPLICATE
    )
    cluster.propose(1, b"more")
    assert cluster.data(3) == [b"more"]


def test_no_snapshot_is_sent_to_a_member_that_does_not_answer() -> None:
    cluster = compacted_cluster()
    leader, three = cluster.nodes[1], cluster.nodes[3].id
    leader.report_unreachable(three)
    progress = leader._core.tracker.progress[three]
    for active, state in ((False, ProgressState.PROBE), (True, ProgressState.SNAPSHOT)):
        progress.recent_active = active
        cluster.propose(1, b"x")
        assert leader.status().progress[three].state is state


def test_a_snapshot_that_is_not_ready_is_asked_for_again() -> None:
    cluster = compacted_cluster()
    leader = cluster.nodes[1]

    class NotReady(MemoryLog):
        def snapshot(self) -> Snapshot:
            raise SnapshotUnavailableError

    storage, leader._core.storage = leader._core.storage, NotReady()
    cluster.heal()
    cluster.tick(3)
    assert leader.status().progress[cluster.nodes[3].id].state is ProgressState.PROBE
    leader._core.storage = storage
    cluster.tick(3)
    assert cluster.nodes[3].last_index == leader.last_index


@pytest.mark.parametrize("ok", [True, False])
def test_a_reported_snapshot_resumes_probing(ok: bool) -> None:  # noqa: FBT001
    cluster = compacted_cluster()
    leader = cluster.nodes[1]
    three = cluster.nodes[3].id
    cluster.heal()
    cluster.lose = lambda each: each.type is MessageType.SNAP
    cluster.tick(3)
    before = leader.status().progress[three]
    assert before.state is ProgressState.SNAPSHOT
    leader.report_snapshot(three, ok)
    after = leader.status().progress[three]
    assert (after.state, after.paused) == (ProgressState.PROBE, True)
    assert after.next_index == (before.pending_snapshot if ok else after.match_index) + 1
    cluster.lose = lambda _each: False
    cluster.tick(5)
    assert cluster.nodes[3].last_index == leader.last_index


def test_an_acknowledgement_below_the_pending_snapshot_resumes_if_the_log_connects() -> None:
    cluster = compacted_cluster()
    leader = cluster.nodes[1]
    three = cluster.nodes[3].id
    base = leader.last_index
    assert cluster.logs[1].first_index() == base + 1
    cluster.propose(1, b"x")
    leader._core.tracker.progress[three].become_snapshot(leader.last_index)
    leader.step(message(APP_RESP, 3, 1, leader.term, index=base - 1))
    assert leader.status().progress[three].state is ProgressState.SNAPSHOT
    assert not leader.has_ready(), "the snapshot is not sent twice"
    leader.step(message(APP_RESP, 3, 1, leader.term, index=base))
    assert leader.status().progress[three].state is ProgressState.REPLICATE


def test_an_old_snapshot_lowers_nothing() -> None:
    node, log = follower_with([2, 2, 2], commit=BOOT + 3)
    take_all(node, log)
    log.compact(BOOT + 2)
    old = Snapshot(LogIndex(BOOT + 1), Term(2), boot_snapshot((1, 2, 3)).conf_state)
    node.step(message(MessageType.SNAP, 1, 2, 5, snapshot=old))
    (answer,) = take_all(node, log)
    assert (answer.index, node.term, node.commit_index) == (BOOT + 3, 5, BOOT + 3)


def test_a_snapshot_of_an_earlier_term_does_not_lower_the_term() -> None:
    node, log = follower_with([9])
    newer = Snapshot(LogIndex(50), Term(3), boot_snapshot((1, 2, 3)).conf_state, b"s")
    node.step(message(MessageType.SNAP, 1, 2, 9, snapshot=newer))
    take_all(node, log)
    assert (node.term, node.last_index, node.applied_index) == (9, 50, 50)


def test_a_snapshot_without_this_member_is_not_installed() -> None:
    node, log = follower_with([2])
    foreign = Snapshot(LogIndex(50), Term(3), boot_snapshot((1, 3)).conf_state)
    node.step(message(MessageType.SNAP, 1, 2, 4, snapshot=foreign))
    (answer,) = take_all(node, log)
    assert (answer.index, node.last_index) == (BOOT, BOOT + 1)


def test_a_snapshot_of_what_the_log_holds_only_commits() -> None:
    node, log = follower_with([2, 2, 2])
    known = Snapshot(LogIndex(BOOT + 2), Term(2), boot_snapshot((1, 2, 3)).conf_state)
    node.step(message(MessageType.SNAP, 1, 2, 2, snapshot=known))
    take_all(node, log)
    assert (node.commit_index, node.last_index) == (BOOT + 2, BOOT + 3)


def test_lost_appends_are_repeated_after_a_report_or_a_heartbeat() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    cluster.lose = lambda each: each.type is APP and each.to == 3
    for number in range(5):
        cluster.propose(1, b"%d" % number)
    three = cluster.nodes[3].id
    leader.report_unreachable(three)
    assert leader.status().progress[three].state is ProgressState.PROBE
    cluster.lose = lambda _each: False
    cluster.tick(2)
    assert cluster.data(3) == cluster.data(1)
    assert leader.status().progress[three].state is ProgressState.REPLICATE


def test_a_complete_member_that_is_probed_returns_to_streaming() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    two = cluster.nodes[2].id
    leader.report_unreachable(two)
    cluster.tick(1)
    assert leader.status().progress[two].state is ProgressState.REPLICATE


def test_a_repeated_entry_is_not_written_again() -> None:
    node, log = follower_with([2])
    node.step(append_to_2(2, (BOOT, 1), [2, 2]))
    assert node.ready().entries == (entry(2, BOOT + 2),)
    assert log.last_index() == BOOT + 1


def test_a_full_window_recovers_when_everything_in_it_was_lost() -> None:
    cluster = Cluster(max_inflight_msgs=2)
    leader = cluster.elect(1)
    cluster.lose = lambda each: each.type is APP and each.to == 3
    for number in range(6):
        cluster.propose(1, b"%d" % number)
    three = leader.status().progress[cluster.nodes[3].id]
    assert (three.inflight_full, three.paused) == (True, True)
    cluster.lose = lambda _each: False
    cluster.tick(6)
    assert cluster.data(3) == cluster.data(1)


def test_a_log_that_ends_before_the_commit_index_does_not_start() -> None:
    log = MemoryLog()
    log.apply_snapshot(boot_snapshot((1,)))
    log.set_hard_state(HardState(Term(2), commit=LogIndex(BOOT + 1)))
    with pytest.raises(LogDamagedError):
        make_node(1, log=log)


def test_a_commit_index_on_disk_that_is_behind_the_snapshot_is_raised() -> None:
    log = MemoryLog()
    log.apply_snapshot(boot_snapshot((1, 2, 3)))
    log.set_hard_state(HardState(Term(2)))
    node, _ = make_node(1, log=log)
    assert (node.commit_index, node.applied_index, node.term) == (BOOT, BOOT, 2)
