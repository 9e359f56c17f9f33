"""Where frames leave the router: destinations, the answers waiting for them, and streams.

Answers wait as parallel lists, the very lists that become the next frame, so that taking a frame
of ordinary size copies nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from parti_shard.batches import ResultBatch
from parti_shard.errors import Executed, Failure
from parti_shard.ids import NO_EPOCH, Epoch, MemberId, PartitionId, StreamId

if TYPE_CHECKING:
    from parti_shard.messages import Message

CLIENT = "client"
PEER = "peer"
INBOUND = "inbound"
WORKER = "worker"
# The stream of this member's own messages. Drivers number theirs from 1.
LOCAL_STREAM = StreamId(0)


class Destination(NamedTuple):
    """A writer the driver runs: kind is one of CLIENT, PEER, INBOUND, WORKER."""

    kind: str
    id: int


class ResultOutbox:
    """Answers that wait for the writer of one stream."""

    __slots__ = ("epochs", "failures", "ids", "payloads", "size_bytes")

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self.ids: list[int] = []
        self.epochs: list[int] = []
        self.payloads: list[bytes] = []
        self.failures: dict[int, Failure] = {}
        self.size_bytes = 0

    def succeed(self, item_id: int, epoch: int, payload: bytes) -> None:
        self.ids.append(item_id)
        self.epochs.append(epoch)
        self.payloads.append(payload)
        self.size_bytes += len(payload)

    def fail(self, item_id: int, epoch: int, failure: Failure) -> None:
        """The epoch is told only if it ran: otherwise 0, as `app.proto` says."""
        self.failures[len(self.ids)] = failure
        self.ids.append(item_id)
        self.epochs.append(epoch if failure.executed is Executed.YES else NO_EPOCH)
        self.payloads.append(b"")

    def take(self, items_max: int, bytes_target: int) -> ResultBatch | None:
        if not self.ids:
            return None
        if len(self.ids) <= items_max and self.size_bytes <= bytes_target:
            batch = ResultBatch(self.ids, self.epochs, self.payloads, self.failures)
            self._reset()
            return batch
        return self._take_part(items_max, bytes_target)

    def _take_part(self, items_max: int, bytes_target: int) -> ResultBatch:
        count, size_bytes = 0, 0
        for payload in self.payloads[:items_max]:
            count += 1
            size_bytes += len(payload)
            if size_bytes >= bytes_target:
                break
        batch = ResultBatch(self.ids[:count], self.epochs[:count], self.payloads[:count])
        batch.failures = {at: f for at, f in self.failures.items() if at < count}
        self.failures = {at - count: f for at, f in self.failures.items() if at >= count}
        del self.ids[:count], self.epochs[:count], self.payloads[:count]
        self.size_bytes -= size_bytes
        return batch


class ClientStream:
    """A stream that messages of applications enter at. `in_flight`: those without an outcome."""

    __slots__ = ("destination", "in_flight", "in_flight_bytes", "outbox")

    def __init__(self, stream: StreamId) -> None:
        self.destination = Destination(CLIENT, stream)
        self.in_flight: dict[int, Message] = {}
        self.in_flight_bytes = 0
        self.outbox = ResultOutbox()


class InboundStream:
    """A stream that messages of one origin arrive on.

    `fenced` keeps G4 where a refused epoch may admit again later (lease renewed, worker attached):
    after such a refusal the later messages of that partition and epoch are refused as well, until
    the origin starts anew. It says so by a gap in the ids, which rise by one otherwise.
    """

    __slots__ = ("destination", "fenced", "id", "last_id", "open", "origin", "outbox")

    def __init__(self, stream: StreamId, origin: MemberId) -> None:
        self.id = stream
        self.origin = origin
        self.destination = Destination(INBOUND, stream)
        self.outbox = ResultOutbox()
        self.last_id = 0
        self.fenced: dict[PartitionId, Epoch] = {}
        self.open = True
