"""The intake of the owner: messages that wait at the gate, in one bounded queue per partition.

A message waits while its epoch has been granted here but not started, while its epoch is above the
table's (this member lags), or for credits. Whatever closes the gate empties the queue with refusals
so that the origins can park. No worker has seen anything that is in here: all is executed NO.

G4 across refusals that may pass (lease, worker): see `InboundStream.fenced`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import repeat
from typing import Final, cast

from parti_shard.batches import ForwardBatch
from parti_shard.core import Core
from parti_shard.deadlines import DeadlineWheel
from parti_shard.errors import Executed, Failure, MalformedFrameError, Reason
from parti_shard.frames import check_forward
from parti_shard.gate import TRANSIENT, Gate
from parti_shard.holdings import Holding, Stage
from parti_shard.ids import NO_EPOCH, Epoch, MemberId, PartitionId, StreamId
from parti_shard.messages import Arrival, Message
from parti_shard.streams import LOCAL_STREAM, InboundStream

LATE: Final = Failure(
    Reason.DEADLINE_EXCEEDED, Executed.NO, "waited at the gate until its deadline"
)


class Intake:
    """Streams from origins, queues of partitions, and the ring of those that can deliver."""

    def __init__(self, core: Core, gate: Gate) -> None:
        self._core = core
        self._gate = gate
        self.local = InboundStream(LOCAL_STREAM, core.me)
        self.streams: dict[StreamId, InboundStream] = {}
        self.holdings: dict[int, Holding] = {}
        self.ring: deque[Holding] = deque()
        self.partition_credits = 0  # of the attached worker
        self.wheel: DeadlineWheel[Arrival] = DeadlineWheel()

    # -- streams

    def open_stream(self, stream: StreamId, origin: MemberId) -> None:
        """An origin has one stream: what older ones left at the gate nobody waits for."""
        assert stream not in self.streams, f"inbound stream {stream} is open"
        assert stream != LOCAL_STREAM
        for older in self.streams.values():
            if older.origin == origin and older.open:
                self._drop_stream(older)
        self.streams[stream] = InboundStream(stream, origin)

    def close_stream(self, stream: StreamId) -> None:
        closed = self.streams.pop(stream, None)
        if closed is not None and closed.open:
            self._drop_stream(closed)

    def _drop_stream(self, stream: InboundStream) -> None:
        stream.open = False
        for holding in self.holdings.values():
            if any(item.stream is stream for item in holding.queue):
                dropped = [item for item in holding.queue if item.stream is stream]
                for item in dropped:
                    self._forget(item)
                    item.stream = None
                holding.queue = deque(item for item in holding.queue if item.stream is not None)
                self.make_ready(holding)
                self._core.stats.answers_dropped += len(dropped)

    # -- arrivals

    def arrive(self, stream_id: StreamId, batch: ForwardBatch, now_ms: int) -> None:
        stream = self.streams[stream_id]
        gaps = check_forward(batch, stream.last_id)
        if len(stream.outbox.ids) > self._core.limits.answers_unread_max:
            self._core.stats.hit("answers_unread_max")
            raise MalformedFrameError("the origin sends on without reading its answers")
        if batch.ids:
            stream.last_id = batch.ids[-1]
        if not stream.open:
            self._core.stats.frames_superseded += 1
            return
        items = _arrivals(stream, batch, self._core.limits.default_timeout_ms, now_ms)
        if stream.fenced:
            self._arrive_fenced(stream, items, frozenset(gaps), now_ms)
        else:
            self.put(items, now_ms)

    def put(self, items: Sequence[Arrival], now_ms: int) -> None:
        """The hot path: an item of a live epoch is queued for the worker."""
        holdings, live = self.holdings, self._gate.live(now_ms)
        self._core.stats.arrived += len(items)
        for item in items:
            holding = holdings.get(item.partition)
            if live and holding is not None and holding.accepts == item.epoch and not item.ping:
                self._enqueue(holding, item)
            else:
                self._consider(item, now_ms)

    def put_local(self, messages: list[Message], now_ms: int) -> None:
        local = self.local
        for message in messages:
            message.stream = local
        self.put(messages, now_ms)

    def _arrive_fenced(
        self, stream: InboundStream, items: list[Arrival], restarts: frozenset[int], now_ms: int
    ) -> None:
        """Slow path of a stream of which something was refused that might pass now."""
        for position, item in enumerate(items):
            fenced = stream.fenced.get(item.partition)
            if fenced is not None and (position in restarts or item.epoch != fenced):
                del stream.fenced[item.partition]
                fenced = None
            if fenced is None:
                self.put((item,), now_ms)
            else:
                self._core.stats.arrived += 1
                self.refuse(item, self._gate.refusal(Reason.LEASE_EXPIRED, item.partition))

    def _consider(self, item: Arrival, now_ms: int) -> None:
        """Not plainly admissible: refuse, answer (a ping), or let it wait."""
        partition = item.partition
        if partition >= self._core.table.partitions:
            text = f"partition {partition}, cluster has {self._core.table.partitions}"
            self.refuse(item, Failure(Reason.BAD_PARTITION, Executed.NO, text))
            return
        holding = self.holding(partition)
        reason = self._verdict(holding, item.epoch, now_ms, ping=item.ping)
        if reason is not Reason.OK:
            self.refuse(item, self._gate.refusal(reason, partition))
        elif item.ping and not holding.queue and self._gate.admits(partition, item.epoch, now_ms):
            self.answer_ping(item)
        else:
            self._enqueue(holding, item)

    def _verdict(self, holding: Holding, epoch: Epoch, now_ms: int, *, ping: bool) -> Reason:
        """OK: may wait here. A ping needs no worker, but the gate."""
        partition = holding.partition
        reason = self._gate.verdict(partition, epoch, now_ms)
        if reason is not Reason.OK or epoch != holding.epoch:
            return reason
        if holding.stage in (Stage.REVOKING, Stage.OVER):
            return Reason.NOT_OWNER
        if holding.stage in (Stage.GRANTED, Stage.LOST) and not ping:
            return Reason.NO_WORKER
        return Reason.OK

    def holding(self, partition: PartitionId) -> Holding:
        holding = self.holdings.get(partition)
        if holding is None:
            holding = self.holdings[partition] = Holding(partition)
        return holding

    def _enqueue(self, holding: Holding, item: Arrival) -> None:
        limits, stats, queue = self._core.limits, self._core.stats, holding.queue
        if (
            len(queue) >= limits.intake_messages_per_partition
            or stats.intake_messages >= limits.intake_messages_max
            or stats.intake_bytes + item.size_bytes > limits.intake_bytes_max
        ):
            self._overloaded(holding, item)
            return
        queue.append(item)
        stats.intake_messages += 1
        stats.intake_bytes += item.size_bytes
        item.intake_timer = timer = self.wheel.bucket(item.deadline_ms)
        timer[item] = None
        if not holding.ready:
            self.make_ready(holding)

    def _overloaded(self, holding: Holding, item: Arrival) -> None:
        limits, stats = self._core.limits, self._core.stats
        if len(holding.queue) >= limits.intake_messages_per_partition:
            limit = "intake_messages_per_partition"
        elif stats.intake_messages >= limits.intake_messages_max:
            limit = "intake_messages_max"
        else:
            limit = "intake_bytes_max"
        stats.hit(limit)
        text = f"{limit} reached at member {self._core.me}"
        self.refuse(item, Failure(Reason.OVERLOADED, Executed.NO, text, limits.refusal_retry_ms))

    def make_ready(self, holding: Holding, *, first: bool = False) -> None:
        """Into the ring, if it has something to deliver and may; first: its turn goes on."""
        if (
            holding.queue
            and not holding.ready
            and holding.stage is Stage.STARTED
            and holding.in_worker < self.partition_credits
            and holding.queue[0].epoch == holding.epoch
        ):
            holding.ready = True
            if first:
                self.ring.appendleft(holding)
            else:
                self.ring.append(holding)

    # -- out of the queue

    def _forget(self, item: Arrival) -> None:
        """Uncount an item that leaves its queue."""
        timer, stats = item.intake_timer, self._core.stats
        if timer is not None:
            del timer[item]
            item.intake_timer = None
            stats.intake_messages -= 1
            stats.intake_bytes -= item.size_bytes

    def pop(self, holding: Holding) -> Arrival:
        item = holding.queue.popleft()
        self._forget(item)
        return item

    def refuse(self, item: Arrival, failure: Failure) -> None:
        self._forget(item)
        self._core.stats.refuse(failure.reason)
        stream = item.stream
        if stream is not None and stream is not self.local and failure.reason in TRANSIENT:
            stream.fenced[item.partition] = item.epoch
        self.answer_failure(item, failure)

    def answer_ping(self, item: Arrival) -> None:
        self._core.stats.pings += 1
        stream = self.waiting_stream(item)
        if stream is not None:
            stream.outbox.succeed(item.id, item.epoch, b"")

    def answer_failure(self, item: Arrival, failure: Failure) -> None:
        stream = self.waiting_stream(item)
        if stream is not None:
            stream.outbox.fail(item.id, item.epoch, failure)

    def waiting_stream(self, item: Arrival) -> InboundStream | None:
        """The stream that still waits for this answer; it gets no second one."""
        stream, item.stream = item.stream, None
        if stream is None or not stream.open:
            self._core.stats.answers_dropped += 1
            return None
        self._core.dirty[stream.destination] = None
        return stream

    def sift(self, holding: Holding, now_ms: int) -> None:
        """The gate of this partition moved: refuse what cannot pass it any more."""
        if not holding.queue:
            return
        items, holding.queue = holding.queue, deque()
        failures: dict[tuple[Epoch, bool], Failure | None] = {}
        for item in items:
            key = (item.epoch, item.ping)
            if key not in failures:
                reason = self._verdict(holding, item.epoch, now_ms, ping=item.ping)
                passes = reason is Reason.OK
                failures[key] = None if passes else self._gate.refusal(reason, holding.partition)
            failure = failures[key]
            if failure is not None:
                self.refuse(item, failure)
            elif (
                item.ping
                and not holding.queue
                and self._gate.admits(item.partition, item.epoch, now_ms)
            ):
                self._forget(item)
                self.answer_ping(item)
            else:
                holding.queue.append(item)
        self.make_ready(holding)

    def refuse_all(self, holding: Holding, reason: Reason) -> None:
        items, holding.queue = holding.queue, deque()
        failure = self._gate.refusal(reason, holding.partition)
        for item in items:
            self.refuse(item, failure)

    def sift_all(self, now_ms: int) -> None:
        for holding in self.holdings.values():
            self.sift(holding, now_ms)

    def expire(self, now_ms: int) -> None:
        due = self.wheel.due(now_ms)
        for partition in {item.partition: None for item in due}:
            holding = self.holdings[partition]
            holding.queue = deque(item for item in holding.queue if item.deadline_ms > now_ms)
            self.make_ready(holding)
        for item in due:
            self.refuse(item, LATE)


def _arrivals(
    stream: InboundStream, batch: ForwardBatch, default_ms: int, now_ms: int
) -> list[Arrival]:
    partitions = cast("list[PartitionId]", batch.partitions)
    epochs = cast("list[Epoch]", batch.epochs) or repeat(NO_EPOCH)
    keys, timeouts_ms = batch.keys or repeat(b""), batch.timeouts_ms or repeat(0)
    rows = zip(batch.ids, partitions, epochs, keys, batch.payloads, timeouts_ms, strict=False)
    items = [
        Arrival(stream, item_id, partition, epoch, key, payload, now_ms + (left_ms or default_ms))
        for item_id, partition, epoch, key, payload, left_ms in rows
    ]
    for position, headers in batch.headers.items():
        items[position].headers = headers
        items[position].size_bytes += len(headers)
    for position in batch.ping_at:
        items[position].ping = True
    return items
