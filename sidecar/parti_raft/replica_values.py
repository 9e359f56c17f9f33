"""Values that go in and out of a replica, and its limits."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from parti_raft.confchange import ConfChange
from parti_raft.types import ConfState, Entry, HardState, LogIndex, Message, Snapshot, Term

Tag = Hashable


class Drop(Enum):
    """Why a command was not executed."""

    NOT_LEADER = "this member is not the leader"
    REFUSED = "the leader takes no commands now"
    OVERWRITTEN = "another leader's entry took its place"
    OVERLOADED = "too many commands wait"
    TOO_LARGE = "the command is larger than an entry may be"


class StateMachine(Protocol):
    """What the log drives; deterministic, the same on every member."""

    def apply(self, index: LogIndex, commands: Sequence[bytes]) -> Sequence[object]:
        """Apply one entry's commands; gives a value for each."""
        ...

    def configured(self, index: LogIndex, change: ConfChange, conf: ConfState) -> None:
        """Take note of a membership change that was applied."""
        ...

    def freeze(self) -> Iterator[bytes]:
        """The whole state as it is now, as chunks that are made when they are taken.

        Making one takes well under a millisecond, and freezing not much longer.
        """
        ...

    def restore(self, index: LogIndex, data: bytes) -> None:
        """Replace the whole state."""
        ...


@dataclass(frozen=True, slots=True)
class ReplicaLimits:
    """Bounds of one replica; ticks are the driver's, sizes in bytes."""

    election_ticks: int = 10
    heartbeat_ticks: int = 2
    command_bytes_max: int = 4 << 20
    entry_bytes_max: int = 256 << 10  # one larger command gets an entry of its own
    entry_commands_max: int = 4_096
    entries_in_flight_max: int = 3  # proposed by this leader and not yet applied
    waiting_commands_max: int = 65_536
    waiting_bytes_max: int = 32 << 20
    reads_waiting_max: int = 65_536
    read_ticks_max: int = 20  # a read round without an answer is given up
    message_bytes_max: int = 1 << 20
    messages_in_flight_max: int = 256
    bytes_in_flight_max: int = 16 << 20
    uncommitted_bytes_max: int = 64 << 20
    snapshot_every_entries: int = 10_000
    snapshot_every_bytes: int = 16 << 20
    snapshot_chunks_per_slice: int = 8  # made at a tick: a few ms at most
    snapshot_offered_ticks: int = 40  # how long one is kept for members that lag
    keep_entries: int = 2_000  # stay behind a snapshot for members that lag a little,
    keep_bytes: int = 16 << 20  # if they are not larger together
    lagging_entries: int = 20_000  # stay if a member that is heard needs them,
    lagging_bytes: int = 64 << 20  # likewise


@dataclass(slots=True, eq=False)
class PersistJob:
    """One durable step. `responses` leave, and `notes` count, only once it is on disk."""

    hard_state: HardState | None = None
    entries: tuple[Entry, ...] = ()
    snapshot: Snapshot | None = None
    compact_to: LogIndex = LogIndex(0)
    installed: bool = False  # the snapshot came from the leader
    responses: list[Message] = field(default_factory=list)
    commit_notes: list[HardState] = field(default_factory=list)


@dataclass(slots=True)
class Turn:
    """What is to be done after a batch of events."""

    jobs: list[PersistJob] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    applied: list[tuple[Tag, object]] = field(default_factory=list)
    dropped: list[tuple[Tag, Drop]] = field(default_factory=list)
    unknown: list[Tag] = field(default_factory=list)
    reads: list[tuple[Tag, LogIndex]] = field(default_factory=list)
    reads_dropped: list[Tag] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RestoredState:
    """What was on disk when the process started."""

    hard_state: HardState = HardState()
    snapshot: Snapshot = Snapshot()
    floor_index: LogIndex = LogIndex(0)
    floor_term: Term = Term(0)
    entries: Sequence[Entry] = ()
