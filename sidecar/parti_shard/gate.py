"""The gate: may a message of this partition and epoch be admitted here, now? It fails closed.

G1 rests on this module: a message is admitted only while my applied table names me with my present
session as owner in phase OWNED, under exactly the epoch the message bears, and while my lease is
live. It is asked with the time of the admission itself, when the frame to the worker is made.
"""

from __future__ import annotations

from typing import Final

from parti_shard.core import Core
from parti_shard.errors import Executed, Failure, Reason
from parti_shard.ids import NO_SESSION, Epoch, PartitionId, SessionId
from parti_shard.table_state import Phase

OWNED: Final = Phase.OWNED
REVOKING: Final = Phase.REVOKING

# Refusals of an epoch that may admit again later.
TRANSIENT: Final = frozenset({Reason.LEASE_EXPIRED, Reason.NO_WORKER})


class Gate:
    """The table as far as it concerns this member, its session and its lease."""

    __slots__ = ("_core", "live_until_ms", "overtime_from_ms", "session", "stopped")

    def __init__(self, core: Core) -> None:
        self._core = core
        self.session = NO_SESSION
        self.live_until_ms = 0
        self.overtime_from_ms = 0  # mode Available: admissions from here on are counted
        self.stopped = False

    def live(self, now_ms: int) -> bool:
        return now_ms < self.live_until_ms and self.session != NO_SESSION and not self.stopped

    def mine(self, partition: PartitionId) -> bool:
        """The table names me, in this session, whatever the phase."""
        table = self._core.table
        return (
            table.owner[partition] == self._core.me
            and table.session[partition] == self.session
            and self.session != NO_SESSION
        )

    def admits(self, partition: PartitionId, epoch: Epoch, now_ms: int) -> bool:
        """`live`, `mine`, owned and of this epoch; spelt out, since it is asked most of all."""
        table, session = self._core.table, self.session
        return (
            now_ms < self.live_until_ms
            and session != NO_SESSION
            and not self.stopped
            and table.owner[partition] == self._core.me
            and table.session[partition] == session
            and table.phase[partition] == OWNED
            and table.epoch[partition] == epoch
        )

    def verdict(self, partition: PartitionId, epoch: Epoch, now_ms: int) -> Reason:
        """OK: it may pass or, where its epoch is above the table's, wait for the table."""
        table = self._core.table
        if self.stopped:
            return Reason.DRAINING
        if epoch > table.epoch[partition]:
            return Reason.OK
        if epoch < table.epoch[partition]:
            return Reason.STALE_EPOCH
        if table.owner[partition] != self._core.me or table.phase[partition] != OWNED:
            return Reason.NOT_OWNER
        # Mine, but perhaps of a session whose lease has not been told here yet: that may pass.
        proven = self.mine(partition) and now_ms < self.live_until_ms
        return Reason.OK if proven else Reason.LEASE_EXPIRED

    def refusal(self, reason: Reason, partition: PartitionId) -> Failure:
        """Names what the refusal rests on, so that the origin knows when to try again."""
        core, table = self._core, self._core.table
        return Failure(
            reason,
            Executed.NO,
            f"partition {partition} refused by member {core.me}",
            core.limits.refusal_retry_ms if reason in TRANSIENT else 0,
            table.owner[partition],
            table.epoch[partition],
            table.applied_index,
        )

    def set_lease(self, session: SessionId, live_until_ms: int, overtime_from_ms: int) -> None:
        self.session = session
        self.live_until_ms = live_until_ms if session != NO_SESSION else 0
        self.overtime_from_ms = overtime_from_ms
