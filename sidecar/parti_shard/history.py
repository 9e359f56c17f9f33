"""The last changes of each partition, bounded, part of the replicated table.

They answer "since when, and why" at any member, also after every process has restarted.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from parti_shard.commands import Cause
from parti_shard.ids import Epoch, LogIndex, MemberId

CHANGES_KEPT = 4  # per partition: enough for its last grant and what ended it


class Change(IntEnum):
    """What happened to a partition."""

    GRANTED = 1
    REVOKED = 2
    RELEASED = 3
    EXPIRED = 4
    CLOSED = 5

    @property
    def label(self) -> str:
        return self.name.lower()


class PartitionChange(NamedTuple):
    """One change; `member` is the owner, for a revoke the one that has to let go."""

    at_index: LogIndex
    at_unix_ms: int  # the proposer's wall clock: for people, never for decisions
    change: Change
    member: MemberId
    epoch: Epoch
    cause: Cause
