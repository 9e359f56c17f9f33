"""The waiting room of messages whose partition cannot take them now.

Bounded in messages and bytes, per partition and in all. A message that was refused or not sent
comes back to its old place by sequence number; it was counted in the window before, so it is taken
back beyond the limits (at most `partition_window` per partition) rather than lost.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from operator import attrgetter

from parti_shard.core import Core
from parti_shard.lanes import Lane
from parti_shard.messages import PARKED, QUEUED, Message

_seq = attrgetter("seq")


class Parking:
    """Parked messages of all lanes. `lanes`: those with any, in the order they began to wait."""

    __slots__ = ("_core", "lanes")

    def __init__(self, core: Core) -> None:
        self._core = core
        self.lanes: dict[Lane, None] = {}

    def limit_hit(self, lane: Lane, size_bytes: int) -> str:
        """Name of the limit that keeps a message of this size out, or nothing."""
        limits, stats = self._core.limits, self._core.stats
        if len(lane.parked) >= limits.parked_messages_per_partition:
            return "parked_messages_per_partition"
        if lane.parked_bytes + size_bytes > limits.parked_bytes_per_partition:
            return "parked_bytes_per_partition"
        if stats.parked_messages >= limits.parked_messages_max:
            return "parked_messages_max"
        if stats.parked_bytes + size_bytes > limits.parked_bytes_max:
            return "parked_bytes_max"
        return ""

    def park(self, lane: Lane, message: Message) -> None:
        """Behind all others. The caller has asked for the limits."""
        lane.parked.append(message)
        self._core.stats.parked += 1
        self._count(lane, message)

    def put_back(self, lane: Lane, message: Message) -> None:
        """To its place in the order."""
        parked = lane.parked
        if parked and parked[0].seq < message.seq:
            parked.insert(bisect_left(parked, message.seq, key=_seq), message)
        else:
            parked.appendleft(message)
        self._count(lane, message)

    def _count(self, lane: Lane, message: Message) -> None:
        message.state = PARKED
        lane.link = None
        lane.parked_bytes += message.size_bytes
        stats = self._core.stats
        stats.parked_messages += 1
        stats.parked_bytes += message.size_bytes
        self.lanes[lane] = None

    def pop(self, lane: Lane) -> Message:
        """The oldest, to be queued."""
        message = lane.parked.popleft()
        message.state = QUEUED
        self._uncount(lane, 1, message.size_bytes)
        return message

    def forget_done(self, lane: Lane) -> None:
        """Drop those that were given up."""
        count, size_bytes = len(lane.parked), lane.parked_bytes
        lane.parked = deque(message for message in lane.parked if message.state == PARKED)
        left_bytes = sum(message.size_bytes for message in lane.parked)
        self._uncount(lane, count - len(lane.parked), size_bytes - left_bytes)

    def _uncount(self, lane: Lane, count: int, size_bytes: int) -> None:
        lane.parked_bytes -= size_bytes
        stats = self._core.stats
        stats.parked_messages -= count
        stats.parked_bytes -= size_bytes
        if not lane.parked:
            self.lanes.pop(lane, None)

    def older_than(self, accepted_ms: int) -> list[Message]:
        """Messages accepted at or before that moment; parking is in the order of acceptance."""
        old: list[Message] = []
        for lane in self.lanes:
            for message in lane.parked:
                if message.accepted_ms > accepted_ms:
                    break
                old.append(message)
        return old
