"""Who votes: carries out, at the leader, what `membership` finds right. One change at a time."""

from __future__ import annotations

from parti_raft.replica import Replica
from parti_shard.coordinator import Coordinator
from parti_shard.ids import NO_MEMBER, MemberId
from parti_shard.table import Table


class Voters:
    """One per member, idle while another one leads."""

    def __init__(self, table: Table, replica: Replica, coordinator: Coordinator) -> None:
        self._table = table
        self._replica = replica
        self._coordinator = coordinator

    def became_leader(self, now_ms: int) -> None:
        """Begin anew: nothing is under way that this leader knows of."""

    def act(self, now_ms: int) -> None:
        """Propose the one change that is right now, if any."""

    def transfer(self, to: MemberId) -> None:
        """Hand leadership over; NO_MEMBER: to the voter whose log is the longest."""
        target = to if to != NO_MEMBER else self._best_heir()
        if target != NO_MEMBER:
            self._replica.transfer_leader(target)

    def _best_heir(self) -> MemberId:
        status = self._replica.raw.status()
        heirs = [
            (progress.recent_active, progress.match_index, member)
            for member, progress in status.progress.items()
            if not progress.is_learner and member != self._replica.member
        ]
        return max(heirs)[2] if heirs else NO_MEMBER
