"""State of one member's Raft core and its transitions between roles.

The other modules of the core are functions over this state: `elections`, `replication`, `reads`,
`membership`, the three roles (`follower`, `candidate`, `leader`), and `stepping`, which routes
messages to them. Nothing here does I/O: messages to send and state to persist pile up until the
driver takes them as a `Ready`.

Durability rule: a vote or an acknowledgement of entries is a promise, so these messages go to
`messages_after_append` and leave only after everything that was unstable when they were made is
on disk. The leader's own acknowledgement and the candidate's own vote take the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

from parti_raft.changer import restore
from parti_raft.config import Config
from parti_raft.errors import ConfigError, LogDamagedError
from parti_raft.log import RaftLog
from parti_raft.progress import Progress
from parti_raft.read_only import ReadOnly
from parti_raft.sizes import NO_LIMIT, payloads_size
from parti_raft.storage import LogStorage
from parti_raft.tracker import Tracker
from parti_raft.types import (
    NO_MEMBER,
    Entry,
    HardState,
    LogIndex,
    MemberId,
    Message,
    MessageType,
    ReadState,
    Role,
    SoftState,
    Term,
)

_PROMISES = frozenset({MessageType.APP_RESP, MessageType.VOTE_RESP, MessageType.PRE_VOTE_RESP})
# Their sender chooses the term: a pre-vote is about a term that has not begun.
_OWN_TERM = frozenset(
    {
        MessageType.VOTE,
        MessageType.VOTE_RESP,
        MessageType.PRE_VOTE,
        MessageType.PRE_VOTE_RESP,
    }
)
# Requests on behalf of a client hold in any term.
_TERMLESS = frozenset({MessageType.PROP, MessageType.READ_INDEX})


class Core:
    """One member's Raft state."""

    __slots__ = (
        "config",
        "election_elapsed",
        "election_timeout",
        "heartbeat_elapsed",
        "id",
        "leader",
        "log",
        "messages",
        "messages_after_append",
        "pending_conf_index",
        "pending_reads",
        "read_only",
        "read_states",
        "role",
        "storage",
        "term",
        "tracker",
        "transferee",
        "uncommitted_bytes",
        "vote",
    )

    def __init__(self, config: Config, storage: LogStorage) -> None:
        """Continue from the stored state as a follower."""
        config.validate()
        self.config = config
        self.storage = storage
        self.id = config.id
        self.log = RaftLog(storage, config.max_applying_size)
        self.tracker = Tracker(config.max_inflight_msgs, config.max_inflight_bytes)
        self.term = Term(0)
        self.vote = NO_MEMBER
        self.role = Role.FOLLOWER
        self.leader = NO_MEMBER
        self.transferee = NO_MEMBER
        # Not before this index is applied may another configuration change be proposed.
        self.pending_conf_index = 0
        self.uncommitted_bytes = 0
        self.election_elapsed = 0
        self.heartbeat_elapsed = 0
        self.election_timeout = 0
        self.messages: list[Message] = []
        self.messages_after_append: list[Message] = []
        self.read_only = ReadOnly()
        self.read_states: list[ReadState] = []
        # Reads that arrived before this leader's first commit.
        self.pending_reads: list[Message] = []
        self._load()
        self.become_follower(self.term, NO_MEMBER)

    def _load(self) -> None:
        hard_state, conf_state = self.storage.initial_state()
        restore(self.tracker, self.log.last_index(), conf_state)
        log = self.log
        applied = self.config.applied or log.applied
        if applied < log.applied:
            raise ConfigError(f"applied {applied}, but the log begins after {log.applied}")
        self.term = hard_state.term
        self.vote = hard_state.vote
        # What a snapshot holds or the application has applied was committed, even if the commit
        # index on disk is older: it need not be written on its own.
        log.committed = max(log.committed, applied, hard_state.commit)
        if log.committed > log.last_index():
            raise LogDamagedError(
                f"entry {log.committed} was committed, but the log ends at {log.last_index()}"
            )
        log.applied_to(applied, 0)

    # Views.

    def hard_state(self) -> HardState:
        """What must be on disk before promises leave."""
        return HardState(self.term, self.vote, LogIndex(self.log.committed))

    def soft_state(self) -> SoftState:
        """Role and known leader."""
        return SoftState(self.leader, self.role)

    @property
    def own_progress(self) -> Progress | None:
        """This member's entry in the configuration, None if it is not (or no more) part of it."""
        return self.tracker.progress.get(self.id)

    @property
    def promotable(self) -> bool:
        """This member is a voter with a complete log, so it may become leader."""
        progress = self.own_progress
        return (
            progress is not None and not progress.is_learner and self.log.unstable.snapshot is None
        )

    @property
    def committed_in_term(self) -> bool:
        """An entry of the current term is committed, so the commit index is up to date."""
        return self.log.term(self.log.committed) == self.term

    # Sending.

    def send(self, message: Message) -> None:
        """Queue a message; promises wait for the storage."""
        kind = message.type
        if message.sender == NO_MEMBER:
            message.sender = self.id
        if kind in _OWN_TERM:
            assert message.term, f"{kind.name} needs a term"
        elif kind not in _TERMLESS:
            message.term = self.term
        if kind in _PROMISES:
            self.messages_after_append.append(message)
            return
        assert message.to != self.id, f"{kind.name} to oneself"
        self.messages.append(message)

    # Role transitions.

    def become_follower(self, term: Term, leader: MemberId) -> None:
        """Follow `leader` (or wait for one) in `term`."""
        self._reset(term)
        self.leader = leader
        self.role = Role.FOLLOWER

    def become_pre_candidate(self) -> None:
        """Ask whether an election could be won; term and vote stay as they are."""
        assert self.role is not Role.LEADER
        self.tracker.votes = {}
        self.leader = NO_MEMBER
        self.role = Role.PRE_CANDIDATE

    def become_candidate(self) -> None:
        """Open a new term and vote for oneself."""
        assert self.role is not Role.LEADER
        self._reset(Term(self.term + 1))
        self.vote = self.id
        self.role = Role.CANDIDATE

    def become_leader(self) -> None:
        """Lead the current term; the empty first entry makes earlier entries committable."""
        assert self.role is not Role.FOLLOWER
        self._reset(self.term)
        self.leader = self.id
        self.role = Role.LEADER
        progress = self.own_progress
        assert progress is not None
        progress.become_replicate()
        progress.recent_active = True
        # An unapplied change may hide anywhere in the log: waiting for all of it is always safe.
        self.pending_conf_index = self.log.last_index()
        accepted = self.append_own((Entry(Term(0), LogIndex(0)),))
        assert accepted, "an empty entry is never refused"

    def _reset(self, term: Term) -> None:
        if self.term != term:
            assert term > self.term, "terms never fall"
            self.term = term
            self.vote = NO_MEMBER
        self.leader = NO_MEMBER
        self.transferee = NO_MEMBER
        self.election_elapsed = 0
        self.heartbeat_elapsed = 0
        self.draw_election_timeout()
        self.tracker.votes = {}
        self._reset_progress()
        self.pending_conf_index = 0
        self.uncommitted_bytes = 0
        self.read_only = ReadOnly()
        self.pending_reads = []

    def _reset_progress(self) -> None:
        # Whatever was known about the others' logs holds only for the term it was learned in.
        last_index = self.log.last_index()
        tracker = self.tracker
        for member, old in tracker.progress.items():
            fresh = Progress(last_index + 1, tracker.new_inflights(), is_learner=old.is_learner)
            if member == self.id:
                fresh.match_index = last_index
            tracker.progress[member] = fresh

    def draw_election_timeout(self) -> None:
        """Choose anew how long to wait for a leader, so that members rarely collide."""
        low = self.config.election_tick
        self.election_timeout = self.config.random_timeout(low, 2 * low - 1)

    # The leader's own entries.

    def append_own(self, proposals: Sequence[Entry]) -> bool:
        """Append proposals (type and data) in this term; False if too much is uncommitted."""
        if not self._reserve(proposals):
            return False
        term, index = self.term, self.log.last_index()
        entries = [
            Entry(term, LogIndex(index + count), proposal.type, proposal.data)
            for count, proposal in enumerate(proposals, 1)
        ]
        self.log.append(entries)
        self.send(Message(MessageType.APP_RESP, to=self.id, index=entries[-1].index))
        return True

    def _reserve(self, proposals: Sequence[Entry]) -> bool:
        limit = self.config.max_uncommitted_size
        if limit >= NO_LIMIT:
            return True
        size = payloads_size(proposals)
        # One proposal of any size passes when nothing is uncommitted; empty ones always pass.
        if self.uncommitted_bytes and size and self.uncommitted_bytes + size > limit:
            return False
        self.uncommitted_bytes += size
        return True

    def release_uncommitted(self, entries: Sequence[Entry]) -> None:
        """Give the bytes of applied entries back to the limit on uncommitted ones."""
        if self.uncommitted_bytes:
            self.uncommitted_bytes = max(0, self.uncommitted_bytes - payloads_size(entries))
