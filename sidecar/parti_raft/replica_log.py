"""The stable log as a replica keeps it in memory."""

from __future__ import annotations

from collections.abc import Callable

from parti_raft.replica_values import RestoredState
from parti_raft.storage import MemoryLog
from parti_raft.types import HardState, LogIndex, Snapshot


class ReplicaLog(MemoryLog):
    """The stable log; a snapshot for a lagging member is made of the state as it is now."""

    __slots__ = ("_make_snapshot",)

    def __init__(self, restored: RestoredState, make_snapshot: Callable[[], Snapshot]) -> None:
        super().__init__()
        self._make_snapshot = make_snapshot
        snapshot = restored.snapshot
        self._base_index = restored.floor_index
        self._base_term = restored.floor_term
        self._snapshot = Snapshot(snapshot.index, snapshot.term, snapshot.conf_state)
        self.append(restored.entries)
        state = restored.hard_state
        # The commit index is not written at every step; what a snapshot holds was committed.
        commit = max(state.commit, snapshot.index)
        self.set_hard_state(HardState(state.term, state.vote, commit))

    def snapshot(self) -> Snapshot:
        return self._make_snapshot()

    def apply_snapshot(self, snapshot: Snapshot) -> None:
        super().apply_snapshot(Snapshot(snapshot.index, snapshot.term, snapshot.conf_state))

    def compact_to(self, index: LogIndex) -> None:
        """Drop entries up to `index` if there are any."""
        if index > self._base_index:
            self.compact(index)
