"""Watches the partition table and notes each change of owner, as any application could.

How long a graceful move paused a partition is the time between two events of the table: its owner
is asked to let go, and the next one is in charge. After a crash nobody is asked.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import parti
from parti import Phase

_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Move:
    """One partition got a new owner."""

    partition: int
    source: str  # empty: nobody owned it
    target: str
    epoch: int
    pause_ms: float | None  # None: its owner was not asked, or both events came as one


class TableWatcher:
    """The table as one sidecar tells it, and the moves since the last `take_moves`."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._owners: dict[int, str] = {}
        self._asked_at: dict[int, float] = {}
        self._moves: list[Move] = []
        self._names: dict[int, str] = {}
        self._free: set[int] = set()
        self.partitions = 0

    def start(self, address: str) -> None:
        """Watch in the background."""
        self._task = asyncio.create_task(self._watch(address))

    async def close(self) -> None:
        """End the watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def check_alive(self) -> None:
        """Raise what ended the watching, if something did."""
        if self._task is not None and self._task.done():
            self._task.result()

    def note(self, changed: Iterable[parti.Location], names: Mapping[int, str]) -> None:
        """Take what has changed in the table."""
        self._names |= names
        for location in changed:
            self._note(location)

    def counts(self) -> Counter[str]:
        """How many partitions each member owns."""
        return Counter(
            owner for partition, owner in self._owners.items() if partition not in self._free
        )

    def owned_by(self, member: str) -> list[int]:
        """The partitions of a member."""
        return [partition for partition, owner in self._owners.items() if owner == member]

    def take_moves(self) -> list[Move]:
        """The moves since the last call."""
        moves, self._moves = self._moves, []
        return moves

    def is_balanced(self, members: set[str]) -> bool:
        """Whether exactly these members own everything, in equal shares."""
        counts = self.counts()
        return (
            self.partitions > 0
            and counts.total() == self.partitions
            and set(counts) == members
            and not self._asked_at
            and max(counts.values()) - min(counts.values()) <= 1
        )

    async def _watch(self, address: str) -> None:
        async with parti.Client(address) as client:
            async for change in client.watch_table():
                self.partitions = change.partitions
                self.note(change.changed, change.member_names)

    def _note(self, location: parti.Location) -> None:
        partition = location.partition
        if location.phase is Phase.REVOKING:
            self._asked_at.setdefault(partition, time.monotonic())
            self._free.discard(partition)
        elif location.phase is Phase.OWNED:
            self._note_owner(partition, self._names.get(location.owner, "?"), location.epoch)
        else:
            self._free.add(partition)

    def _note_owner(self, partition: int, owner: str, epoch: int) -> None:
        asked_at = self._asked_at.pop(partition, None)
        before = self._owners.get(partition, "")
        self._free.discard(partition)
        self._owners[partition] = owner
        if before != owner:
            pause_ms = None if asked_at is None else (time.monotonic() - asked_at) * 1000
            self._moves.append(Move(partition, before, owner, epoch, pause_ms))


async def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Wait for a condition; TimeoutError says `what` did not come true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{what} did not happen within {timeout_s:g} s")
        await asyncio.sleep(_POLL_S)
