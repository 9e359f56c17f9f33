"""What the leader knows about one member's log, and how it may send to it.

States: *probe* (position unknown: one message per heartbeat interval), *replicate* (stream
optimistically, bounded by the in-flight window), *snapshot* (nothing until it is installed).

Invariants: `match_index < next_index`; `match_index` never falls within a term of the leader;
`pending_snapshot` is set only in the snapshot state.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum


class ProgressState(IntEnum):
    """How the leader replicates to a member."""

    PROBE = 0
    REPLICATE = 1
    SNAPSHOT = 2


class Inflights:
    """Appends that were sent and not yet acknowledged, limited in messages and in bytes.

    The byte limit is soft: the message that crosses it is still sent.
    """

    __slots__ = ("_max_bytes", "_max_messages", "_size_bytes", "_window")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        """Start empty."""
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._window: deque[tuple[int, int]] = deque()

    def __len__(self) -> int:
        return len(self._window)

    @property
    def full(self) -> bool:
        """No further message may be sent."""
        return len(self._window) >= self._max_messages or self._size_bytes >= self._max_bytes

    def add(self, last_index: int, size_bytes: int) -> None:
        """Record a message that ends at `last_index`; indexes must rise."""
        assert not self.full
        self._window.append((last_index, size_bytes))
        self._size_bytes += size_bytes

    def free_to(self, index: int) -> None:
        """Forget the messages that end at or before `index`."""
        window = self._window
        while window and window[0][0] <= index:
            self._size_bytes -= window.popleft()[1]

    def reset(self) -> None:
        """Forget all messages."""
        self._window.clear()
        self._size_bytes = 0


class Progress:
    """Replication state of one member, kept by every member and used by the leader."""

    __slots__ = (
        "append_paused",
        "inflights",
        "is_learner",
        "match_index",
        "next_index",
        "pending_snapshot",
        "recent_active",
        "sent_commit",
        "state",
    )

    def __init__(self, next_index: int, inflights: Inflights, *, is_learner: bool) -> None:
        """Start probing at `next_index`."""
        self.match_index = 0
        self.next_index = next_index
        self.sent_commit = 0
        self.state = ProgressState.PROBE
        self.pending_snapshot = 0
        self.recent_active = False
        self.append_paused = False
        self.inflights = inflights
        self.is_learner = is_learner

    def clone(self) -> Progress:
        """Copy the fields; the window is shared, as only one of the two lives on."""
        twin = Progress(self.next_index, self.inflights, is_learner=self.is_learner)
        twin.match_index = self.match_index
        twin.sent_commit = self.sent_commit
        twin.state = self.state
        twin.pending_snapshot = self.pending_snapshot
        twin.recent_active = self.recent_active
        twin.append_paused = self.append_paused
        return twin

    @property
    def paused(self) -> bool:
        """No entries may be sent now."""
        return self.append_paused or self.state is ProgressState.SNAPSHOT

    def _enter(self, state: ProgressState) -> None:
        self.append_paused = False
        self.pending_snapshot = 0
        self.state = state
        self.inflights.reset()

    def become_probe(self) -> None:
        """Find the position again, from the match or from a snapshot known to be installed."""
        base = max(self.match_index, self.pending_snapshot)
        self._enter(ProgressState.PROBE)
        self.next_index = base + 1
        self.sent_commit = min(self.sent_commit, base)

    def become_replicate(self) -> None:
        """Stream from the match."""
        self._enter(ProgressState.REPLICATE)
        self.next_index = self.match_index + 1

    def become_snapshot(self, index: int) -> None:
        """Wait for a snapshot at `index` to be installed."""
        self._enter(ProgressState.SNAPSHOT)
        self.pending_snapshot = index
        self.next_index = index + 1
        self.sent_commit = index

    def sent_entries(self, count: int, size_bytes: int) -> None:
        """Account for an append with `count` entries that was just sent."""
        if self.state is ProgressState.REPLICATE:
            if count:
                self.next_index += count
                self.inflights.add(self.next_index - 1, size_bytes)
            # A message that fills the window is the last one until something comes back.
            self.append_paused = self.inflights.full
            return
        assert self.state is ProgressState.PROBE
        if count:
            self.append_paused = True

    def can_bump_commit(self, index: int) -> bool:
        """Sending commit `index` may move the member's commit forward."""
        return index > self.sent_commit and self.sent_commit < self.next_index - 1

    def maybe_update(self, index: int) -> bool:
        """Take an acknowledgement up to `index`; False if it tells nothing new."""
        if index <= self.match_index:
            return False
        self.match_index = index
        self.next_index = max(self.next_index, index + 1)
        self.append_paused = False
        return True

    def maybe_decrease(self, rejected: int, match_hint: int) -> bool:
        """Take the rejection of an append at `rejected`; False if it is stale."""
        if self.state is ProgressState.REPLICATE:
            if rejected <= self.match_index:
                return False
            self.next_index = self.match_index + 1
            self.sent_commit = min(self.sent_commit, self.match_index)
            return True
        if self.next_index - 1 != rejected:
            return False
        self.next_index = max(min(rejected, match_hint + 1), self.match_index + 1)
        self.sent_commit = min(self.sent_commit, self.next_index - 1)
        self.append_paused = False
        return True
