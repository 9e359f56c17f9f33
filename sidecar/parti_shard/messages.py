"""The one small record that stands for a message while it is in this process.

`Arrival` is what the owner needs; `Message` adds what the origin needs. A message of this member
for a partition of this member is one record in both roles: it goes from the origin to the intake
without passing through frames. Constructors set every field by hand: they run once per message.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Final

from parti_shard.ids import Epoch, PartitionId

if TYPE_CHECKING:
    from parti_shard.lanes import Lane
    from parti_shard.streams import ClientStream, InboundStream

# Where a message of the origin is.
PARKED: Final = 0  # in the parking of its lane
QUEUED: Final = 1  # in the queue of its lane's link, not taken by the writer: not executed
SENT: Final = 2  # taken, unanswered: may have been executed
DONE: Final = 3  # its client has an outcome (or is gone); if it was sent, it is still counted


class Arrival:
    """A message at the owner. `stream` is None once it is answered."""

    __slots__ = (
        "deadline_ms",
        "epoch",
        "headers",
        "id",
        "intake_timer",
        "key",
        "partition",
        "payload",
        "ping",
        "size_bytes",
        "stream",
    )

    def __init__(
        self,
        stream: InboundStream,
        item_id: int,
        partition: PartitionId,
        epoch: Epoch,
        key: bytes,
        payload: bytes,
        deadline_ms: int,
    ) -> None:
        self.stream: InboundStream | None = stream
        self.id = item_id
        self.partition = partition
        self.epoch = epoch
        self.key = key
        self.payload = payload
        self.headers = b""
        self.deadline_ms = deadline_ms
        self.ping = False
        self.size_bytes = len(payload) + len(key)
        self.intake_timer: dict[Arrival, None] | None = None


class Message(Arrival):
    """A message at its origin. `seq` rises over all messages of this router: the order of G4."""

    __slots__ = (
        "accepted_ms",
        "client",
        "client_id",
        "idempotent",
        "lane",
        "seq",
        "state",
        "timer",
        "uncertain",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - every field at once, see module
        self,
        client: ClientStream,
        client_id: int,
        lane: Lane,
        seq: int,
        key: bytes,
        payload: bytes,
        headers: bytes,
        now_ms: int,
        deadline_ms: int,
        timer: dict[Message, None],
    ) -> None:
        self.client = client
        self.client_id = client_id
        self.lane = lane
        self.seq = seq
        self.accepted_ms = now_ms
        self.idempotent = False
        self.uncertain = False  # an earlier attempt may have run
        self.state = QUEUED
        self.timer = timer
        self.stream = None
        self.id = 0
        self.partition = lane.partition
        self.epoch = lane.epoch
        self.key = key
        self.payload = payload
        self.headers = headers
        self.deadline_ms = deadline_ms
        self.ping = False
        self.size_bytes = len(payload) + len(key) + len(headers)
        self.intake_timer = None

    def for_another_attempt(self) -> Message:
        """A new record in place of this one, which a worker of this process may still hold."""
        again = copy.copy(self)
        again.uncertain = True
        again.stream = None
        again.intake_timer = None
        del self.timer[self]
        again.timer[again] = None
        again.client.in_flight[again.client_id] = again
        self.state = DONE
        return again
