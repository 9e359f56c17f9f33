"""What all parts of the router share: identity, the table, limits, counters, who is to be woken."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from parti_shard.errors import Reason
from parti_shard.ids import Epoch, LogIndex, MemberId, PartitionId, SessionId
from parti_shard.limits import RouterLimits
from parti_shard.streams import Destination

STORY_LINES_MAX: Final = 32


class MemberView(Protocol):
    """What routing needs to know of a member: its open session, or 0."""

    @property
    def session(self) -> SessionId: ...


class TableView(Protocol):
    """The replicated table as routing reads it; lists are indexed by partition."""

    @property
    def partitions(self) -> int: ...
    @property
    def owner(self) -> Sequence[MemberId]: ...
    @property
    def session(self) -> Sequence[SessionId]: ...
    @property
    def epoch(self) -> Sequence[Epoch]: ...
    @property
    def phase(self) -> Sequence[int]: ...
    @property
    def target(self) -> Sequence[MemberId]: ...
    @property
    def applied_index(self) -> LogIndex: ...
    @property
    def members(self) -> Mapping[MemberId, MemberView]: ...


@dataclass(slots=True)
class RouterStats:
    """Counters since the start, except the four gauges."""

    # Origin.
    accepted: int = 0  # messages from clients
    succeeded: int = 0
    failed: dict[Reason, int] = field(default_factory=dict)  # outcomes told to clients
    abandoned: int = 0  # their client went away
    forwarded: int = 0  # sent to another member
    sent_locally: int = 0
    parked: int = 0
    put_back: int = 0  # refused by an owner or not sent, and parked again
    sent_again: int = 0  # idempotent, parked again although they may have run
    results_late: int = 0  # for messages that have been given up
    parked_messages: int = 0  # gauge
    parked_bytes: int = 0  # gauge
    # Owner.
    arrived: int = 0
    admitted: int = 0
    admitted_overtime: int = 0  # of them after the lease, mode Available
    pings: int = 0
    refused: dict[Reason, int] = field(default_factory=dict)
    answers_dropped: int = 0  # the origin's stream was gone
    frames_superseded: int = 0  # from a stream in whose place the origin has opened another
    worker_results_late: int = 0  # of epochs that have been cut off
    worker_frames_stale: int = 0  # started or released of an epoch that is over
    workers_attached: int = 0
    workers_lost: int = 0
    handovers_cut_off: int = 0
    intake_messages: int = 0  # gauge
    intake_bytes: int = 0  # gauge
    # Names of limits that were hit.
    limits_hit: dict[str, int] = field(default_factory=dict)

    def fail(self, reason: Reason) -> None:
        self.failed[reason] = self.failed.get(reason, 0) + 1

    def refuse(self, reason: Reason) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def hit(self, limit: str) -> None:
        self.limits_hit[limit] = self.limits_hit.get(limit, 0) + 1


class Core:
    """Shared by origin and owner of one router."""

    __slots__ = ("_stories", "dirty", "limits", "me", "stats", "table")

    def __init__(self, me: MemberId, table: TableView, limits: RouterLimits) -> None:
        self.me = me
        self.table = table
        self.limits = limits
        self.stats = RouterStats()
        self.dirty: dict[Destination, None] = {}  # in the order they got something
        self._stories: dict[PartitionId, deque[str]] = {}

    def note(self, partition: PartitionId, now_ms: int, text: str) -> None:
        """Remember a rare event of a partition; never called per message."""
        story = self._stories.get(partition)
        if story is None:
            story = self._stories[partition] = deque(maxlen=STORY_LINES_MAX)
        story.append(f"{now_ms} ms, table {self.table.applied_index}: {text}")

    def story(self, partition: PartitionId) -> list[str]:
        return list(self._stories.get(partition, ()))
