"""Admission and its results: from the intake to the worker and back to whoever waits.

A message is admitted at the moment the worker's writer takes it, and the gate is asked then. So
nothing leaves after a lapse of the lease or a revoke, however long a writer was blocked. Partitions
take turns (round-robin, QUANTUM messages a visit), and one partition has at most
`partition_credits` messages in the worker: a slow partition never holds up another.
"""

from __future__ import annotations

from typing import Final

from parti_shard.batches import ForwardBatch, WorkerResults
from parti_shard.core import Core
from parti_shard.errors import Executed, Failure, Reason
from parti_shard.frames import check_results
from parti_shard.gate import Gate
from parti_shard.holdings import Holding, Stage
from parti_shard.ids import Epoch, PartitionId
from parti_shard.intake import LATE, Intake
from parti_shard.messages import Arrival
from parti_shard.worker import Worker

QUANTUM: Final = 16

# What a worker may say of a message it did not start.
_NOT_STARTED: Final = frozenset(
    {Reason.LEASE_EXPIRED, Reason.DEADLINE_EXCEEDED, Reason.STALE_EPOCH, Reason.DRAINING}
)
_WORKER_LOST: Final = Failure(
    Reason.WORKER_LOST, Executed.UNKNOWN, "the application went away before it answered"
)


class Delivery:
    """Moves messages to the attached worker and settles them."""

    def __init__(self, core: Core, gate: Gate, intake: Intake) -> None:
        self._core = core
        self._gate = gate
        self._intake = intake

    def admit(self, worker: Worker, now_ms: int) -> ForwardBatch | None:
        """A frame of messages that pass the gate now."""
        gate, ring = self._gate, self._intake.ring
        if not gate.live(now_ms):
            return None
        limits = self._core.limits
        items: list[Arrival] = []
        room_bytes = limits.frame_bytes_target
        while ring and worker.credits > 0 and len(items) < limits.frame_items_max:
            if room_bytes <= 0:
                break
            holding = ring.popleft()
            holding.ready = False
            if holding.stage is not Stage.STARTED:
                continue
            if not gate.admits(holding.partition, holding.epoch, now_ms):
                continue  # the review of this partition will refuse what waits
            visit_ends = len(items) + QUANTUM
            room = min(QUANTUM, limits.frame_items_max - len(items))
            room_bytes -= self._admit_from(holding, worker, room, items, now_ms)
            if holding.queue:
                cut_short = worker.credits == 0 or len(items) == limits.frame_items_max
                self._intake.make_ready(holding, first=cut_short and len(items) < visit_ends)
        return self._frame(worker, items, now_ms) if items else None

    def _admit_from(
        self, holding: Holding, worker: Worker, room: int, items: list[Arrival], now_ms: int
    ) -> int:
        """Take messages of one partition; says how many bytes."""
        intake, queue, epoch = self._intake, holding.queue, holding.epoch
        room = min(room, worker.credits, worker.partition_credits - holding.in_worker)
        count, size_bytes = 0, 0
        while queue and count < room and queue[0].epoch == epoch:
            item = intake.pop(holding)
            if item.deadline_ms <= now_ms:
                intake.refuse(item, LATE)
            elif item.ping:
                intake.answer_ping(item)
            else:
                items.append(item)
                count += 1
                size_bytes += item.size_bytes
        holding.in_worker += count
        holding.load += count
        worker.credits -= count
        return size_bytes

    def _frame(self, worker: Worker, items: list[Arrival], now_ms: int) -> ForwardBatch:
        stats, gate = self._core.stats, self._gate
        stats.admitted += len(items)
        if 0 < gate.overtime_from_ms <= now_ms:
            stats.admitted_overtime += len(items)
        first = worker.last_delivery + 1
        worker.last_delivery += len(items)
        ids = list(range(first, first + len(items)))
        worker.delivered.update(zip(ids, items, strict=True))
        return ForwardBatch(
            ids,
            [item.partition for item in items],
            [item.epoch for item in items],
            [item.key for item in items],
            [item.payload for item in items],
            [item.deadline_ms - now_ms for item in items],
            {position: item.headers for position, item in enumerate(items) if item.headers},
        )

    def results(self, worker: Worker, results: WorkerResults) -> None:
        """Each gives its credit back; who still waits is told, even if the epoch is over."""
        check_results(results)
        failures, payload_max = results.failures, self._core.limits.payload_bytes_max
        delivered, intake, dirty = worker.delivered, self._intake, self._core.dirty
        holdings = intake.holdings
        for position, (item_id, payload) in enumerate(
            zip(results.ids, results.payloads, strict=True)
        ):
            item = delivered.pop(item_id, None)
            if item is None:
                self._core.stats.worker_results_late += 1
                continue
            worker.credits += 1
            holding = holdings[item.partition]
            if holding.epoch == item.epoch:
                holding.in_worker -= 1
                if holding.queue and not holding.ready:
                    intake.make_ready(holding)
            stream = item.stream
            if stream is None or not stream.open:
                self._count_unwanted(item)
            elif position in failures or len(payload) > payload_max:
                self._fail(holding, item, failures.get(position), len(payload))
            else:
                outbox = stream.outbox
                if not outbox.ids:
                    dirty[stream.destination] = None
                outbox.ids.append(item.id)
                outbox.epochs.append(item.epoch)
                outbox.payloads.append(payload)
                outbox.size_bytes += len(payload)
        if intake.ring and worker.credits > 0:
            dirty[worker.destination] = None

    def _count_unwanted(self, item: Arrival) -> None:
        if item.stream is None:
            self._core.stats.worker_results_late += 1
        else:
            self._core.stats.answers_dropped += 1

    def _fail(self, holding: Holding, item: Arrival, failure: Failure | None, size: int) -> None:
        if failure is None:
            limit = self._core.limits.payload_bytes_max
            text = f"result of {size} bytes, limit {limit}"
            failure = Failure(Reason.PAYLOAD_TOO_LARGE, Executed.YES, text)
        elif failure.executed is Executed.NO and failure.reason not in _NOT_STARTED:
            failure = Failure(Reason.HANDLER_FAILED, Executed.YES, failure.message)
        if failure.reason is not Reason.LEASE_EXPIRED:
            self._intake.answer_failure(item, failure)
            return
        # The worker's clock says the lease is over. G4: nothing later may overtake this message.
        self._intake.refuse(item, self._gate.refusal(Reason.LEASE_EXPIRED, item.partition))
        if holding.epoch == item.epoch:
            self._intake.refuse_all(holding, Reason.LEASE_EXPIRED)

    def lose(self, worker: Worker) -> None:
        """The worker is gone: nobody will ever answer what it holds."""
        for item in worker.delivered.values():
            if item.stream is not None:
                self._intake.answer_failure(item, _WORKER_LOST)
        worker.delivered.clear()

    def lose_epoch(self, worker: Worker, partition: PartitionId, epoch: Epoch) -> int:
        """The epoch was cut off in the worker, which keeps its credits until it answers."""
        lost = [
            item
            for item in worker.delivered.values()
            if item.partition == partition and item.epoch == epoch and item.stream is not None
        ]
        for item in lost:
            self._intake.answer_failure(item, _WORKER_LOST)
        return len(lost)
