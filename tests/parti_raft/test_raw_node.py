from __future__ import annotations

from typing import Any

import pytest

from parti_raft import (
    APPEND_THREAD,
    APPLY_THREAD,
    NO_LIMIT,
    ChangeType,
    ConfChangeV1,
    Config,
    ConfigError,
    DropReason,
    HardState,
    InvalidMessageError,
    LocalMessageError,
    MalformedConfChangeError,
    MemberId,
    MemoryLog,
    Message,
    MessageType,
    ProposalDropped,
    RawNode,
    ReadOnlyOption,
    Term,
    UnknownPeerError,
)
from parti_raft.types import Entry, EntryType, LogIndex
from tests.parti_raft.cluster import (
    BOOT,
    Cluster,
    boot_snapshot,
    entry,
    longest,
    make_node,
    message,
    take_all,
)

LOCAL = (
    MessageType.HUP,
    MessageType.BEAT,
    MessageType.UNREACHABLE,
    MessageType.SNAP_STATUS,
    MessageType.CHECK_QUORUM,
    MessageType.STORAGE_APPEND,
    MessageType.STORAGE_APPEND_RESP,
    MessageType.STORAGE_APPLY,
    MessageType.STORAGE_APPLY_RESP,
)
RESPONSES = (
    MessageType.APP_RESP,
    MessageType.VOTE_RESP,
    MessageType.PRE_VOTE_RESP,
    MessageType.HEARTBEAT_RESP,
    MessageType.READ_INDEX_RESP,
)


@pytest.mark.parametrize("kind", LOCAL)
def test_local_messages_are_refused_from_the_network(kind: MessageType) -> None:
    node, _ = make_node(1)
    with pytest.raises(LocalMessageError):
        node.step(message(kind, 2, 1, 0))


@pytest.mark.parametrize("kind", RESPONSES)
def test_responses_of_strangers_are_refused(kind: MessageType) -> None:
    node, _ = make_node(1)
    with pytest.raises(UnknownPeerError):
        node.step(message(kind, 9, 1, 1))


def test_a_malformed_configuration_change_is_refused_without_effect() -> None:
    cluster = Cluster()
    leader = cluster.elect(1)
    before = leader.last_index
    bad = Entry(Term(0), LogIndex(0), EntryType.CONF_CHANGE, b"xx")
    with pytest.raises(MalformedConfChangeError):
        leader.step(message(MessageType.PROP, 2, 1, 0, entries=(entry(0, 0, b"d"), bad)))
    assert leader.last_index == before
    with pytest.raises(InvalidMessageError):
        leader.step(message(MessageType.PROP, 2, 1, 0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": 0},
        {"id": APPEND_THREAD},
        {"heartbeat_tick": 0},
        {"election_tick": 2, "heartbeat_tick": 2},
        {"max_inflight_msgs": 0},
        {"max_inflight_bytes": 10, "max_size_per_msg": 20},
        {"max_committed_size_per_ready": 0},
        {"max_uncommitted_size": 0},
        {"max_size_per_msg": -1, "max_committed_size_per_ready": 1},
        {"max_pending_reads": 0},
        {"read_only_option": ReadOnlyOption.LEASE_BASED, "check_quorum": False},
        {"applied": BOOT + 5},
        {"applied": 1},
    ],
)
def test_a_contradictory_configuration_is_refused(wrong: dict[str, Any]) -> None:
    log = MemoryLog()
    log.apply_snapshot(boot_snapshot((1,)))
    if wrong == {"applied": 1}:
        log.append([entry(1, 2), entry(1, 3)])
        log.compact(3)
    with pytest.raises(Exception, match=r".+") as refused:
        RawNode(Config(**{"id": 1, "random_timeout": longest, **wrong}), log)
    assert type(refused.value).__module__ == ConfigError.__module__


def test_all_contradictions_are_named_together() -> None:
    config = Config(id=MemberId(0), random_timeout=longest, heartbeat_tick=0, max_inflight_msgs=0)
    with pytest.raises(ConfigError, match=r"id.*heartbeat_tick.*max_inflight_msgs"):
        config.validate()


def drop_reason(node: RawNode, data: bytes = b"x") -> DropReason:
    with pytest.raises(ProposalDropped) as dropped:
        node.propose(data)
    return dropped.value.reason


def test_proposals_are_dropped_with_a_reason() -> None:
    node, _ = make_node(1)
    assert drop_reason(node) is DropReason.NO_LEADER
    node.campaign()
    assert drop_reason(node) is DropReason.NO_LEADER
    cluster = Cluster(disable_proposal_forwarding=True)
    cluster.elect(1)
    assert drop_reason(cluster.nodes[2]) is DropReason.FORWARDING_DISABLED


def test_a_removed_leader_that_does_not_step_down_takes_no_proposals() -> None:
    cluster = Cluster(step_down_on_removal=False)
    leader = cluster.elect(1)
    cluster.change(1, ConfChangeV1(ChangeType.REMOVE, MemberId(1)))
    assert leader.is_leader
    assert drop_reason(leader) is DropReason.REMOVED


def test_uncommitted_bytes_are_limited_and_given_back_when_applied() -> None:
    cluster = Cluster(max_uncommitted_size=10)
    leader = cluster.elect(1)
    leader.propose(b"x" * 100)  # the first may be of any size
    assert drop_reason(leader) is DropReason.UNCOMMITTED_LIMIT
    leader.propose(b"")
    cluster.pump()
    leader.propose(b"y" * 6)
    leader.propose(b"y" * 4)
    assert drop_reason(leader) is DropReason.UNCOMMITTED_LIMIT
    cluster.pump()
    leader.propose(b"z")


def test_messages_are_limited_in_bytes() -> None:
    cluster = Cluster(max_size_per_msg=60)
    cluster.elect(1)
    cluster.isolate(3)
    for _ in range(4):
        cluster.propose(1, b"x" * 20)
    cluster.heal()
    cluster.nodes[1].report_unreachable(cluster.nodes[3].id)
    cluster.delivered = []
    cluster.tick(3)
    sizes = [len(each.entries) for each in cluster.sent(MessageType.APP) if each.to == 3]
    assert max(sizes) == 2
    assert cluster.data(3) == cluster.data(1)


def test_bytes_in_flight_are_limited() -> None:
    cluster = Cluster(max_size_per_msg=30, max_inflight_bytes=30)
    leader = cluster.elect(1)
    three = cluster.nodes[3].id
    cluster.lose = lambda each: each.to == 3 and each.type is MessageType.APP
    for _ in range(5):
        cluster.propose(1, b"x" * 20)
    progress = leader.status().progress[three]
    assert (progress.inflight_count, progress.inflight_full) == (2, True)


def test_entries_being_applied_are_limited() -> None:
    node, log = make_node(
        1, voters=(1,), async_storage_writes=True, max_committed_size_per_ready=60
    )
    node.campaign()
    applied: list[int] = []
    work: list[Message] = []

    def handle() -> None:
        while node.has_ready():
            for each in node.ready().messages:
                if each.to == APPLY_THREAD:
                    work.append(each)
                    continue
                if each.term:
                    log.set_hard_state(HardState(each.term, each.vote, each.commit))
                log.append(each.entries)
                for response in each.responses:
                    node.step(response)

    handle()
    for _ in range(6):
        node.propose(b"x" * 20)
    handle()
    assert node.commit_index == node.last_index
    while work:
        assert sum(len(each.entries) for each in work) <= 3
        job = work.pop(0)
        applied += [each.index for each in job.entries]
        node.step(job.responses[0])
        handle()
    assert applied == list(range(BOOT + 1, node.last_index + 1))


def test_async_promises_wait_for_the_disk_and_other_messages_do_not() -> None:
    node, _ = make_node(2, async_storage_writes=True)
    node.step(
        message(MessageType.APP, 1, 2, 2, index=BOOT, log_term=Term(BOOT), entries=(entry(2, 2),))
    )
    node.step(message(MessageType.HEARTBEAT, 1, 2, 2))
    beat, append = node.ready().messages
    assert beat.type is MessageType.HEARTBEAT_RESP
    assert [each.type for each in append.responses] == [
        MessageType.APP_RESP,
        MessageType.STORAGE_APPEND_RESP,
    ]
    assert (append.term, append.vote, len(append.entries)) == (2, 0, 1)


def append_from(sender: int, term: int, entries: tuple[Entry, ...]) -> Message:
    return message(
        MessageType.APP, sender, 2, term, index=BOOT, log_term=Term(BOOT), entries=entries
    )


def test_a_completion_from_before_a_change_of_term_marks_nothing_stable() -> None:
    # Entries A, then B of a later leader, then A again: the first write of A must not count.
    node, log = make_node(2, async_storage_writes=True)
    writes = []
    a, b = (entry(2, 2, b"a"),), (entry(3, 2, b"b"),)
    for sender, term, entries in ((1, 2, a), (3, 3, b), (1, 4, a)):
        node.step(append_from(sender, term, entries))
        writes += node.ready().messages
    unstable = node._core.log.unstable
    for each, left in zip(writes, ([a[0]], [a[0]], []), strict=True):
        log.append(each.entries)
        for response in each.responses:
            if response.to == 2:
                node.step(response)
        assert unstable.entries == left
    assert log.entries(2, 3, NO_LIMIT) == a


def test_nothing_unstable_is_applied_with_async_writes() -> None:
    node, log = make_node(2, async_storage_writes=True)
    request = append_from(1, 2, (entry(2, 2, b"a"),))
    request.commit = LogIndex(2)
    node.step(request)
    (append,) = node.ready().messages
    assert node.commit_index == 2
    assert not node.has_ready()
    log.append(append.entries)
    for response in append.responses:
        if response.to == 2:
            node.step(response)
    (apply,) = node.ready().messages
    assert (apply.to, apply.entries) == (APPLY_THREAD, (entry(2, 2, b"a"),))


def test_only_term_vote_and_entries_must_be_synced() -> None:
    node, log = make_node(2)
    node.step(append_from(1, 2, (entry(2, 2),)))
    assert node.ready().must_sync
    log.append([entry(2, 2)])
    node.advance()
    node.step(message(MessageType.HEARTBEAT, 1, 2, 2, commit=LogIndex(2)))
    ready = node.ready()
    assert ready.hard_state == HardState(Term(2), commit=LogIndex(2))
    assert not ready.must_sync


def test_a_vote_must_be_synced() -> None:
    node, log = make_node(2)
    node.step(message(MessageType.HEARTBEAT, 1, 2, 5))
    take_all(node, log)
    node.forget_leader()
    node.step(message(MessageType.VOTE, 3, 2, 5, log_term=Term(9), index=9))
    ready = node.ready()
    assert ready.hard_state == HardState(Term(5), MemberId(3), LogIndex(BOOT))
    assert ready.must_sync


def test_the_write_of_a_new_term_acknowledges_entries_of_the_earlier_one() -> None:
    node, log = make_node(2, async_storage_writes=True)
    node.step(append_from(1, 2, (entry(2, 2, b"a"),)))
    (first,) = node.ready().messages
    node.step(message(MessageType.HEARTBEAT, 3, 2, 3))
    second = node.ready().messages[-1]
    assert not second.entries
    unstable = node._core.log.unstable
    for each, count in ((first, 1), (second, 0)):
        log.append(each.entries)
        for response in each.responses:
            if response.to == 2:
                node.step(response)
        assert len(unstable.entries) == count


def test_a_second_ready_before_advance_is_a_bug_of_the_driver() -> None:
    node, _ = make_node(1)
    node.step(append_from(2, 2, (entry(2, 2),)))
    node.ready()
    with pytest.raises(AssertionError):
        node.ready()
    asynchronous, _ = make_node(1, async_storage_writes=True)
    with pytest.raises(AssertionError):
        asynchronous.advance()


def test_a_restart_applies_only_what_was_not_applied() -> None:
    cluster = Cluster()
    cluster.elect(1)
    for data in (b"a", b"b"):
        cluster.propose(1, data)
    node, log = make_node(1, log=cluster.logs[1], applied=BOOT + 2)
    assert [each.data for each in node.ready().committed_entries] == [b"b"]
    assert log.last_index() == BOOT + 3


def test_the_status_shows_everybody_on_the_leader_only() -> None:
    cluster = Cluster(learners=(4,))
    leader = cluster.elect(1)
    cluster.pump()
    status = leader.status()
    assert sorted(status.progress) == [1, 2, 3, 4]
    assert status.progress[MemberId(4)].is_learner
    assert status.basic == leader.basic_status()
    assert cluster.nodes[2].status().progress == {}
    assert (leader.id, leader.applied_index) == (1, leader.commit_index)


def test_take_all_leaves_nothing() -> None:
    node, log = make_node(1, voters=(1,))
    node.campaign()
    take_all(node, log)
    assert not node.has_ready()
