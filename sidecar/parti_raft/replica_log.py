"""The stable log as a replica keeps it in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from parti_raft.replica_values import ReplicaLimits, RestoredState
from parti_raft.sizes import NO_LIMIT
from parti_raft.storage import MemoryLog
from parti_raft.types import HardState, LogIndex, Snapshot


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

    def compactable_to(
        self, index: LogIndex, limits: ReplicaLimits, held: Iterable[int]
    ) -> LogIndex:
        """How much of the log may go, with a snapshot at `index`.

        Some entries stay for members that lag a little. More stay if a member that is heard has
        less (`held`: the last entry of each) and still can be brought forward by them: it may just
        be getting a snapshot, and without what follows it would need another one, without end.
        What stays is bounded in number and, because it is in memory, in bytes.
        """
        compact_to = self._all_but(index, limits.keep_entries, limits.keep_bytes)
        floor = self.first_index() - 1
        needed = min((each for each in held if each >= floor), default=compact_to)
        if needed >= compact_to:
            return compact_to
        bound = self._all_but(index, limits.lagging_entries, limits.lagging_bytes)
        return LogIndex(max(needed, bound))

    def _all_but(self, index: LogIndex, entries_max: int, bytes_max: int) -> LogIndex:
        first = LogIndex(max(self.first_index(), index + 1 - entries_max))
        for entry in reversed(self.entries(first, index + 1, NO_LIMIT)):
            bytes_max -= len(entry.data)
            if bytes_max < 0:
                return entry.index
        return LogIndex(first - 1)
