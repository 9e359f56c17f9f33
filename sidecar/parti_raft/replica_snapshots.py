"""Takes the state of a machine as a snapshot, a slice at each tick.

Encoding a large state at once would hold the member for longer than its heartbeats and leases can
bear. The machine only copies references when it is frozen; the chunks are made later, a few at a
time, while the machine goes on. A small state is done within the first slice.

A finished snapshot goes to the disk if it was taken to compact the log, and is offered to members
that lag, if any has asked meanwhile. It is offered for a short time only, since it takes memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO

from parti_raft.types import ConfState, LogIndex, Snapshot


@dataclass(slots=True)
class _Taking:
    head: Snapshot  # without its data
    chunks: Iterator[bytes]
    compacts: bool
    asked: bool = False  # by a member that lags
    data: BytesIO = field(default_factory=BytesIO)  # grows in place, and is not copied at the end


class SnapshotTaker:
    """At most one snapshot is being taken, and at most one is offered."""

    def __init__(self, chunks_per_slice: int, offered_ticks: int) -> None:
        self._chunks_per_slice = chunks_per_slice
        self._offered_ticks = offered_ticks
        self._taking: _Taking | None = None
        self._offered: Snapshot | None = None
        self._offered_until = 0

    @property
    def busy(self) -> bool:
        """Whether one is being taken."""
        return self._taking is not None

    def begin(self, head: Snapshot, chunks: Iterator[bytes], *, compacts: bool) -> None:
        """Begin to take the state at an index: `head` without its data, and its chunks."""
        assert self._taking is None, "one snapshot is taken at a time"
        self._taking = _Taking(head, chunks, compacts, asked=not compacts)

    def go_on(self, ticks: int) -> tuple[Snapshot, bool] | None:
        """Take a slice; when it was the last gives the snapshot, and whether it is to compact."""
        taking = self._taking
        if taking is None:
            return None
        for _ in range(self._chunks_per_slice):
            chunk = next(taking.chunks, None)
            if chunk is None:
                break
            taking.data.write(chunk)
        else:
            return None
        self._taking = None
        snapshot = replace(taking.head, data=taking.data.getvalue())
        if taking.asked:
            self._offered = snapshot
            self._offered_until = ticks + self._offered_ticks
        return snapshot, taking.compacts

    def offered(self, conf_state: ConfState, floor: LogIndex) -> Snapshot | None:
        """What a member can be sent: with it in the members, and the log going on behind it."""
        offered = self._offered
        if offered is None or offered.conf_state != conf_state or offered.index < floor:
            return None
        return offered

    def ask(self) -> None:
        """A member waits for what is being taken."""
        assert self._taking is not None, "nothing is being taken"
        self._taking.asked = True

    def tick(self, ticks: int) -> None:
        """Let go of what nobody has fetched in time."""
        if self._offered is not None and ticks >= self._offered_until:
            self._offered = None

    def abandon(self) -> None:
        """The state is being replaced: what is taken of the old one must not reach the disk."""
        self._taking = None
