"""The stable log as a replica keeps it in memory."""

from __future__ import annotations

from collections.abc import Callable

from parti_raft.replica_values import RestoredState
from parti_raft.storage import MemoryLog
from parti_raft.types import HardState, Snapshot


class ReplicaLog(MemoryLog):
    """The stable log; a snapshot for a lagging member is made of the state when it is asked for."""

    __slots__ = ("_make_snapshot",)

    def __init__(self, restored: RestoredState, make_snapshot: Callable[[], Snapshot]) -> None:
        super().__init__()
        self._make_snapshot = make_snapshot
        snapshot = restored.snapshot
        state = restored.hard_state
        # The commit index is not written at every step; what a snapshot holds was committed.
        commit = max(state.commit, snapshot.index)
        self.restore(
            HardState(state.term, state.vote, commit),
            Snapshot(snapshot.index, snapshot.term, snapshot.conf_state),
            (restored.floor_index, restored.floor_term),
            restored.entries,
        )

    def snapshot(self) -> Snapshot:
        return self._make_snapshot()

    def apply_snapshot(self, snapshot: Snapshot) -> None:
        super().apply_snapshot(Snapshot(snapshot.index, snapshot.term, snapshot.conf_state))
