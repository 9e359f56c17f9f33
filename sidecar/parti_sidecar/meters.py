"""What the process measures itself, as plain numbers: disk, moves of partitions, time unowned.

Written where things happen, read only when somebody asks for the metrics. No locks: each meter has
one writing thread, and a reader that is one event behind does no harm.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from parti_shard.commands import Cause
from parti_shard.history import Change, PartitionChange
from parti_shard.ids import Epoch, MemberId, PartitionId, SessionId
from parti_shard.limits import CLOCK_RATE_ERROR
from parti_shard.table import Phase, Table
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.runtime import LoopLagProbe
from parti_sidecar.storage.writer import CommitStats

FSYNC_BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)
HANDOVER_BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0)
LAG_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
GRACEFUL = "graceful"
EMERGENCY = "emergency"


class SecondsHistogram:
    """Counts by bound; the last bucket takes what is over every bound."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum_seconds = 0.0

    def observe(self, seconds: float) -> None:
        self.buckets[bisect_left(self.bounds, seconds)] += 1
        self.sum_seconds += seconds


class DiskMeter:
    """Commits of the storage. Written by the storage thread."""

    def __init__(self) -> None:
        self.seconds = SecondsHistogram(FSYNC_BOUNDS_S)
        self.batches = 0
        self.entries = 0
        self.size_bytes = 0

    def committed(self, stats: CommitStats) -> None:
        self.seconds.observe(stats.seconds)
        self.batches += stats.batches
        self.entries += stats.entries
        self.size_bytes += stats.size_bytes


@dataclass(slots=True)
class Meters:
    """What the process counts outside the member."""

    rpc: RpcMeter = field(default_factory=RpcMeter)
    disk: DiskMeter = field(default_factory=DiskMeter)
    loop: LoopLagProbe = field(default_factory=LoopLagProbe)


class Handover(NamedTuple):
    """A finished move as the table tells it."""

    kind: str
    seconds: float


class TableMeter:
    """Watches the table of this member. Sums over all members count each move once.

    A move is counted by the member that received the partition. Its length runs from the revoke to
    the grant, after a crash from the last renewal that the leader can have received: one lease
    (and its clock allowance) before the expiry. Both ends carry the leader's wall clock, so a move
    across a change of leader is as exact as the clocks of the two.
    """

    def __init__(self, me: MemberId) -> None:
        self.handovers = {
            kind: SecondsHistogram(HANDOVER_BOUNDS_S) for kind in (GRACEFUL, EMERGENCY)
        }
        self.moves: Counter[Cause] = Counter()
        self.lag = SecondsHistogram(LAG_BOUNDS_S)
        self._me = me
        self._lease_ms = 0.0
        self._seen: dict[PartitionId, Epoch] = {}  # latest epoch received here, in this run
        self._unowned: set[PartitionId] = set()
        self._unowned_ms = 0
        self._counted_to_ms = 0

    def attach(self, table: Table, now_ms: int) -> None:
        """Begin with this table."""
        every = map(PartitionId, range(table.partitions))
        self._unowned = {each for each in every if table.phase[each] is not Phase.OWNED}
        self._counted_to_ms = now_ms

    def changed(
        self,
        table: Table,
        session: SessionId,
        partitions: Iterable[PartitionId],
        now_ms: int,
        unix_ms: int,
    ) -> None:
        """Take note of applied changes; `session` is the one this run of the member holds."""
        self._count_unowned(now_ms)
        self._lease_ms = table.lease_ttl_ms * (1 + CLOCK_RATE_ERROR)
        newest_unix_ms = 0
        for partition in partitions:
            if table.phase[partition] is Phase.OWNED:
                self._unowned.discard(partition)
            else:
                self._unowned.add(partition)
            changes = table.history[partition]
            if changes and session and table.session[partition] == session:
                newest_unix_ms = max(newest_unix_ms, self._received(partition, changes))
        if newest_unix_ms:
            self.lag.observe(max(0, unix_ms - newest_unix_ms) / 1000)

    def unowned_seconds(self, now_ms: int) -> float:
        """Seconds that partitions were without an owner that may serve, summed over them."""
        self._count_unowned(now_ms)
        return self._unowned_ms / 1000

    def _count_unowned(self, now_ms: int) -> None:
        self._unowned_ms += len(self._unowned) * max(0, now_ms - self._counted_to_ms)
        self._counted_to_ms = now_ms

    def _received(self, partition: PartitionId, changes: Sequence[PartitionChange]) -> int:
        """Count a grant to this member that is new; gives its time, or 0."""
        grant = changes[-1]
        if grant.change is not Change.GRANTED or grant.member != self._me:
            return 0
        if grant.epoch <= self._seen.get(partition, 0):
            return 0
        self._seen[partition] = grant.epoch
        self.moves[grant.cause] += 1
        move = handover(changes, self._lease_ms)
        if move is not None:
            self.handovers[move.kind].observe(move.seconds)
        return grant.at_unix_ms


def handover(changes: Sequence[PartitionChange], lease_ms: float) -> Handover | None:
    """How the partition came to its last grant; None if it did not stand still before it."""
    grant = changes[-1]
    pause: list[PartitionChange] = []
    for change in reversed(changes[:-1]):
        if change.change is Change.GRANTED:
            break
        pause.append(change)
    if not pause:
        return None
    expired = [change for change in pause if change.change is Change.EXPIRED]
    if expired:
        since_ms = expired[0].at_unix_ms - lease_ms
        return Handover(EMERGENCY, max(0.0, grant.at_unix_ms - since_ms) / 1000)
    return Handover(GRACEFUL, max(0, grant.at_unix_ms - pause[-1].at_unix_ms) / 1000)
