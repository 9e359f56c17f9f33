"""One owner at a time, in real time: the heart of G1 and G2.

A member has authority over a partition while its gate would admit a message by its own clock and
its worker may still be handed one. No two members have it at one moment, a frozen one included:
it would admit as soon as it ran. Nothing gains authority but by applying an entry, by a lease or by
a session, so it is looked at after every turn in which one of these changed.

In mode available a member goes on for a configured time after its lease, in which the next owner
may begin: then the rule holds for those whose lease is live, and overtime has its bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from parti_shard.holdings import Stage
from parti_shard.ids import Epoch, MemberId, PartitionId, SessionId
from parti_shard.member import Member
from parti_shard.table import Table

if TYPE_CHECKING:
    from tests.sim.process import Process

_MAY_ADMIT = frozenset({Stage.GRANTED, Stage.ASSIGNED, Stage.STARTED})


class OwnershipChecks:
    """All processes of one run. `live` are those that exist, frozen ones included."""

    def __init__(self, *, overtime_allowed: bool) -> None:
        self._overtime_allowed = overtime_allowed
        self.live: dict[Process, Member] = {}
        self._epochs: list[Epoch] = []
        self._sessions: dict[SessionId, MemberId] = {}
        self._admitted: dict[int, tuple[int, str]] = {}  # partition -> newest epoch, by whom
        self._lease: dict[Process, tuple[SessionId, int]] = {}

    def authority(self, process: Process, member: Member, partition: PartitionId) -> Epoch | None:
        """The epoch under which this member may admit now, if it may."""
        gate, intake = member.router._gate, member.router._intake
        if not gate.live(process.now_ms()) or not gate.mine(partition):
            return None
        holding = intake.holdings.get(partition)
        if holding is None or holding.stage not in _MAY_ADMIT:
            return None
        admits = gate.admits(partition, holding.epoch, process.now_ms())
        return holding.epoch if admits else None

    def check_partitions(self, partitions: Iterable[PartitionId]) -> None:
        for partition in partitions:
            holders = [
                (process.name, epoch)
                for process, member in self.live.items()
                if partition < member.table.partitions
                and not self.in_overtime(process)
                and (epoch := self.authority(process, member, partition)) is not None
            ]
            assert len(holders) <= 1, f"partition {partition} has two owners: {holders}"

    def in_overtime(self, process: Process) -> bool:
        """Whether it admits although its lease is over; in mode strict nobody does."""
        if not self._overtime_allowed:
            return False
        return process.now_ms() >= self.live[process].router._gate.overtime_from_ms

    def turn_ended(self, process: Process, member: Member, changed: Iterable[PartitionId]) -> None:
        """Look at everything that this member may have gained."""
        gate = member.router._gate
        lease = gate.session, gate.live_until_ms
        if self._lease.get(process) != lease:
            self._lease[process] = lease
            table = member.table
            mine = [PartitionId(p) for p in range(table.partitions) if table.owner[p] == member.me]
            self.check_partitions(mine)
        else:
            self.check_partitions(changed)

    def first_applied(self, table: Table) -> None:
        """An entry takes effect for the first time anywhere."""
        if self._epochs:
            for partition, (old, new) in enumerate(zip(self._epochs, table.epoch, strict=True)):
                assert new in (old, old + 1), f"partition {partition}: epoch {old}, then {new}"
        self._epochs = list(table.epoch)
        for session in self._sessions.keys() - table.sessions.keys():
            self._session_over(session)
        self._sessions = dict(table.sessions)
        self.check_partitions(table.take_changed())

    def _session_over(self, session: SessionId) -> None:
        for process, member in self.live.items():
            holder = member.session.holder
            if holder.session == session and not member.router._gate.stopped:
                left_ms = holder.live_until_ms - process.now_ms()
                assert left_ms <= 0, f"session {session} of {process.name} ends {left_ms} ms early"

    def admitted(self, process: Process, worker: int, partition: int, epoch: int) -> None:
        """A message passed the gate: never under an older epoch than any before, anywhere, and
        an epoch belongs to one worker for ever.
        """
        name = f"{process.name} worker {worker}"
        if self.in_overtime(process):
            return  # only the epoch tells the message from one of the next owner
        newest, by = self._admitted.get(partition, (0, ""))
        assert epoch >= newest, (
            f"partition {partition}: {name} admits under epoch {epoch},"
            f" {by} did under {newest} before"
        )
        assert epoch > newest or by in ("", name), (
            f"partition {partition}: epoch {epoch} is used by {by} and {name}"
        )
        self._admitted[partition] = epoch, name
        self.check_partitions((PartitionId(partition),))
