"""What a member asks its driver to do after a batch of events.

The driver hands jobs to the disk in order, tells outcomes to whoever waits for them, then lets
frames and snapshots leave. Nothing in `frames` depends on a job of the same turn being on disk:
what does is held back by the replica.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from parti_raft.replica_values import PersistJob
from parti_raft.types import Message
from parti_shard.errors import Failure
from parti_shard.ids import LogIndex, MemberId, PartitionId


@dataclass(slots=True)
class PeerFrame:
    """Everything one turn says to one member; encoded."""

    raft: list[bytes] = field(default_factory=list)
    session: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth a log line: rare, never per message."""

    name: str
    details: dict[str, object]


@dataclass(slots=True)
class Effects:
    """See the module's docstring."""

    jobs: list[PersistJob] = field(default_factory=list)
    frames: dict[MemberId, PeerFrame] = field(default_factory=dict)
    snapshots: list[Message] = field(default_factory=list)
    applied: list[tuple[Hashable, object]] = field(default_factory=list)
    failed: list[tuple[Hashable, Failure]] = field(default_factory=list)
    reads: list[tuple[Hashable, LogIndex]] = field(default_factory=list)
    store_changed: bool = False  # the key-value store has another revision
    locks_changed: list[bytes] = field(default_factory=list)
    changed: list[PartitionId] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    members_gone: list[MemberId] = field(default_factory=list)
    removed: bool = False  # this member was taken out of the cluster

    def frame(self, member: MemberId) -> PeerFrame:
        """The frame to `member`, begun if there is none yet."""
        frame = self.frames.get(member)
        if frame is None:
            frame = self.frames[member] = PeerFrame()
        return frame
