"""The words of consensus: identifiers, log entries, messages, states.

Everything here is a plain value. Terms, indexes and member ids are integers; 0 means "none"
for each of them. Names follow the Raft paper (Ongaro & Ousterhout 2014, extended version) and
the etcd-io/raft v3.7 semantics that the conformance scripts pin.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NewType

MemberId = NewType("MemberId", int)
Term = NewType("Term", int)
LogIndex = NewType("LogIndex", int)

NO_MEMBER = MemberId(0)

# Local targets of messages in the asynchronous storage form: never on the wire.
APPEND_THREAD = MemberId((1 << 64) - 1)
APPLY_THREAD = MemberId((1 << 64) - 2)


class EntryType(IntEnum):
    """What an entry's data is."""

    NORMAL = 0
    CONF_CHANGE = 1
    CONF_CHANGE_V2 = 2


class MessageType(IntEnum):
    """Kinds of messages; the numbers are part of the peer protocol and never reused."""

    HUP = 0
    BEAT = 1
    PROP = 2
    APP = 3
    APP_RESP = 4
    VOTE = 5
    VOTE_RESP = 6
    SNAP = 7
    HEARTBEAT = 8
    HEARTBEAT_RESP = 9
    UNREACHABLE = 10
    SNAP_STATUS = 11
    CHECK_QUORUM = 12
    TRANSFER_LEADER = 13
    TIMEOUT_NOW = 14
    READ_INDEX = 15
    READ_INDEX_RESP = 16
    PRE_VOTE = 17
    PRE_VOTE_RESP = 18
    STORAGE_APPEND = 19
    STORAGE_APPEND_RESP = 20
    STORAGE_APPLY = 21
    STORAGE_APPLY_RESP = 22
    FORGET_LEADER = 23


class Role(IntEnum):
    """What a member does in the current term."""

    FOLLOWER = 0
    CANDIDATE = 1
    LEADER = 2
    PRE_CANDIDATE = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One log entry; `data` holds a batch of commands or an encoded configuration change."""

    term: Term
    index: LogIndex
    type: EntryType = EntryType.NORMAL
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class HardState:
    """What must be on disk before a vote or an append is answered."""

    term: Term = Term(0)
    vote: MemberId = NO_MEMBER
    commit: LogIndex = LogIndex(0)


@dataclass(frozen=True, slots=True)
class SoftState:
    """Volatile role of a member, useful for logging and metrics."""

    leader: MemberId = NO_MEMBER
    role: Role = Role.FOLLOWER


@dataclass(frozen=True, slots=True)
class ConfState:
    """The active membership: joint while `voters_outgoing` is not empty."""

    voters: tuple[MemberId, ...] = ()
    voters_outgoing: tuple[MemberId, ...] = ()
    learners: tuple[MemberId, ...] = ()
    learners_next: tuple[MemberId, ...] = ()
    auto_leave: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """State machine contents at `index`; index 0 means no snapshot."""

    index: LogIndex = LogIndex(0)
    term: Term = Term(0)
    conf_state: ConfState = ConfState()
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class ReadState:
    """A confirmed read: state applied up to `index` answers the request `context`."""

    index: LogIndex
    context: bytes


@dataclass(slots=True)
class Message:
    """One message between members, or between a member and its own storage."""

    type: MessageType
    to: MemberId = NO_MEMBER
    sender: MemberId = NO_MEMBER
    term: Term = Term(0)
    log_term: Term = Term(0)
    index: LogIndex = LogIndex(0)
    commit: LogIndex = LogIndex(0)
    vote: MemberId = NO_MEMBER
    entries: tuple[Entry, ...] = ()
    snapshot: Snapshot | None = None
    reject: bool = False
    reject_hint: LogIndex = LogIndex(0)
    context: bytes = b""
    responses: list[Message] = field(default_factory=list)


@dataclass(slots=True)
class Ready:
    """Work for the driver: persist, then send and apply; `None` and empty mean "nothing new".

    With asynchronous storage writes the same work is also in `messages`, addressed to
    `APPEND_THREAD` and `APPLY_THREAD`, and only those messages must be acted upon.
    """

    soft_state: SoftState | None = None
    hard_state: HardState | None = None
    read_states: tuple[ReadState, ...] = ()
    entries: tuple[Entry, ...] = ()
    snapshot: Snapshot | None = None
    committed_entries: tuple[Entry, ...] = ()
    messages: list[Message] = field(default_factory=list)
    must_sync: bool = False
