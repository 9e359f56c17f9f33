"""One member of a Raft group, without I/O, clock or randomness.

The driver feeds ticks, messages and requests in and takes work out as `Ready`. Two forms:

*Synchronous*: take a `Ready`, persist its snapshot, hard state and entries, only then send its
messages, apply its committed entries (calling `apply_conf_change` for configuration changes),
and call `advance`.

*Asynchronous storage writes*: work for the disk and the state machine comes as messages to
`APPEND_THREAD` and `APPLY_THREAD`, processed in order per target; their `responses` are delivered
when the work is done (durably, for appends), to whichever member they are addressed. Other
messages may be sent at once. `advance` is not used.
"""

from __future__ import annotations

from collections.abc import Sequence

from parti_raft.confchange import ConfChange, as_v2, encode_conf_change
from parti_raft.config import LOCAL_TARGETS, Config
from parti_raft.core import Core
from parti_raft.elections import start_election
from parti_raft.errors import (
    DropReason,
    LocalMessageError,
    ReadDropped,
    UnknownPeerError,
)
from parti_raft.invariants import check_invariants
from parti_raft.leader import report_snapshot, report_unreachable
from parti_raft.membership import apply_conf_change
from parti_raft.status import BasicStatus, Status, basic_status, status
from parti_raft.stepping import step, tick
from parti_raft.storage import LogStorage
from parti_raft.storage_messages import (
    storage_append,
    storage_append_response,
    storage_apply,
    storage_apply_response,
)
from parti_raft.types import (
    NO_MEMBER,
    ConfState,
    Entry,
    EntryType,
    LogIndex,
    MemberId,
    Message,
    MessageType,
    Ready,
    Role,
    Term,
)

_LOCAL = frozenset(
    {
        MessageType.HUP,
        MessageType.BEAT,
        MessageType.UNREACHABLE,
        MessageType.SNAP_STATUS,
        MessageType.CHECK_QUORUM,
        MessageType.STORAGE_APPEND,
        MessageType.STORAGE_APPEND_RESP,
        MessageType.STORAGE_APPLY,
        MessageType.STORAGE_APPLY_RESP,
    }
)
_RESPONSES = frozenset(
    {
        MessageType.APP_RESP,
        MessageType.VOTE_RESP,
        MessageType.HEARTBEAT_RESP,
        MessageType.READ_INDEX_RESP,
        MessageType.PRE_VOTE_RESP,
    }
)


class RawNode:
    """One member's Raft core as its driver sees it."""

    def __init__(self, config: Config, storage: LogStorage) -> None:
        """Continue from what the storage holds."""
        self._core = Core(config, storage)
        self._async = config.async_storage_writes
        self._previous_hard_state = self._core.hard_state()
        self._previous_soft_state = self._core.soft_state()
        self._steps_on_advance: list[Message] = []

    # Input.

    def tick(self) -> None:
        """One tick of time has passed."""
        tick(self._core)

    def step(self, message: Message) -> None:
        """Process a message from a member or from the own storage.

        Raises `InvalidMessageError` for messages that must not come from the network, and
        `DroppedError` for forwarded requests that this member cannot take.
        """
        sender = message.sender
        kind = message.type
        if sender not in LOCAL_TARGETS:
            if kind in _LOCAL:
                raise LocalMessageError(f"{kind.name} came from the network")
            if kind in _RESPONSES and sender not in self._core.tracker.progress:
                raise UnknownPeerError(f"{kind.name} from unknown member {sender}")
        step(self._core, message)

    def campaign(self) -> None:
        """Start an election now."""
        start_election(self._core)

    def propose(self, data: bytes) -> None:
        """Propose one entry; raises `ProposalDropped`."""
        self._propose((Entry(Term(0), LogIndex(0), EntryType.NORMAL, data),))

    def propose_entries(self, batch: Sequence[bytes]) -> None:
        """Propose several entries that are appended together; raises `ProposalDropped`."""
        self._propose(
            tuple([Entry(Term(0), LogIndex(0), EntryType.NORMAL, data) for data in batch])
        )

    def propose_conf_change(self, change: ConfChange) -> None:
        """Propose a change; raises `ProposalDropped`.

        A change that does not fit now (another one is pending, for example) becomes an empty
        entry.
        """
        kind, data = encode_conf_change(change)
        self._propose((Entry(Term(0), LogIndex(0), kind, data),))

    def _propose(self, entries: tuple[Entry, ...]) -> None:
        core = self._core
        step(core, Message(MessageType.PROP, sender=core.id, entries=entries))

    def apply_conf_change(self, change: ConfChange) -> ConfState:
        """Apply a committed change to the configuration; raises `ConfChangeError`."""
        return apply_conf_change(self._core, as_v2(change))

    def read_index(self, context: bytes) -> None:
        """Ask for a linearizable read; the answer is a `ReadState` in a later `Ready`.

        Raises `ReadDropped`. A forwarded request may be lost: callers need a deadline.
        """
        if self._core.leader == NO_MEMBER:
            raise ReadDropped(DropReason.NO_LEADER)
        step(self._core, Message(MessageType.READ_INDEX, context=context))

    def transfer_leader(self, to: MemberId) -> None:
        """Try to make `to` the leader; given up after one election timeout."""
        step(self._core, Message(MessageType.TRANSFER_LEADER, sender=to))

    def forget_leader(self) -> None:
        """Let a follower grant (pre-)votes although it has heard of its leader lately."""
        step(self._core, Message(MessageType.FORGET_LEADER))

    @property
    def follows_in_vain(self) -> bool:
        """No word of its leader has come for an election timeout, and it cannot campaign, which
        would make it forget the leader: a learner, or a member that is out.
        """
        core = self._core
        silent = core.election_elapsed >= core.election_timeout
        return silent and not core.promotable and core.leader not in (NO_MEMBER, core.id)

    def report_unreachable(self, member: MemberId) -> None:
        """The last messages to a member were not delivered."""
        if self._core.role is Role.LEADER:
            report_unreachable(self._core, member)

    def report_snapshot(self, member: MemberId, ok: bool) -> None:  # noqa: FBT001
        """Sending a snapshot to a member has ended."""
        if self._core.role is Role.LEADER:
            report_snapshot(self._core, member, installed=ok)

    # Output.

    def has_ready(self) -> bool:
        """There is work for the driver."""
        core = self._core
        log = core.log
        return bool(
            core.messages
            or core.messages_after_append
            or log.unstable.has_next_entries
            or log.has_next_committed(allow_unstable=not self._async)
            or core.read_states
            or self._hard_state_changed()
            or self._soft_state_changed()
            or log.unstable.next_snapshot() is not None
        )

    def ready(self) -> Ready:
        """Take the work for the driver; it must be done."""
        core = self._core
        log = core.log
        ready = Ready(
            entries=log.unstable.next_entries(),
            committed_entries=log.next_committed(allow_unstable=not self._async),
            snapshot=log.unstable.next_snapshot(),
            messages=core.messages,
        )
        previous = self._previous_hard_state
        ready.must_sync = bool(
            ready.entries or core.vote != previous.vote or core.term != previous.term
        )
        if self._soft_state_changed():
            ready.soft_state = self._previous_soft_state = core.soft_state()
        if self._hard_state_changed():
            ready.hard_state = self._previous_hard_state = core.hard_state()
        if core.read_states:
            ready.read_states = tuple(core.read_states)
            core.read_states = []
        if self._async:
            self._add_storage_messages(ready)
        else:
            self._plan_advance(ready)
        core.messages = []
        core.messages_after_append = []
        log.unstable.accept_in_progress()
        if ready.committed_entries:
            log.accept_applying(ready.committed_entries, allow_unstable=not self._async)
        return ready

    def _hard_state_changed(self) -> bool:
        core, previous = self._core, self._previous_hard_state
        return (
            core.log.committed != previous.commit
            or core.term != previous.term
            or core.vote != previous.vote
        )

    def _soft_state_changed(self) -> bool:
        core, previous = self._core, self._previous_soft_state
        return core.role is not previous.role or core.leader != previous.leader

    def _add_storage_messages(self, ready: Ready) -> None:
        core = self._core
        if (
            ready.entries
            or core.messages_after_append
            or ready.hard_state is not None
            or ready.snapshot is not None
        ):
            ready.messages.append(storage_append(core, ready))
        if ready.committed_entries:
            ready.messages.append(storage_apply(core, ready.committed_entries))

    def _plan_advance(self, ready: Ready) -> None:
        assert not self._steps_on_advance, "a Ready was taken before the last one was advanced"
        core = self._core
        for message in core.messages_after_append:
            target = self._steps_on_advance if message.to == core.id else ready.messages
            target.append(message)
        response = storage_append_response(core, ready)
        if response is not None:
            self._steps_on_advance.append(response)
        if ready.committed_entries:
            self._steps_on_advance.append(storage_apply_response(core, ready.committed_entries))

    def advance(self) -> None:
        """The work of the last `Ready` is done (synchronous form only)."""
        assert not self._async, "advance is not used with asynchronous storage writes"
        steps, self._steps_on_advance = self._steps_on_advance, []
        for message in steps:
            step(self._core, message)

    # Views.

    @property
    def id(self) -> MemberId:
        """This member."""
        return self._core.id

    @property
    def term(self) -> Term:
        """The current term."""
        return self._core.term

    @property
    def role(self) -> Role:
        """The current role."""
        return self._core.role

    @property
    def leader(self) -> MemberId:
        """The known leader of the current term, or `NO_MEMBER`."""
        return self._core.leader

    @property
    def is_leader(self) -> bool:
        """This member leads."""
        return self._core.role is Role.LEADER

    @property
    def committed_in_term(self) -> bool:
        """An entry of the current term is committed."""
        return self._core.committed_in_term

    @property
    def commit_index(self) -> LogIndex:
        """The last committed entry that is known here."""
        return LogIndex(self._core.log.committed)

    @property
    def applied_index(self) -> LogIndex:
        """The last entry that was reported as applied."""
        return LogIndex(self._core.log.applied)

    @property
    def last_index(self) -> LogIndex:
        """The last entry of the log."""
        return self._core.log.last_index()

    def entry_type(self, index: LogIndex) -> EntryType:
        """What kind of entry the log holds at `index`; raises `CompactedError`."""
        return self._core.log.slice(index, index + 1, 0)[0].type

    @property
    def conf_state(self) -> ConfState:
        """The active configuration."""
        return self._core.tracker.configuration.conf_state()

    def status(self) -> Status:
        """Everything worth showing, with the progress of all members if this one leads."""
        return status(self._core)

    def basic_status(self) -> BasicStatus:
        """The cheap part of `status`."""
        return basic_status(self._core)

    def check_invariants(self) -> None:
        """Assert what must always hold; for tests and the simulator."""
        check_invariants(self._core)
