"""Snapshots are taken in slices: while the log goes on, while members wait, while others come."""

from __future__ import annotations

from parti_raft.replica_values import ReplicaLimits
from parti_raft.types import MemberId, MessageType, Snapshot
from tests.parti_raft.test_replica import CHUNK_BYTES, A, B, C, D, Group, add_learner, propose

SLICED = ReplicaLimits(
    snapshot_every_entries=20,
    keep_entries=2,
    snapshot_chunks_per_slice=1,
    snapshot_offered_ticks=4,
)


def grown(*, cut: set[MemberId] | None = None) -> Group:
    """A group whose state needs several slices, the first of which has just been taken."""
    group = Group(A, B, C, limits=SLICED)
    group.elect(A)
    group.cut = cut or set()
    while not group.replicas[A]._taker.busy:
        propose(group, A, "x" * CHUNK_BYTES)
    return group


def stored(group: Group) -> Snapshot:
    return group.disks[A].state.snapshot


def tick_until_stored(group: Group) -> None:
    before = stored(group).index
    for _ in range(100):
        if stored(group).index > before:
            return
        group.tick(A)
    raise AssertionError("the snapshot is not on disk after 100 ticks")


def test_a_large_state_takes_several_ticks_and_holds_what_was_frozen() -> None:
    group = grown()
    frozen_at, commands = group.replicas[A].applied_index, len(group.machines[A].commands)
    group.tick(A, 3)
    assert group.replicas[A]._taker.busy
    propose(group, A, "later")
    assert stored(group).index < frozen_at
    tick_until_stored(group)
    assert stored(group).index == frozen_at
    group.start(A)
    assert len(group.machines[A].commands) == commands


def test_the_log_is_compacted_behind_the_frozen_state_not_the_present_one() -> None:
    group = grown()
    frozen_at = group.replicas[A].applied_index
    for n in range(10):
        propose(group, A, f"k{n}")
    tick_until_stored(group)
    assert group.disks[A].state.floor_index == frozen_at - SLICED.keep_entries
    assert group.disks[A].state.entries[-1].index == frozen_at + 10


def test_what_stays_behind_a_snapshot_is_bounded_in_bytes() -> None:
    limits = ReplicaLimits(snapshot_every_entries=20, keep_entries=15, keep_bytes=500)
    group = Group(A, B, C, limits=limits)
    group.elect(A)
    for _ in range(30):
        propose(group, A, "x" * 90)
    group.tick(A, 10)
    state = group.disks[A].state
    behind = [e for e in state.entries if e.index <= state.snapshot.index]
    assert state.snapshot.index > 1
    assert 400 < sum(len(entry.data) for entry in behind) <= 500


def with_a_slow_member(limits: ReplicaLimits) -> tuple[Group, int]:
    """C is heard, but writes nothing, while the others write 60 entries; gives what C has."""
    group = Group(A, B, C, limits=limits)
    group.elect(A)
    group.slow_disks = {C}
    held = group.replicas[C].raw.last_index
    for _ in range(60):
        propose(group, A, "x")
        group.tick(A, 2)
    assert stored(group).index > held + 40
    return group, held


def test_the_log_waits_for_a_member_that_is_heard_and_lags() -> None:
    limits = ReplicaLimits(snapshot_every_entries=20, keep_entries=2)
    group, held = with_a_slow_member(limits)
    assert group.disks[A].state.floor_index <= held
    assert group.disks[B].state.floor_index > held, "who does not lead knows of no other"
    group.slow_disks.clear()
    group.settle()
    group.tick(A, 20)
    assert not any(m.type is MessageType.SNAP for m in group.sent)
    assert group.machines[C].commands == group.machines[A].commands


def test_the_log_does_not_wait_for_ever() -> None:
    few = ReplicaLimits(snapshot_every_entries=20, keep_entries=2, lagging_entries=10)
    small = ReplicaLimits(snapshot_every_entries=20, keep_entries=2, lagging_bytes=100)
    for limits in (few, small):
        group, held = with_a_slow_member(limits)
        assert group.disks[A].state.floor_index > held + 20


def test_the_log_does_not_wait_for_a_member_that_is_silent() -> None:
    group = Group(A, B, C, limits=ReplicaLimits(snapshot_every_entries=20, keep_entries=2))
    group.elect(A)
    group.cut = {C}
    held = group.replicas[C].raw.last_index
    for _ in range(60):
        propose(group, A, "x")
        group.tick(A, 2)
    assert group.disks[A].state.floor_index > held


def test_a_small_state_is_done_at_once() -> None:
    group = Group(A, B, C, limits=ReplicaLimits(snapshot_every_entries=5, keep_entries=0))
    group.elect(A)
    for n in range(5):
        propose(group, A, f"k{n}")
    assert not group.replicas[A]._taker.busy
    assert stored(group).index > 1


def lagging() -> Group:
    """C has missed so much that the log does not hold it any more."""
    group = grown(cut={C})
    tick_until_stored(group)
    group.cut.clear()
    return group


def test_a_lagging_member_waits_for_its_snapshot_and_then_has_everything() -> None:
    group = lagging()
    group.tick(A, 100)
    assert any(m.type is MessageType.SNAP and m.to == C for m in group.sent)
    assert group.machines[C].commands == group.machines[A].commands


def test_a_snapshot_is_offered_only_for_a_while() -> None:
    group = lagging()
    group.tick(A, 100)
    taker = group.replicas[A]._taker
    group.tick(A, SLICED.snapshot_offered_ticks)
    assert taker._offered is None


def test_one_snapshot_serves_all_who_lag() -> None:
    group = lagging()
    group.cut = {C}
    group.start(D)
    group.replicas[A].propose_conf_change("join", add_learner(D))
    group.settle()
    group.cut.clear()
    group.tick(A, 100)
    sent = [m for m in group.sent if m.type is MessageType.SNAP]
    assert {m.to for m in sent} == {C, D}
    assert len({m.snapshot.index for m in sent if m.snapshot is not None}) == 1
    for member in (C, D):
        assert group.machines[member].commands == group.machines[A].commands


def test_a_member_added_while_one_is_taken_gets_another_that_knows_it() -> None:
    group = grown()
    group.start(D)
    group.replicas[A].propose_conf_change("join", add_learner(D))
    group.settle()
    group.tick(A, 200)
    assert group.replicas[D].conf_state.learners == (D,)
    assert group.machines[D].commands == group.machines[A].commands


def test_what_is_taken_of_a_state_that_the_leader_replaces_is_given_up() -> None:
    """Its index is older than that of the state which is on its way to the disk."""
    group = grown()
    follower = group.replicas[C]
    while not follower._taker.busy:
        propose(group, A, "y" * CHUNK_BYTES)
    group.cut = {C}
    before = follower.applied_index
    while group.disks[A].state.floor_index <= before:
        propose(group, A, "missed")
        group.tick(A)
    group.cut.clear()
    assert follower._taker.busy
    group.slow_disks = {C}
    while not any(job.installed for job in follower._jobs):
        group.tick(A)
    assert not follower._taker.busy, "it would follow the newer one to the disk"
    group.tick(C, 20)
    group.slow_disks.clear()
    group.settle()
    assert follower.applied_index > before
    assert group.machines[C].commands == group.machines[A].commands
    for n in range(50):
        propose(group, A, f"more {n}")
        group.tick(C, 2)
    group.tick(C, 100)
    assert group.disks[C].state.snapshot.index > before + 50, "it compacts again by itself"
