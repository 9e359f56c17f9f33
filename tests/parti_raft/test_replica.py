"""A replica: batching, outcomes of commands, reads, snapshots and restarts, over a real core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest

from parti_raft.codec import decode_message, encode_message
from parti_raft.confchange import (
    ChangeType,
    ConfChange,
    ConfChangeV2,
    SingleChange,
)
from parti_raft.entry_batch import MalformedEntryError, pack_commands, unpack_commands
from parti_raft.replica import Replica
from parti_raft.replica_values import Drop, PersistJob, ReplicaLimits, RestoredState, Tag, Turn
from parti_raft.types import (
    ConfState,
    Entry,
    HardState,
    LogIndex,
    MemberId,
    Message,
    MessageType,
    Snapshot,
    Term,
)

CHUNK_BYTES = 64  # of a snapshot

A, B, C, D = (MemberId(n) for n in (1, 2, 3, 4))


class Journal:
    """A state machine that remembers its commands; the value of a command is its position."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self.changes: list[ConfChange] = []

    def apply(self, index: LogIndex, commands: Sequence[bytes]) -> Sequence[object]:
        start = len(self.commands)
        self.commands.extend(commands)
        return range(start, len(self.commands))

    def configured(self, index: LogIndex, change: ConfChange, conf: ConfState) -> None:
        self.changes.append(change)

    def freeze(self) -> Iterator[bytes]:
        data = pack_commands(self.commands)
        size = CHUNK_BYTES
        return (data[at : at + size] for at in range(0, len(data), size))

    def restore(self, index: LogIndex, data: bytes) -> None:
        self.commands = unpack_commands(data)


@dataclass
class Disk:
    """What one member has written; jobs wait in `queue` until the test lets them through."""

    state: RestoredState
    queue: list[PersistJob] = field(default_factory=list)
    writes: int = 0

    def write(self, job: PersistJob) -> None:
        self.writes += 1
        state = self.state
        if job.snapshot is not None:
            floor = (job.snapshot.index, job.snapshot.term)
            kept = [e for e in state.entries if e.index > job.snapshot.index]
            if not job.installed:
                kept = [e for e in state.entries if e.index > job.compact_to]
                terms = {e.index: e.term for e in state.entries}
                floor = (job.compact_to, terms.get(job.compact_to, state.floor_term))
                if job.compact_to <= state.floor_index:
                    floor = (state.floor_index, state.floor_term)
            state = replace(
                state,
                snapshot=job.snapshot,
                floor_index=floor[0],
                floor_term=floor[1],
                entries=kept,
            )
        if job.entries:
            first = job.entries[0].index
            state = replace(
                state, entries=[e for e in state.entries if e.index < first] + list(job.entries)
            )
        if job.hard_state is not None:
            state = replace(state, hard_state=job.hard_state)
        self.state = state


class Group:
    """Replicas in one process: disks that are slow on demand, a network that loses on demand."""

    def __init__(self, *members: MemberId, limits: ReplicaLimits | None = None) -> None:
        self.limits = limits or ReplicaLimits()
        start = Snapshot(LogIndex(1), Term(1), ConfState(voters=members), pack_commands([]))
        first = RestoredState(
            HardState(Term(1), MemberId(0), LogIndex(1)), start, LogIndex(1), Term(1)
        )
        self.disks = {member: Disk(first) for member in members}
        self.machines: dict[MemberId, Journal] = {}
        self.replicas: dict[MemberId, Replica] = {}
        self.cut: set[MemberId] = set()
        self.slow_disks: set[MemberId] = set()
        self.outcomes: dict[MemberId, Turn] = {}
        self.sent: list[Message] = []
        for member in members:
            self.start(member)

    def start(self, member: MemberId) -> Replica:
        """(Re)start a member from its disk; what was not written is lost."""
        self.disks.setdefault(member, Disk(RestoredState())).queue.clear()
        machine = self.machines[member] = Journal()
        self.outcomes[member] = Turn()
        replica = self.replicas[member] = Replica(
            member, machine, self.limits, self.disks[member].state, lambda low, _: low + member
        )
        return replica

    def settle(self) -> None:
        """Run everything that can run."""
        busy = True
        while busy:
            busy = False
            for member, replica in list(self.replicas.items()):
                turn = replica.turn()
                self._collect(member, turn)
                busy |= self._write(member, turn.jobs)
                for message in turn.messages:
                    busy = True
                    self._deliver(member, message)

    def _collect(self, member: MemberId, turn: Turn) -> None:
        seen = self.outcomes[member]
        for name in ("applied", "dropped", "unknown", "reads", "reads_dropped"):
            getattr(seen, name).extend(getattr(turn, name))

    def _write(self, member: MemberId, jobs: list[PersistJob]) -> bool:
        disk = self.disks[member]
        disk.queue.extend(jobs)
        if member in self.slow_disks:
            return False
        done, disk.queue = disk.queue, []
        for job in done:
            disk.write(job)
            self.replicas[member].persisted(job)
        return bool(done)

    def _deliver(self, sender: MemberId, message: Message) -> None:
        self.sent.append(message)
        target = self.replicas.get(message.to)
        if target is None or {sender, message.to} & self.cut:
            self.replicas[sender].report_unreachable(message.to)
            return
        target.receive([decode_message(encode_message(message))])
        if message.type is MessageType.SNAP:
            self.replicas[sender].report_snapshot(message.to, ok=True)

    def elect(self, member: MemberId) -> Replica:
        self.replicas[member].raw.campaign()
        self.settle()
        assert self.replicas[member].leads_with_own_entry
        return self.replicas[member]

    def tick(self, member: MemberId, times: int = 1) -> None:
        for _ in range(times):
            self.replicas[member].tick()
            self.settle()


def propose(group: Group, member: MemberId, *tags: str) -> None:
    for tag in tags:
        group.replicas[member].propose(tag, tag.encode())
    group.settle()


def values(pairs: list[tuple[Tag, object]]) -> dict[Tag, object]:
    return dict(pairs)


def test_commands_of_one_turn_share_one_entry_and_are_applied_everywhere() -> None:
    group = Group(A, B, C)
    leader = group.elect(A)
    before = leader.raw.last_index
    propose(group, A, "x", "y", "z")
    assert leader.raw.last_index == before + 1
    assert values(group.outcomes[A].applied) == {"x": 0, "y": 1, "z": 2}
    assert [m.commands for m in group.machines.values()] == [[b"x", b"y", b"z"]] * 3


def test_a_command_is_not_acknowledged_before_a_majority_has_written_it() -> None:
    group = Group(A, B, C)
    group.elect(A)
    group.slow_disks = {B, C}
    propose(group, A, "x")
    assert not group.outcomes[A].applied
    group.slow_disks = {C}
    group.settle()
    assert values(group.outcomes[A].applied) == {"x": 0}


def test_a_leader_counts_its_own_log_only_once_it_is_written() -> None:
    group = Group(A)
    group.elect(A)
    group.slow_disks = {A}
    propose(group, A, "x")
    assert not group.outcomes[A].applied
    group.slow_disks.clear()
    group.settle()
    assert values(group.outcomes[A].applied) == {"x": 0}


def test_a_vote_leaves_only_after_it_is_written() -> None:
    group = Group(A, B, C)
    group.cut = {C}
    group.slow_disks = {B}
    group.replicas[A].raw.campaign()
    group.settle()
    group.sent.clear()
    assert not group.replicas[A].is_leader
    group.slow_disks.clear()
    group.settle()
    assert group.replicas[A].is_leader


def test_a_candidate_asks_for_votes_only_after_its_own_is_written() -> None:
    """Or a crash could take its term back while it leads, and it could lead the term once more."""
    group = Group(A, B, C)
    group.slow_disks = {A}
    group.replicas[A].raw.campaign()
    group.settle()
    assert not [message for message in group.sent if message.type is MessageType.VOTE]
    group.slow_disks.clear()
    group.settle()
    assert group.replicas[A].is_leader


def test_a_moving_commit_index_costs_no_write() -> None:
    group = Group(A, B, C)
    group.elect(A)
    before = {m: d.writes for m, d in group.disks.items()}
    propose(group, A, "x")
    assert {m: d.writes - before[m] for m, d in group.disks.items()} == {A: 1, B: 1, C: 1}


def test_a_member_that_does_not_lead_refuses_commands() -> None:
    group = Group(A, B, C)
    group.elect(A)
    propose(group, B, "x")
    assert group.outcomes[B].dropped == [("x", Drop.NOT_LEADER)]
    assert group.machines[A].commands == []


def test_a_command_that_another_leader_overwrote_is_dropped_not_unknown() -> None:
    group = Group(A, B, C)
    group.elect(A)
    group.cut = {A}
    propose(group, A, "lost")
    group.replicas[B].raw.campaign()
    group.tick(B, 25)
    group.tick(C, 25)
    leader = next(r for m, r in group.replicas.items() if m != A and r.is_leader)
    propose(group, leader.member, "kept")
    group.cut.clear()
    group.tick(leader.member, 5)
    assert group.outcomes[A].dropped == [("lost", Drop.OVERWRITTEN)]
    assert group.machines[A].commands == [b"kept"]


def test_a_command_in_entries_that_a_snapshot_replaced_is_unknown() -> None:
    limits = ReplicaLimits(snapshot_every_entries=5, keep_entries=0)
    group = Group(A, B, C, limits=limits)
    group.elect(A)
    group.cut = {A}
    propose(group, A, "maybe")
    group.tick(B, 25)
    group.tick(C, 25)
    leader = next(r for m, r in group.replicas.items() if m != A and r.is_leader)
    for n in range(12):
        propose(group, leader.member, f"k{n}")
    group.cut.clear()
    group.tick(leader.member, 5)
    assert group.outcomes[A].unknown == ["maybe"]
    assert group.machines[A].commands == group.machines[leader.member].commands


def test_waiting_commands_are_bounded_in_number_bytes_and_size() -> None:
    limits = ReplicaLimits(waiting_commands_max=2, waiting_bytes_max=10, command_bytes_max=8)
    group = Group(A, limits=limits)
    replica = group.elect(A)
    replica.propose("large", b"123456789")
    for tag in ("one", "two", "three"):
        replica.propose(tag, b"1")
    group.settle()
    assert group.outcomes[A].dropped == [("large", Drop.TOO_LARGE), ("three", Drop.OVERLOADED)]
    replica.propose("bytes", b"12345678")
    replica.propose("more", b"123")
    group.settle()
    assert group.outcomes[A].dropped[-1] == ("more", Drop.OVERLOADED)
    assert len(group.outcomes[A].applied) == 3


def test_an_entry_is_split_at_its_limits() -> None:
    limits = ReplicaLimits(entry_commands_max=2, entry_bytes_max=100)
    group = Group(A, limits=limits)
    replica = group.elect(A)
    before = replica.raw.last_index
    propose(group, A, *"abcde")
    assert replica.raw.last_index == before + 3, "two, two and one"


def test_reads_of_one_turn_share_one_round_that_begins_after_them() -> None:
    group = Group(A, B, C)
    replica = group.elect(A)
    propose(group, A, "x")
    group.sent.clear()
    replica.read("r1")
    replica.read("r2")
    group.settle()
    index = replica.applied_index
    assert group.outcomes[A].reads == [("r1", index), ("r2", index)]
    asked = [m for m in group.sent if m.type is MessageType.HEARTBEAT]
    assert len(asked) == 2, "one heartbeat to each of the two others"


def test_a_follower_reads_through_the_leader() -> None:
    group = Group(A, B, C)
    group.elect(A)
    group.replicas[B].read("r")
    group.settle()
    assert group.outcomes[B].reads == [("r", group.replicas[A].applied_index)]


def test_a_cut_off_leader_confirms_no_read_and_gives_it_up() -> None:
    group = Group(A, B, C)
    replica = group.elect(A)
    group.cut = {A}
    replica.read("r")
    group.tick(A, group.limits.read_ticks_max + 1)
    assert not group.outcomes[A].reads
    assert group.outcomes[A].reads_dropped == ["r"]


def test_the_log_is_compacted_and_a_lagging_member_gets_a_snapshot() -> None:
    limits = ReplicaLimits(snapshot_every_entries=10, keep_entries=3, lagging_entries=3)
    group = Group(A, B, C, limits=limits)
    group.elect(A)
    group.cut = {C}
    for n in range(25):
        propose(group, A, f"k{n}")
    assert len(group.disks[A].state.entries) <= 10 + 3 + 1
    group.cut.clear()
    group.tick(A, 5)
    assert any(m.type is MessageType.SNAP and m.to == C for m in group.sent)
    assert group.machines[C].commands == group.machines[A].commands


def test_a_restarted_member_continues_from_its_disk() -> None:
    limits = ReplicaLimits(snapshot_every_entries=4, keep_entries=1)
    group = Group(A, B, C, limits=limits)
    group.elect(A)
    for n in range(11):
        propose(group, A, f"k{n}")
    expected = list(group.machines[A].commands)
    for member in (A, B, C):
        group.start(member)
    group.elect(B)
    assert [m.commands for m in group.machines.values()] == [expected] * 3


def test_a_full_restart_loses_nothing_acknowledged() -> None:
    group = Group(A, B, C)
    group.elect(A)
    group.slow_disks = {C}
    propose(group, A, "x")
    assert group.outcomes[A].applied
    for member in (A, B, C):
        group.start(member)
    group.slow_disks.clear()
    group.tick(A, 25)
    group.tick(B, 25)
    group.settle()
    assert any(r.leads_with_own_entry for r in group.replicas.values())
    assert group.machines[A].commands == group.machines[B].commands == [b"x"]


def add_learner(member: MemberId, context: bytes = b"") -> ConfChangeV2:
    return ConfChangeV2(changes=(SingleChange(ChangeType.ADD_LEARNER, member),), context=context)


def test_a_new_member_is_taken_in_and_learns_everything() -> None:
    limits = ReplicaLimits(snapshot_every_entries=4, keep_entries=0)
    group = Group(A, B, C, limits=limits)
    replica = group.elect(A)
    for n in range(9):
        propose(group, A, f"k{n}")
    group.start(D)
    replica.propose_conf_change("join", add_learner(D, b"hello"))
    group.settle()
    group.tick(A, 5)
    assert group.machines[D].commands == group.machines[A].commands
    assert group.replicas[D].conf_state.learners == (D,)
    tag, conf = group.outcomes[A].applied[-1]
    assert (tag, conf) == ("join", replica.conf_state)
    assert [c.context for c in group.machines[B].changes] == [b"hello"]


def test_a_second_membership_change_is_refused_while_one_is_under_way() -> None:
    group = Group(A, B, C)
    replica = group.elect(A)
    replica.propose_conf_change("first", add_learner(D))
    replica.propose_conf_change("second", add_learner(MemberId(5)))
    group.settle()
    assert group.outcomes[A].dropped == [("second", Drop.REFUSED)]
    assert replica.conf_state.learners == (D,)


def test_leadership_moves_on_request() -> None:
    group = Group(A, B, C)
    group.elect(A).transfer_leader(C)
    group.settle()
    assert group.replicas[C].is_leader
    assert group.replicas[A].leader == C


@pytest.mark.parametrize(
    "data", [b"\x01", pack_commands([b"ab"])[:-1], pack_commands([b"ab"]) + b"x"]
)
def test_a_damaged_batch_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedEntryError):
        unpack_commands(data)


def test_an_entry_gap_is_a_bug_that_stops_the_replica() -> None:
    group = Group(A)
    replica = group.elect(A)
    with pytest.raises(AssertionError, match="without a gap"):
        replica._apply([Entry(Term(2), LogIndex(replica.applied_index + 2))])
