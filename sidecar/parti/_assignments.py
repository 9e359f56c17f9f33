"""The partitions a worker serves: from Assign to Released.

    Assign -> on_assigned -> Started -> (Deliver...) -> Revoke -> idle -> on_revoked -> Released
                                                    `-> Cancel: running handlers are cancelled

Invariants:
    - An epoch starts only when every earlier epoch of its partition has been released here, also
      those of an attachment that broke.
    - `Released` leaves only when no handler of the epoch runs or will run.
    - `on_revoked` is called exactly once for every `on_assigned` that returned, and only then.
    - When `on_assigned` raises, the epoch is released without starting, logged and counted;
      where the partition goes next is the cluster's decision.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Literal

from parti import _limits as limits
from parti._errors import Executed, Reason, UnknownOutcome
from parti._handler import AsyncCallback
from parti._lanes import Lane, Runners
from parti._outbox import Outbox
from parti._values import NO_HEADERS, Message, WorkerCounts, boottime_ms
from parti_proto import app_pb2

logger = logging.getLogger("parti.worker")

Concurrency = Literal["partition", "key", "free"]


class Assignment:
    """One epoch of one partition at this worker."""

    __slots__ = (
        "accepting",
        "cut",
        "ending",
        "epoch",
        "gone",
        "idle",
        "lanes",
        "open_count",
        "outbox",
        "partition",
        "predecessor",
        "released",
        "starting",
        "taken",
    )

    def __init__(self, partition: int, epoch: int, outbox: Outbox) -> None:
        self.partition = partition
        self.epoch = epoch
        self.outbox = outbox
        self.lanes: dict[bytes | int, Lane] = {}  # those with messages
        self.open_count = 0  # delivered and not answered
        self.taken = False  # on_assigned has returned
        self.accepting = False  # Started was said, nothing has ended it
        self.ending = False
        self.cut = False
        self.released = False
        self.starting: asyncio.Task[None] | None = None  # waits, or on_assigned runs
        self.predecessor: Assignment | None = None
        self.idle: asyncio.Future[None] | None = None
        self.gone: asyncio.Future[None] | None = None

    def check_idle(self) -> None:
        """Notice that the last open message was answered."""
        if self.idle is not None and self.open_count == 0 and not self.idle.done():
            self.idle.set_result(None)

    async def wait_idle(self) -> None:
        """Wait until every delivered message is answered."""
        if self.open_count:
            self.idle = asyncio.get_running_loop().create_future()
            await self.idle

    async def wait_released(self) -> None:
        """Wait until nothing of this epoch runs or will run."""
        if self.released:
            return
        if self.gone is None:
            self.gone = asyncio.get_running_loop().create_future()
        await asyncio.wait({self.gone})


class Ownership:
    """What outlives an attachment: callbacks, and epochs that are not released yet."""

    def __init__(
        self, *, on_assigned: AsyncCallback | None, on_revoked: AsyncCallback | None
    ) -> None:
        self.on_assigned = on_assigned
        self.on_revoked = on_revoked
        self.unreleased: dict[int, Assignment] = {}  # the newest of each partition
        self.tasks: set[asyncio.Task[None]] = set()
        self.callbacks = asyncio.Semaphore(limits.CALLBACKS_MAX)
        self.counts = WorkerCounts()

    async def wait_released(self, timeout_s: float) -> None:
        """Wait for what still winds up; cancel what does not end in time."""
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=timeout_s)
        for task in self.tasks:
            logger.error("a callback or handler does not end: its partition was cut off")
            task.cancel()


class Assignments:
    """The partitions of one attachment."""

    def __init__(
        self,
        ownership: Ownership,
        outbox: Outbox,
        runners: Runners,
        concurrency: Concurrency,
        credits_max: int,
    ) -> None:
        self.by_partition: dict[int, Assignment] = {}
        self.closing = False
        self._ownership = ownership
        self._outbox = outbox
        self._runners = runners
        self._by_key = concurrency == "key"
        self._free = concurrency == "free"
        self._credits_max = credits_max
        self._delivered_count = 0

    def assign(self, partition: int, epoch: int) -> None:
        """Take a partition over, once its former epoch is released."""
        if self.closing:
            self._outbox.release(partition, epoch)
            return
        predecessor = self._ownership.unreleased.get(partition)
        current = self.by_partition.get(partition)
        if current is not None and current.epoch >= epoch:
            raise UnknownOutcome("an epoch was assigned twice", Reason.MALFORMED_FRAME)
        if current is not None:  # granted anew without a Revoke: the old epoch is over
            self._end(current, cut=True)
        assignment = Assignment(partition, epoch, self._outbox)
        assignment.predecessor = predecessor
        self.by_partition[partition] = assignment
        self._ownership.unreleased[partition] = assignment
        if predecessor is None and self._ownership.on_assigned is None:
            self._accept(assignment)
        else:
            assignment.starting = self._spawn(self._start(assignment))

    def revoke(self, partition: int, epoch: int) -> None:
        """Finish what was delivered, then let go."""
        assignment = self._find(partition, epoch)
        if assignment is not None:
            self._end(assignment, cut=False)

    def cancel(self, partition: int, epoch: int) -> None:
        """Stop what runs: the epoch was cut off."""
        assignment = self._find(partition, epoch)
        if assignment is not None:
            self._end(assignment, cut=True)

    def cut_all(self) -> None:
        """Stop everything: the attachment is gone."""
        for assignment in list(self.by_partition.values()):
            self._end(assignment, cut=True)

    def close(self) -> None:
        """Take nothing more; the sidecar revokes what is still assigned."""
        self.closing = True

    def deliver(self, frame: app_pb2.Deliver) -> None:
        """Put the messages of a frame into their lanes."""
        ids = frame.id[:]
        count = len(ids)
        keys = frame.key[:] or (b"",) * count
        payloads = frame.payload[:] or (b"",) * count
        timeouts = frame.timeout_ms[:] or (0,) * count
        partitions = frame.partition[:] or (0,) * count
        epochs = frame.epoch[:] or (0,) * count
        headers = parse_headers(frame) if frame.headers_at else None
        now_ms = boottime_ms()
        lane_of, schedule = self._lane_of, self._runners.schedule
        by_partition = self.by_partition
        items = zip(ids, partitions, epochs, keys, payloads, timeouts, strict=True)
        for position, (message_id, partition, epoch, key, payload, timeout_ms) in enumerate(items):
            assignment = by_partition.get(partition)
            self._delivered_count += 1
            if assignment is None or assignment.epoch != epoch or not assignment.accepting:
                self._refuse(message_id, Reason.STALE_EPOCH, "this epoch is not served here")
                continue
            if self._delivered_count - self._outbox.results_count > self._credits_max:
                self._refuse(message_id, Reason.OVERLOADED, "more messages than credits")
                continue
            message = Message(
                partition,
                epoch,
                key,
                payload,
                NO_HEADERS if headers is None else headers.get(position, NO_HEADERS),
                now_ms + timeout_ms if timeout_ms else 0,
                message_id,
            )
            assignment.open_count += 1
            lane = lane_of(assignment, message)
            lane.queue.append(message)
            if not lane.scheduled:
                schedule(lane)
        self._runners.wake()

    def _lane_of(self, assignment: Assignment, message: Message) -> Lane:
        name: bytes | int = b""
        if self._by_key:
            name = message.key
        elif self._free:
            name = message.id
        lane = assignment.lanes.get(name)
        if lane is None:
            lane = assignment.lanes[name] = Lane(assignment, name)
        return lane

    def _refuse(self, message_id: int, reason: Reason, text: str) -> None:
        self._outbox.fail(message_id, reason, Executed.NO, text)

    def _find(self, partition: int, epoch: int) -> Assignment | None:
        assignment = self.by_partition.get(partition)
        return assignment if assignment is not None and assignment.epoch == epoch else None

    async def _start(self, assignment: Assignment) -> None:
        if assignment.predecessor is not None:
            await assignment.predecessor.wait_released()
        if await self._call_back(self._ownership.on_assigned, assignment, "on_assigned"):
            self._accept(assignment)
        else:
            self._end(assignment, cut=False)

    def _accept(self, assignment: Assignment) -> None:
        assignment.taken = True
        if not assignment.ending:
            assignment.accepting = True
            self._outbox.start(assignment.partition, assignment.epoch)

    def _end(self, assignment: Assignment, *, cut: bool) -> None:
        """Stop accepting and, if cut, running; release when nothing runs any more."""
        assignment.accepting = False
        if cut and not assignment.cut:
            assignment.cut = True
            if assignment.starting is not None:
                assignment.starting.cancel()
            for lane in assignment.lanes.values():
                if lane.runner is not None:
                    lane.runner.cancel()
            self._runners.look_again()
        if assignment.ending:
            return
        assignment.ending = True
        quiet = assignment.open_count == 0 and assignment.starting is None
        if quiet and self._ownership.on_revoked is None:
            self._release(assignment)
        else:
            self._spawn(self._finish(assignment))

    async def _finish(self, assignment: Assignment) -> None:
        if assignment.starting is not None:
            await asyncio.wait({assignment.starting})
        if assignment.predecessor is not None:
            await assignment.predecessor.wait_released()
        await assignment.wait_idle()
        if assignment.taken:
            await self._call_back(self._ownership.on_revoked, assignment, "on_revoked")
        self._release(assignment)

    def _release(self, assignment: Assignment) -> None:
        assert assignment.open_count == 0
        partition = assignment.partition
        self._outbox.release(partition, assignment.epoch)
        assignment.released = True
        assignment.predecessor = None
        for owned in (self.by_partition, self._ownership.unreleased):
            if owned.get(partition) is assignment:
                del owned[partition]
        if assignment.gone is not None:
            assignment.gone.set_result(None)

    async def _call_back(
        self, callback: AsyncCallback | None, assignment: Assignment, name: str
    ) -> bool:
        """Call the application; tell whether it returned."""
        if callback is None:
            return True
        try:
            async with self._ownership.callbacks:
                await callback(assignment.partition, assignment.epoch)
        except Exception:
            self._ownership.counts.callback_failures += 1
            logger.exception(
                "%s failed for partition %d, epoch %d",
                name,
                assignment.partition,
                assignment.epoch,
            )
            return False
        return True

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name="parti-worker-assignment")
        self._ownership.tasks.add(task)
        task.add_done_callback(self._ownership.tasks.discard)
        task.add_done_callback(self._runners.crash.watch)
        return task


def parse_headers(frame: app_pb2.Deliver) -> dict[int, dict[str, str]]:
    """Return the headers of a frame by position."""
    if len(frame.headers_at) != len(frame.headers):
        raise UnknownOutcome("headers of different length", Reason.MALFORMED_FRAME)
    return {
        position: dict(app_pb2.Headers.FromString(data).values)
        for position, data in zip(frame.headers_at, frame.headers, strict=True)
    }
