"""A group under a seeded adversary: lost, repeated and reordered messages, cuts, crashes.

Members use asynchronous storage writes: an append is durable only when the simulation lets the
member's disk finish it. A crash loses everything that was not finished; a restart begins from the
durable log. State machines are volatile and start from the snapshot in the log.

After every event these are checked: at most one leader per term, no member grants two votes in a
term, whatever is committed anywhere stays the same everywhere (so applied prefixes are equal),
logs that share an entry share everything before it, a new leader holds all committed entries,
and the local invariants of the member that acted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from parti_raft import (
    ChangeType,
    ConfChangeV1,
    ConfChangeV2,
    Config,
    ConfState,
    DroppedError,
    Entry,
    EntryType,
    HardState,
    InvalidMessageError,
    LogIndex,
    MemberId,
    MemoryLog,
    Message,
    MessageType,
    ProgressState,
    RawNode,
    SingleChange,
    Snapshot,
    Term,
)
from parti_raft.confchange import decode_conf_change
from parti_raft.config import LOCAL_TARGETS

BOOT_INDEX = LogIndex(2)
_ELECTION_TICKS = 5
_NETWORK_MAX = 400
_RECOVERY_TURNS = 2_000
_PATIENCE_TURNS = 50


@dataclass(slots=True)
class Member:
    """One member: what is durable (`log`), and what a crash loses (the rest)."""

    id: MemberId
    log: MemoryLog
    raw: RawNode
    appends: list[Message] = field(default_factory=list)
    applies: list[Message] = field(default_factory=list)
    state: list[bytes] = field(default_factory=list)
    applied: LogIndex = BOOT_INDEX
    conf_state: ConfState = field(default_factory=ConfState)


class Simulation:
    """The group, its network and the checks."""

    def __init__(self, seed: int, size: int) -> None:
        """Boot `size` voters and leave one more member for changes of configuration."""
        self.random = Random(seed)
        self.voters = tuple(MemberId(number) for number in range(1, size + 1))
        self.options: dict[str, Any] = {
            "pre_vote": self.random.random() < 0.7,
            "check_quorum": self.random.random() < 0.7,
            "max_inflight_msgs": self.random.choice((1, 3, 100)),
            "max_size_per_msg": self.random.choice((0, 40, 1 << 20)),
        }
        self.changes_allowed = self.random.random() < 0.5
        self.network: list[Message] = []
        self.cut: set[tuple[int, int]] = set()
        self.committed: dict[int, tuple[int, EntryType, bytes]] = {}
        self.checked_commit: dict[int, int] = {}
        self.leader_of: dict[int, int] = {}
        self.grants: dict[tuple[int, int], int] = {}
        self.proposals = 0
        boot = Snapshot(BOOT_INDEX, Term(1), ConfState(voters=self.voters))
        self.members: dict[int, Member] = {}
        for id_ in (*self.voters, MemberId(size + 1)):
            log = MemoryLog()
            if id_ in self.voters:
                log.apply_snapshot(boot)
            self.members[id_] = self._start(id_, log)

    def _start(self, id_: MemberId, log: MemoryLog) -> Member:
        snapshot = log.snapshot()
        config = Config(
            id=id_,
            random_timeout=self.random.randint,
            election_tick=_ELECTION_TICKS,
            heartbeat_tick=1,
            applied=snapshot.index,
            async_storage_writes=True,
            max_committed_size_per_ready=self.random.choice((1, 60, 1 << 20)),
            **self.options,
        )
        return Member(
            id=id_,
            log=log,
            raw=RawNode(config, log),
            state=_unpack(snapshot.data),
            applied=snapshot.index,
            conf_state=snapshot.conf_state,
        )

    # Events.

    def run(self, events: int) -> None:
        """Let the adversary act."""
        actions = (
            (self._tick, 80),
            (self._deliver, 700),
            (self._finish_append, 250),
            (self._finish_apply, 150),
            (self._propose, 60),
            (self._crash, 3),
            (self._cut_or_heal, 5),
            (self._snapshot, 6),
            (self._change, 20),
        )
        choices = [action for action, _ in actions]
        weights = [weight for _, weight in actions]
        for _ in range(events):
            member = self.members[self.random.choice(list(self.members))]
            (action,) = self.random.choices(choices, weights)
            action(member)
            self._settle(self.members[member.id])
        self._check_log_matching()

    def _tick(self, member: Member) -> None:
        member.raw.tick()

    def _deliver(self, _member: Member) -> None:
        if not self.network:
            return
        # Mostly the oldest: some progress must be possible.
        at = 0 if self.random.random() < 0.6 else self.random.randrange(len(self.network))
        message = self.network[at]
        fate = self.random.random()
        if fate > 0.05:
            del self.network[at]
        if fate < 0.9 and (message.sender, message.to) not in self.cut:
            self._step(message)

    def _step(self, message: Message) -> None:
        receiver = self.members[message.to]
        try:
            receiver.raw.step(message)
        except (InvalidMessageError, DroppedError):
            return
        self._settle(receiver)

    def _finish_append(self, member: Member) -> None:
        if not member.appends:
            return
        message = member.appends.pop(0)
        if message.term:
            member.log.set_hard_state(HardState(message.term, message.vote, message.commit))
        if message.snapshot is not None:
            self._install(member, message.snapshot)
        member.log.append(message.entries)
        self._respond(member, message.responses)

    def _install(self, member: Member, snapshot: Snapshot) -> None:
        member.log.apply_snapshot(snapshot)
        member.state = _unpack(snapshot.data)
        member.applied = snapshot.index
        member.conf_state = snapshot.conf_state

    def _finish_apply(self, member: Member) -> None:
        if not member.applies:
            return
        message = member.applies.pop(0)
        for entry in message.entries:
            if entry.index <= member.applied:
                continue  # a snapshot was installed in the meantime
            assert entry.index == member.applied + 1, "entries are applied without a gap"
            self._record_committed(entry)
            member.applied = entry.index
            if entry.type is EntryType.NORMAL:
                # The empty entry of a new leader changes no state.
                member.state += [entry.data] if entry.data else []
            else:
                change = decode_conf_change(entry.type, entry.data)
                member.conf_state = member.raw.apply_conf_change(change)
        self._respond(member, message.responses)

    def _respond(self, member: Member, responses: list[Message]) -> None:
        for response in responses:
            if response.to == member.id:
                self._step(response)
            else:
                self._send(response)

    def _propose(self, member: Member) -> None:
        self.proposals += 1
        self._attempt(member, b"p%d" % self.proposals)

    def _attempt(self, member: Member, data: bytes) -> None:
        try:
            member.raw.propose(data)
        except DroppedError:
            return

    def _crash(self, member: Member) -> None:
        self.members[member.id] = self._start(member.id, member.log)

    def _cut_or_heal(self, member: Member) -> None:
        if self.cut or self.random.random() < 0.3:
            self.cut = set()
            return
        others = [id_ for id_ in self.members if id_ != member.id]
        for other in self.random.sample(others, self.random.randint(1, len(others))):
            self.cut.add((member.id, other))
            if self.random.random() < 0.7:
                self.cut.add((other, member.id))

    def _snapshot(self, member: Member) -> None:
        if member.applied <= member.log.snapshot().index or member.appends:
            return
        if member.applied > member.log.last_index():
            return
        member.log.create_snapshot(member.applied, member.conf_state, b"\n".join(member.state))
        keep = self.random.choice((0, 3))
        member.log.compact(member.applied - keep)

    def _change(self, member: Member) -> None:
        if not self.changes_allowed or not member.raw.is_leader:
            return
        kinds = (ChangeType.ADD_VOTER, ChangeType.ADD_LEARNER, ChangeType.REMOVE)
        targets = self.random.sample(list(self.members), 2)
        singles = tuple(
            SingleChange(self.random.choice(kinds), MemberId(target)) for target in targets
        )
        keeps = {
            MemberId(voter)
            for voter in self.voters
            if not any(s.member == voter and s.type is not ChangeType.ADD_VOTER for s in singles)
        }
        if len(keeps & set(member.raw.conf_state.voters)) < len(self.voters) // 2 + 1:
            return
        change = ConfChangeV2(changes=singles)
        single = ConfChangeV1(singles[0].type, singles[0].member)
        try:
            member.raw.propose_conf_change(self.random.choice((change, single)))
        except DroppedError:
            return

    # Work and checks.

    def _settle(self, member: Member) -> None:
        while member.raw.has_ready():
            for message in member.raw.ready().messages:
                if message.to not in LOCAL_TARGETS:
                    self._send(message)
                elif message.type is MessageType.STORAGE_APPEND:
                    member.appends.append(message)
                else:
                    member.applies.append(message)
        self._check(member)

    def _send(self, message: Message) -> None:
        if message.type is MessageType.VOTE_RESP and not message.reject:
            key = (message.term, message.sender)
            assert self.grants.setdefault(key, message.to) == message.to, "two votes in a term"
        self.network.append(message)
        if len(self.network) > _NETWORK_MAX:
            del self.network[self.random.randrange(len(self.network))]

    def _check(self, member: Member) -> None:
        raw = member.raw
        raw.check_invariants()
        for index in range(self.checked_commit.get(member.id, 0) + 1, raw.commit_index + 1):
            entry = self._entry(member, index)
            if entry is not None:
                self._record_committed(entry)
        self.checked_commit[member.id] = raw.commit_index
        if raw.is_leader:
            first = raw.term not in self.leader_of
            assert self.leader_of.setdefault(raw.term, member.id) == member.id, "two leaders"
            if first:
                self._check_complete(member)

    def _check_complete(self, leader: Member) -> None:
        for index, (term, kind, data) in self.committed.items():
            entry = self._entry(leader, index)
            if entry is None:
                assert index < leader.log.first_index(), f"a leader lacks entry {index}"
            else:
                assert (entry.term, entry.type, entry.data) == (term, kind, data)

    def _entry(self, member: Member, index: int) -> Entry | None:
        log = member.raw._core.log
        if log.term(index) is None or index < log.first_index():
            return None
        return log.slice(index, index + 1, 0)[0]

    def _record_committed(self, entry: Entry) -> None:
        value = (entry.term, entry.type, entry.data)
        known = self.committed.setdefault(entry.index, value)
        assert known == value, f"entry {entry.index} was committed twice: {known}, {value}"

    def _check_log_matching(self) -> None:
        logs = []
        for member in self.members.values():
            log = member.raw._core.log
            low, high = log.first_index(), log.last_index() + 1
            entries = log.slice(low, high, 1 << 62) if low < high else ()
            logs.append({entry.index: entry for entry in entries})
        for one in logs:
            for other in logs:
                _check_pair(one, other)

    # The end: everything works again.

    def recover(self) -> None:
        """Heal everything and require that the group elects a leader and commits."""
        self.cut = set()
        for turn in range(_RECOVERY_TURNS):
            for member in list(self.members.values()):
                self._tick(member)
                self._drain(member)
            waiting, self.network = self.network, []
            for message in waiting:
                self._step(message)
            leaders = [member for member in self.members.values() if member.raw.is_leader]
            if not leaders:
                continue
            leader = max(leaders, key=lambda member: member.raw.term)
            if turn % _PATIENCE_TURNS == 0:
                self._encourage(leader)
            if self._recovered(leader):
                self._check_log_matching()
                return
        raise AssertionError("no progress after everything was healed")

    def _drain(self, member: Member) -> None:
        self._settle(member)
        while member.appends or member.applies:
            self._finish_append(member)
            self._finish_apply(member)
            self._settle(member)

    def _encourage(self, leader: Member) -> None:
        if b"end" not in leader.state:
            self._attempt(leader, b"end")
        # A snapshot message may be lost, and an old snapshot may not contain its receiver.
        self._snapshot(leader)
        for id_, progress in leader.raw.status().progress.items():
            if progress.state is ProgressState.SNAPSHOT:
                leader.raw.report_snapshot(id_, ok=False)

    def _recovered(self, leader: Member) -> bool:
        configured = {*leader.raw.conf_state.voters, *leader.raw.conf_state.learners}
        return b"end" in leader.state and all(
            self.members[id_].state == leader.state for id_ in configured
        )


def _check_pair(one: dict[LogIndex, Entry], other: dict[LogIndex, Entry]) -> None:
    common = sorted(one.keys() & other.keys())
    same = [one[index].term == other[index].term for index in common]
    last = max((at for at, equal in enumerate(same) if equal), default=-1)
    for index in common[: last + 1]:
        assert one[index] == other[index], f"logs match later but differ at {index}"


def _unpack(data: bytes) -> list[bytes]:
    return data.split(b"\n") if data else []
