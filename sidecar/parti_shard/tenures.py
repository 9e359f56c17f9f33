"""Life of epochs and workers at the owner: grant, assign, start, revoke, release, loss.

Follows the table (`review`) and the worker's frames; `holdings.py` shows the stages. What is put on
`released` is a promise to the leader: nothing will be admitted under that epoch here any more, so
the partition may be granted again. The promise is given only when the gate is shut for that epoch
and its worker has said that it finished, has been cut off, or is gone.
"""

from __future__ import annotations

from collections.abc import Iterable

from parti_shard.batches import WorkerInput, WorkerOutput
from parti_shard.core import Core
from parti_shard.delivery import Delivery
from parti_shard.errors import MalformedFrameError
from parti_shard.gate import OWNED, REVOKING, Gate
from parti_shard.holdings import WITH_WORKER, Holding, Stage
from parti_shard.ids import Epoch, PartitionId, SessionId, WorkerId
from parti_shard.intake import Intake
from parti_shard.worker import Worker


class Tenures:
    """The owner's side of one member: its epochs and its worker."""

    def __init__(self, core: Core, gate: Gate, intake: Intake) -> None:
        self._core = core
        self._gate = gate
        self._intake = intake
        self._delivery = Delivery(core, gate, intake)
        self.workers: dict[WorkerId, Worker] = {}  # the attached one and those not told `closed`
        self.current: Worker | None = None
        self.grace_until_ms: int | None = None  # a lost worker may come back until then
        self.revoking: dict[PartitionId, Holding] = {}
        self.released: list[tuple[PartitionId, Epoch]] = []

    @property
    def worker_ready(self) -> bool:
        if self._gate.stopped:
            return False
        if self.current is not None:
            return not self.current.closing
        return self.grace_until_ms is not None

    # -- the table

    def table_changed(self, partitions: Iterable[PartitionId], now_ms: int) -> None:
        for partition in partitions:
            self._review(partition, now_ms)
        self._wake_worker()

    def _review(self, partition: PartitionId, now_ms: int) -> None:
        table, mine = self._core.table, self._gate.mine(partition)
        if not mine and partition not in self._intake.holdings:
            return
        holding = self._intake.holding(partition)
        epoch = table.epoch[partition]
        if not mine or holding.epoch != epoch:
            self._cut(holding, now_ms)
        if mine and holding.epoch != epoch:
            holding.begin(epoch)
            self._core.note(partition, now_ms, f"granted here, epoch {epoch}")
        if mine and table.phase[partition] == OWNED:
            self._owned(holding, now_ms)
        elif mine and table.phase[partition] == REVOKING:
            self._revoke(holding, now_ms)
        self._intake.sift(holding, now_ms)

    def _owned(self, holding: Holding, now_ms: int) -> None:
        if holding.stage is Stage.OVER:
            self._release(holding, now_ms)  # the leader may have missed it
        elif holding.stage is Stage.GRANTED and self.current is not None:
            self._assign(holding, self.current)

    def _assign(self, holding: Holding, worker: Worker) -> None:
        if worker.closing or self._gate.stopped:
            return
        worker.assign[holding.partition] = holding.epoch
        worker.held[holding.partition] = holding
        holding.move_to(Stage.ASSIGNED)

    def _revoke(self, holding: Holding, now_ms: int) -> None:
        """Let a worker that knows the epoch finish; without one it is over at once."""
        if holding.stage is Stage.REVOKING:
            return
        worker = self.current
        if holding.stage not in WITH_WORKER or worker is None or self._unassign(worker, holding):
            self._release(holding, now_ms)
            return
        holding.move_to(Stage.REVOKING)
        holding.revoke_by_ms = now_ms + self._core.limits.handover_ms
        worker.revoke[holding.partition] = holding.epoch
        self.revoking[holding.partition] = holding
        self._core.note(holding.partition, now_ms, f"handover begins, epoch {holding.epoch}")

    def _unassign(self, worker: Worker, holding: Holding) -> bool:
        """Take back an assignment that the worker has not been told."""
        if worker.assign.pop(holding.partition, None) is None:
            return False
        del worker.held[holding.partition]
        holding.move_to(Stage.GRANTED)
        return True

    def _cut(self, holding: Holding, now_ms: int) -> None:
        """The table took the epoch away: the worker has to stop; its answers are still awaited."""
        if holding.stage in (Stage.NONE, Stage.OVER):
            return
        self._cancel(holding)
        holding.move_to(Stage.OVER)
        self._core.note(holding.partition, now_ms, f"epoch {holding.epoch} is over in the table")

    def _cancel(self, holding: Holding) -> None:
        worker = self.current
        if worker is None or holding.stage not in WITH_WORKER:
            return
        if not self._unassign(worker, holding):
            worker.cancel.append((holding.partition, holding.epoch))
            self._let_go(worker, holding)

    def _let_go(self, worker: Worker, holding: Holding) -> None:
        del worker.held[holding.partition]
        worker.revoke.pop(holding.partition, None)
        self.revoking.pop(holding.partition, None)
        self._close_if_drained(worker)

    def _release(self, holding: Holding, now_ms: int) -> None:
        holding.move_to(Stage.OVER)
        self.released.append((holding.partition, holding.epoch))
        self._core.note(holding.partition, now_ms, f"released, epoch {holding.epoch}")

    # -- lease and end

    def set_lease(
        self, session: SessionId, live_until_ms: int, now_ms: int, overtime_from_ms: int
    ) -> None:
        changed = session != self._gate.session
        self._gate.set_lease(session, live_until_ms, overtime_from_ms)
        if changed:
            owner, me = self._core.table.owner, self._core.me
            known = self._intake.holdings
            for index in range(self._core.table.partitions):
                if owner[index] == me or index in known:
                    self._review(PartitionId(index), now_ms)
        self._wake_worker()

    def stop_admitting(self, now_ms: int) -> None:
        self._gate.stopped = True
        self._intake.sift_all(now_ms)

    # -- the worker

    def attach(
        self, worker_id: WorkerId, name: str, credits_: int, partition_credits: int, now_ms: int
    ) -> None:
        assert worker_id not in self.workers, f"worker {worker_id} is attached"
        if credits_ < 1 or partition_credits < 1:
            raise MalformedFrameError("a worker needs at least one credit")
        old = self.current
        if old is not None:
            self._end(old, now_ms)
            old.closed = f"replaced by {name}"
            self._core.dirty[old.destination] = None
        self._release_lost(now_ms)
        self.grace_until_ms = None
        self.current = self.workers[worker_id] = Worker(
            worker_id, name, credits_, partition_credits
        )
        self._intake.partition_credits = partition_credits
        self._core.stats.workers_attached += 1
        for holding in self._intake.holdings.values():
            self._offer_again(holding, self.current)
        self._wake_worker()

    def _offer_again(self, holding: Holding, worker: Worker) -> None:
        owned = self._core.table.phase[holding.partition] == OWNED
        if holding.stage is Stage.GRANTED and owned and self._gate.mine(holding.partition):
            self._assign(holding, worker)

    def detach(self, worker_id: WorkerId, now_ms: int) -> None:
        worker = self.workers.pop(worker_id, None)
        if worker is None or worker is not self.current:
            return
        self._end(worker, now_ms)
        if worker.closing or self._gate.stopped:
            self._release_lost(now_ms)
        else:
            self.grace_until_ms = now_ms + self._core.limits.worker_grace_ms

    def _end(self, worker: Worker, now_ms: int) -> None:
        """This worker gets and says nothing more; what it held is not admitted to any more."""
        self._core.stats.workers_lost += 1
        self.current = None
        self._intake.partition_credits = 0
        self._delivery.lose(worker)
        for holding in list(worker.held.values()):
            if self._unassign(worker, holding):
                pass  # never told to this worker: the next one may have it
            elif holding.stage is Stage.REVOKING:
                self._release(holding, now_ms)
            else:
                holding.move_to(Stage.LOST)
                self._core.note(holding.partition, now_ms, f"worker {worker.name} lost")
            self._intake.sift(holding, now_ms)
        worker.held.clear()
        self.revoking.clear()

    def _release_lost(self, now_ms: int, *, unused: bool = False) -> None:
        """Epochs of a worker that is gone, and on request those never handed to one."""
        stages = (Stage.LOST, Stage.GRANTED) if unused else (Stage.LOST,)
        for holding in self._intake.holdings.values():
            if holding.stage in stages:
                self._release(holding, now_ms)
                self._intake.sift(holding, now_ms)

    def input(self, worker_id: WorkerId, frame: WorkerInput, now_ms: int) -> None:
        worker = self.workers.get(worker_id)
        if worker is None or worker is not self.current:
            self._core.stats.worker_frames_stale += 1
            return
        for partition, epoch in frame.started:
            self._started(worker, PartitionId(partition), epoch)
        if frame.results is not None:
            self._delivery.results(worker, frame.results)
        for partition, epoch in frame.released:
            self._released_by(worker, PartitionId(partition), Epoch(epoch), now_ms)
        if frame.closing:
            worker.closing = True
            self._close_if_drained(worker)
        self._wake_worker()

    def _started(self, worker: Worker, partition: PartitionId, epoch: int) -> None:
        holding = worker.held.get(partition)
        if holding is None or holding.epoch != epoch or holding.stage is not Stage.ASSIGNED:
            self._core.stats.worker_frames_stale += 1
        elif partition in worker.assign:
            raise MalformedFrameError(f"partition {partition} started before it was assigned")
        else:
            holding.move_to(Stage.STARTED)
            self._intake.make_ready(holding)

    def _released_by(
        self, worker: Worker, partition: PartitionId, epoch: Epoch, now_ms: int
    ) -> None:
        holding = worker.held.get(partition)
        if holding is None or holding.epoch != epoch or partition in worker.assign:
            self._core.stats.worker_frames_stale += 1
            return
        self._delivery.lose_epoch(worker, partition, epoch)
        self._let_go(worker, holding)
        self._release(holding, now_ms)
        self._intake.sift(holding, now_ms)

    def _close_if_drained(self, worker: Worker) -> None:
        if worker.closing and not worker.held:
            worker.closed = "drained"

    def _wake_worker(self) -> None:
        worker = self.current
        if worker is not None and (
            worker.assign
            or worker.cancel
            or worker.revoke
            or worker.closed
            or worker.lease_told_ms != self._gate.live_until_ms
            or (self._intake.ring and worker.credits > 0)
        ):
            self._core.dirty[worker.destination] = None

    def wake_for_messages(self) -> None:
        """After arrivals: the hot path's short form of `_wake_worker`."""
        worker = self.current
        if worker is not None and self._intake.ring and worker.credits > 0:
            self._core.dirty[worker.destination] = None

    def take(self, worker_id: WorkerId, now_ms: int) -> WorkerOutput | None:
        worker = self.workers.get(worker_id)
        if worker is None:
            return None
        if worker is not self.current:
            del self.workers[worker_id]
            return WorkerOutput(closed=worker.closed)
        out = WorkerOutput()
        items_max = self._core.limits.frame_items_max
        found = worker.take_orders(out, self._gate.live_until_ms, items_max)
        out.deliver = self._delivery.admit(worker, now_ms)
        for partition, epoch in worker.revoke.items():
            within_ms = max(1, self.revoking[partition].revoke_by_ms - now_ms)
            out.revoke.append((partition, epoch, within_ms))
        worker.revoke.clear()
        self._wake_worker()
        return out if found or out.deliver is not None or out.revoke else None

    # -- time

    def tick(self, now_ms: int) -> None:
        self._intake.expire(now_ms)
        if self._core.stats.intake_messages and not self._gate.live(now_ms):
            self._intake.sift_all(now_ms)
        if self.grace_until_ms is not None and now_ms >= self.grace_until_ms:
            self.grace_until_ms = None
            self._release_lost(now_ms, unused=True)
        worker = self.current
        if worker is not None:
            for holding in list(self.revoking.values()):
                if now_ms >= holding.revoke_by_ms:
                    self._cut_off(worker, holding, now_ms)
        self._wake_worker()

    def _cut_off(self, worker: Worker, holding: Holding, now_ms: int) -> None:
        """It did not hand over in time."""
        self._core.stats.handovers_cut_off += 1
        lost = self._delivery.lose_epoch(worker, holding.partition, holding.epoch)
        text = f"handover cut off, epoch {holding.epoch}, {lost} messages unknown"
        self._core.note(holding.partition, now_ms, text)
        self._cancel(holding)
        self._release(holding, now_ms)
        self._intake.sift(holding, now_ms)

    def take_load(self) -> dict[PartitionId, int]:
        load = {}
        for holding in self._intake.holdings.values():
            if holding.load:
                load[holding.partition], holding.load = holding.load, 0
        return load
