"""A group of members in one process, driven step by step by interaction scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from parti_raft import (
    Config,
    EntryType,
    HardState,
    MemberId,
    MemoryLog,
    Message,
    MessageType,
    RaftError,
    RawNode,
    Snapshot,
)
from parti_raft.confchange import decode_conf_change
from parti_raft.config import LOCAL_TARGETS
from parti_raft.errors import (
    LocalMessageError,
    ProposalDropped,
    SnapshotOutdatedError,
    UnknownPeerError,
)
from parti_raft.types import Entry
from tests.conformance.printing import entries_text, message_text, ready_text

_ERROR_TEXTS: dict[type[RaftError], str] = {
    ProposalDropped: "raft proposal dropped",
    LocalMessageError: "raft: cannot step raft local message",
    UnknownPeerError: "raft: cannot step as peer not found",
    SnapshotOutdatedError: "requested index is older than the existing snapshot",
}


def error_text(error: Exception) -> str:
    """The text the scripts know an error by."""
    if isinstance(error, RaftError):
        return _ERROR_TEXTS.get(type(error), str(error))
    return str(error)


class HistoryLog(MemoryLog):
    """A log whose newest snapshot is the newest state of the member's state machine."""

    def __init__(self, history: list[Snapshot]) -> None:
        """Share the member's history."""
        super().__init__()
        self._history = history

    def snapshot(self) -> Snapshot:
        """The newest state."""
        return self._history[-1]


@dataclass(slots=True)
class Node:
    """One member: core, log, state machine history and queues of storage work."""

    config: Config
    log: HistoryLog
    raw: RawNode
    history: list[Snapshot]
    append_work: list[Message] = field(default_factory=list)
    apply_work: list[Message] = field(default_factory=list)

    def append(
        self, hard_state: HardState | None, entries: Sequence[Entry], snapshot: Snapshot | None
    ) -> None:
        """Persist."""
        if hard_state is not None and hard_state != HardState():
            self.log.set_hard_state(hard_state)
        if snapshot is None:
            self.log.append(entries)
            return
        if entries:
            raise ValueError("can't apply snapshot and entries at the same time")
        self.log.apply_snapshot(snapshot)

    def apply(self, entries: Sequence[Entry]) -> None:
        """Apply: the state is the concatenation of all payloads."""
        for entry in entries:
            last = self.history[-1]
            update, conf_state = entry.data, last.conf_state
            if entry.type is not EntryType.NORMAL:
                change = decode_conf_change(entry.type, entry.data)
                update = change.context
                conf_state = self.raw.apply_conf_change(change)
            state = Snapshot(entry.index, entry.term, conf_state, last.data + update)
            self.history.append(state)


def _is_local(message: Message) -> bool:
    return (
        message.sender == message.to
        or message.sender in LOCAL_TARGETS
        or message.to in LOCAL_TARGETS
    )


class Group:
    """All members, the messages between them, and the output of the current step."""

    def __init__(self) -> None:
        """Start without members."""
        self.nodes: list[Node] = []
        self.messages: list[Message] = []
        self.quiet = False
        self._output: list[str] = []

    # Output.

    def write(self, text: str) -> None:
        """Add to the output, unless it is switched off."""
        if not self.quiet:
            self._output.append(text)

    def take_output(self) -> str:
        """The output since the last call."""
        text = "".join(self._output)
        self._output = []
        return text

    @contextmanager
    def indented(self) -> Iterator[None]:
        """Indent what is written inside by two blanks."""
        outer, self._output = self._output, []
        try:
            yield
        finally:
            inner = self.take_output()
            outer.extend(f"  {line}\n" for line in inner.splitlines())
            self._output = outer

    # Members.

    def node(self, member: int) -> Node:
        """The member with this id."""
        return self.nodes[member - 1]

    def add_node(self, config: Config, boot: Snapshot | None) -> None:
        """Add a member, booted from a snapshot or empty."""
        history = [boot or Snapshot()]
        log = HistoryLog(history)
        if boot is not None:
            log.apply_snapshot(boot)
        self.nodes.append(Node(config, log, RawNode(config, log), history))

    # Work.

    def process_ready(self, member: int) -> None:
        """Take and handle a Ready."""
        node = self.node(member)
        ready = node.raw.ready()
        self.write(ready_text(ready))
        asynchronous = node.config.async_storage_writes
        if not asynchronous:
            node.append(ready.hard_state, ready.entries, ready.snapshot)
            node.apply(ready.committed_entries)
        for message in ready.messages:
            if message.to not in LOCAL_TARGETS:
                self.messages.append(message)
                continue
            assert asynchronous, "a storage message in the synchronous form"
            is_append = message.type is MessageType.STORAGE_APPEND
            (node.append_work if is_append else node.apply_work).append(message)
        if not asynchronous:
            node.raw.advance()

    def process_append_thread(self, member: int) -> None:
        """Handle one queued append."""
        node = self.node(member)
        if not node.append_work:
            self.write("no append work to perform")
            return
        message, responses = self._take_work(node.append_work)
        hard_state = HardState(message.term, message.vote, message.commit)
        node.append(hard_state, message.entries, message.snapshot)
        self._respond(responses)

    def process_apply_thread(self, member: int) -> None:
        """Handle one queued apply."""
        node = self.node(member)
        if not node.apply_work:
            self.write("no apply work to perform")
            return
        message, responses = self._take_work(node.apply_work)
        node.apply(message.entries)
        self._respond(responses)

    def _take_work(self, work: list[Message]) -> tuple[Message, list[Message]]:
        message = work.pop(0)
        responses, message.responses = message.responses, []
        self.write(f"Processing:\n{message_text(message)}\n")
        return message, responses

    def _respond(self, responses: list[Message]) -> None:
        self.write("Responses:\n")
        for response in responses:
            self.write(message_text(response) + "\n")
        self.messages.extend(responses)

    # Delivery.

    def take_messages(
        self, to: int, kind: MessageType | None = None, *, drop: bool = False
    ) -> list[Message]:
        """Remove and return the messages to a member; local ones cannot be dropped."""
        taken: list[Message] = []
        left: list[Message] = []
        for message in self.messages:
            wanted = message.to == to and kind in (None, message.type)
            keep = drop and _is_local(message)
            (taken if wanted and not keep else left).append(message)
        self.messages = left
        return taken

    def deliver(self, to: int, kind: MessageType | None = None, *, drop: bool = False) -> int:
        """Step (or drop) a member's messages and return their number."""
        messages = self.take_messages(to, kind, drop=drop)
        for message in messages:
            self.write(("dropped: " if drop else "") + message_text(message) + "\n")
            if drop:
                continue
            try:
                self.node(message.to).raw.step(message)
            except RaftError as error:
                self.write(error_text(error) + "\n")
        return len(messages)

    def has_messages(self, to: int) -> bool:
        """Some message to this member waits."""
        return any(message.to == to for message in self.messages)

    def stabilize(self, members: Sequence[int]) -> None:
        """Work and deliver until nothing happens any more."""
        busy = True
        while busy:
            busy = False
            for member in members:
                if self.node(member).raw.has_ready():
                    busy = True
                    self.write(f"> {member} handling Ready\n")
                    with self.indented():
                        self.process_ready(member)
            for member in members:
                if self.has_messages(member):
                    busy = True
                    self.write(f"> {member} receiving messages\n")
                    with self.indented():
                        self.deliver(member)
            busy |= self._drain_storage(members)

    def _drain_storage(self, members: Sequence[int]) -> bool:
        busy = False
        for member in members:
            if self.node(member).append_work:
                busy = True
                self.write(f"> {member} processing append thread\n")
                while self.node(member).append_work:
                    with self.indented():
                        self.process_append_thread(member)
        for member in members:
            if self.node(member).apply_work:
                busy = True
                self.write(f"> {member} processing apply thread\n")
                while self.node(member).apply_work:
                    with self.indented():
                        self.process_apply_thread(member)
        return busy

    def log_text(self, member: MemberId) -> str:
        """The stored entries."""
        log = self.node(member).log
        first, last = log.first_index(), log.last_index()
        if last < first:
            return f"log is empty: first index={first}, last index={last}"
        return entries_text(log.entries(first, last + 1, 1 << 62))
