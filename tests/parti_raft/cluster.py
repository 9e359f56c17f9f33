"""A small group of members in lock step, for tests that script every message.

The synchronous driver form: everything is persisted and applied at once. Links can be cut and
messages held back; nothing is random (election timeouts are the longest possible ones).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from parti_raft import (
    ConfChange,
    Config,
    ConfState,
    Entry,
    EntryType,
    HardState,
    InvalidMessageError,
    LogIndex,
    MemberId,
    MemoryLog,
    Message,
    MessageType,
    ProposalDropped,
    RawNode,
    ReadState,
    Snapshot,
    Term,
)
from parti_raft.confchange import decode_conf_change

ELECTION_TICKS = 10
HEARTBEAT_TICKS = 1
BOOT = 1  # index and term of the snapshot that members boot from


def longest(_low: int, high: int) -> int:
    """An election timeout that is never drawn shorter than another."""
    return high


def make_node(
    member: int,
    voters: Iterable[int] = (1, 2, 3),
    learners: Iterable[int] = (),
    log: MemoryLog | None = None,
    **options: Any,
) -> tuple[RawNode, MemoryLog]:
    """One member, booted into a group unless it brings its own log."""
    if log is None:
        log = MemoryLog()
        log.apply_snapshot(boot_snapshot(voters, learners))
        log.set_hard_state(HardState(Term(BOOT), commit=LogIndex(BOOT)))
    options.setdefault("random_timeout", longest)
    options.setdefault("election_tick", ELECTION_TICKS)
    options.setdefault("heartbeat_tick", HEARTBEAT_TICKS)
    options.setdefault("applied", log.snapshot().index)
    return RawNode(Config(id=MemberId(member), **options), log), log


def boot_snapshot(voters: Iterable[int], learners: Iterable[int] = ()) -> Snapshot:
    """What all members of a new group begin with."""
    state = ConfState(
        voters=tuple(MemberId(voter) for voter in voters),
        learners=tuple(MemberId(learner) for learner in learners),
    )
    return Snapshot(LogIndex(BOOT), Term(BOOT), state)


def entry(term: int, index: int, data: bytes = b"") -> Entry:
    """A normal entry."""
    return Entry(Term(term), LogIndex(index), EntryType.NORMAL, data)


class Cluster:
    """Members, their logs and what they have applied."""

    def __init__(
        self,
        voters: Iterable[int] = (1, 2, 3),
        learners: Iterable[int] = (),
        **options: Any,
    ) -> None:
        """Boot all members."""
        self.options = options
        self.voters, self.learners = tuple(voters), tuple(learners)
        self.nodes: dict[int, RawNode] = {}
        self.logs: dict[int, MemoryLog] = {}
        self.applied: dict[int, list[Entry]] = {}
        self.reads: dict[int, list[ReadState]] = {}
        self.network: deque[Message] = deque()
        self.cut: set[tuple[int, int]] = set()
        self.delivered: list[Message] = []
        self.lose: Callable[[Message], bool] = lambda _message: False
        for member in (*self.voters, *self.learners):
            self.start(member)

    def start(self, member: int, log: MemoryLog | None = None, **options: Any) -> None:
        """Start a member, new or with the log of its former self."""
        node, log = make_node(
            member, self.voters, self.learners, log, **{**self.options, **options}
        )
        self.nodes[member], self.logs[member] = node, log
        self.applied[member], self.reads[member] = [], []

    def isolate(self, member: int) -> None:
        """Cut all links of a member."""
        for other in self.nodes:
            self.cut |= {(member, other), (other, member)}

    def heal(self) -> None:
        """Mend all links."""
        self.cut = set()

    def take(self, member: int) -> list[Message]:
        """Do a member's pending work once; its messages are returned, not delivered."""
        node, log = self.nodes[member], self.logs[member]
        ready = node.ready()
        if ready.hard_state is not None:
            log.set_hard_state(ready.hard_state)
        if ready.snapshot is not None:
            log.apply_snapshot(ready.snapshot)
        log.append(ready.entries)
        for each in ready.committed_entries:
            if each.type is not EntryType.NORMAL:
                node.apply_conf_change(decode_conf_change(each.type, each.data))
        self.applied[member] += ready.committed_entries
        self.reads[member] += ready.read_states
        node.advance()
        node.check_invariants()
        return ready.messages

    def pump(self) -> None:
        """Work and deliver until nothing happens any more."""
        busy = True
        while busy:
            busy = False
            for member, node in self.nodes.items():
                while node.has_ready():
                    busy = True
                    self.network += self.take(member)
            while self.network:
                self.deliver(self.network.popleft())

    def deliver(self, message: Message) -> None:
        """Deliver a message unless its link is cut or it is to be lost."""
        if (message.sender, message.to) in self.cut or self.lose(message):
            return
        self.delivered.append(message)
        if message.to in self.nodes:
            self.step(message.to, message)

    def step(self, member: int, message: Message) -> None:
        """Step a message; refused ones are dropped as a driver does."""
        try:
            self.nodes[member].step(message)
        except (InvalidMessageError, ProposalDropped):
            return
        self.nodes[member].check_invariants()

    def tick(self, count: int = 1, *members: int) -> None:
        """Let time pass, message exchange included."""
        for _ in range(count):
            for member in members or tuple(self.nodes):
                self.nodes[member].tick()
            self.pump()

    def elect(self, member: int) -> RawNode:
        """Make a member leader."""
        self.nodes[member].campaign()
        self.pump()
        assert self.nodes[member].is_leader
        return self.nodes[member]

    def propose(self, member: int, data: bytes) -> None:
        """Propose and run to the end."""
        self.nodes[member].propose(data)
        self.pump()

    def change(self, member: int, change: ConfChange) -> None:
        """Propose a configuration change and run to the end."""
        self.nodes[member].propose_conf_change(change)
        self.pump()

    def leaders(self) -> list[int]:
        """Who believes to lead."""
        return [member for member, node in self.nodes.items() if node.is_leader]

    def data(self, member: int) -> list[bytes]:
        """Payloads a member has applied."""
        return [
            each.data
            for each in self.applied[member]
            if each.type is EntryType.NORMAL and each.data
        ]

    def sent(self, kind: MessageType) -> list[Message]:
        """Messages of a type that were delivered."""
        return [message for message in self.delivered if message.type is kind]


def message(kind: MessageType, sender: int, to: int, term: int, **fields: Any) -> Message:
    """A message from the network."""
    return Message(kind, to=MemberId(to), sender=MemberId(sender), term=Term(term), **fields)


def take_all(node: RawNode, log: MemoryLog) -> list[Message]:
    """Do all pending work of a lone member and return what it sends."""
    messages: list[Message] = []
    while node.has_ready():
        ready = node.ready()
        if ready.hard_state is not None:
            log.set_hard_state(ready.hard_state)
        if ready.snapshot is not None:
            log.apply_snapshot(ready.snapshot)
        log.append(ready.entries)
        messages += ready.messages
        node.advance()
    node.check_invariants()
    return messages
