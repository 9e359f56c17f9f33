"""Lanes and the runners that serve them: how messages become calls of the handler.

A lane is a queue whose messages run one after the other: of a partition, of a key, or of a
single message, by the worker's concurrency. A runner is a task that takes ready lanes and awaits
the handler directly, message by message. Before it begins a lane it makes sure that another
runner is woken for the remaining ones. So handlers that do not suspend are all served by one
task within one turn of the loop, and one that does suspends nobody but its own lane.

There are never more busy runners than messages the worker granted credits for.

While the lease is over nothing starts: lanes wait, without a runner, for the next lease or for the
end of their epoch. Refusing what was delivered would break the order of messages, because what
comes behind may be on its way already, with a new lease.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from parti import _limits as limits
from parti._errors import Executed, Reason
from parti._handler import AsyncHandler, HandlerResult
from parti._values import LEASE_CLOCK, Message, WorkerCounts, boottime_ms

if TYPE_CHECKING:
    from parti._assignments import Assignment

logger = logging.getLogger("parti.worker")

RUNNERS_IDLE_MAX: Final = 64


class Crash:
    """The first bug that ended a task of the attachment; it ends the worker."""

    def __init__(self) -> None:
        self._error: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def watch(self, task: asyncio.Task[None]) -> None:
        """Look at a task that has ended."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._error.done():
            self._error.set_exception(error)

    async def wait(self) -> None:
        """Raise the bug, when there is one."""
        await self._error


class Lane:
    """Messages that run one after the other."""

    __slots__ = ("assignment", "name", "queue", "runner", "scheduled")

    def __init__(self, assignment: Assignment, name: bytes | int) -> None:
        self.assignment = assignment
        self.name = name
        self.queue: deque[Message] = deque()
        self.scheduled = False  # ready, or being run
        self.runner: asyncio.Task[None] | None = None


class Runners:
    """The tasks that run lanes of one attachment, as many as handlers are suspended."""

    def __init__(self, handler: AsyncHandler, counts: WorkerCounts) -> None:
        self._lease_until_ms = 0  # fails closed: nothing starts before a lease has come
        self.crash = Crash()
        self.payload_bytes_max = limits.GRPC_MESSAGE_BYTES_MAX // 2  # until a sidecar says it
        self._handler = handler
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._ready: deque[Lane] = deque()
        self._unleased: list[Lane] = []  # scheduled, waiting for a lease
        self._idle: list[asyncio.Future[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._waking = False  # a runner is about to look at the ready lanes
        self._log_after_ms = 0
        self._slice_until_ms = 0  # of the running turn of the loop; 0: it has just begun
        self._closed = False

    def schedule(self, lane: Lane) -> None:
        """Put a lane with messages in line; call `wake` afterwards."""
        lane.scheduled = True
        self._ready.append(lane)

    def wake(self) -> None:
        """Make sure that a runner looks at the ready lanes."""
        if self._waking or not self._ready:
            return
        self._waking = True
        while self._idle:
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)
                return
        task = self._loop.create_task(self._run(), name="parti-worker-runner")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def prolong(self, lease_until_ms: int) -> None:
        """Take over a new lease, whether or not it is over already."""
        self._lease_until_ms = lease_until_ms
        self.look_again()

    def look_again(self) -> None:
        """Let the lanes that wait for a lease see what has changed."""
        self._ready.extend(self._unleased)
        self._unleased.clear()
        self.wake()

    def close(self) -> None:
        """End the runners that are idle; the others end with their cancelled lanes."""
        self._closed = True
        for idle in self._idle:
            idle.cancel()
        self._idle.clear()

    async def _run(self) -> None:
        runner = asyncio.current_task()  # a slow question, so it is asked once
        while True:
            self._waking = False
            self._slice_until_ms = 0
            while self._ready:
                lane = self._ready.popleft()
                if self._ready:
                    self.wake()
                lane.runner = runner
                await self._run_lane(lane)
            if self._closed or len(self._idle) >= RUNNERS_IDLE_MAX:
                return
            idle = self._loop.create_future()
            self._idle.append(idle)
            await idle

    async def _run_lane(self, lane: Lane) -> None:
        """Run the messages of a lane until there are none, or no lease."""
        queue, assignment = lane.queue, lane.assignment
        handler, outbox = self._handler, assignment.outbox
        while queue:
            now_ms = time.clock_gettime_ns(LEASE_CLOCK) // 1_000_000
            if now_ms > self._slice_until_ms:
                now_ms = await self._begin_slice(lane)
            if now_ms >= self._lease_until_ms and not assignment.cut:
                lane.runner = None
                self._unleased.append(lane)
                return
            message = queue.popleft()
            deadline_ms = message.deadline_ms
            if assignment.cut or (deadline_ms and now_ms >= deadline_ms):
                self._refuse(assignment, message)
                continue
            try:
                result = await handler(message)
            except Exception as error:  # noqa: BLE001 - whatever the application raises
                self._failed(assignment, message, error)
            except asyncio.CancelledError as error:
                self._interrupted(lane, message, error)
            else:
                if type(result) is bytes and len(result) <= self.payload_bytes_max:
                    outbox.succeed(message.id, result)
                else:
                    self._finish(assignment, message, result)
            assignment.open_count -= 1
            if assignment.ending:
                assignment.check_idle()
        _leave(lane)

    async def _begin_slice(self, lane: Lane) -> int:
        """Between two slices of one turn let results, leases and other lanes through.

        Returns the time after that: the lease may have lapsed meanwhile.
        """
        try:
            if self._slice_until_ms:
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            if not lane.assignment.cut:
                raise
            forget_cancellation(lane)
        now_ms = boottime_ms()
        self._slice_until_ms = now_ms + limits.WORKER_SLICE_MS
        return now_ms

    def _refuse(self, assignment: Assignment, message: Message) -> None:
        """Answer a message that may not start any more."""
        reason, text = Reason.DEADLINE_EXCEEDED, "its time was over before it could start"
        if assignment.cut:
            reason, text = Reason.STALE_EPOCH, "its epoch was cut off before it could start"
        assignment.outbox.fail(message.id, reason, Executed.NO, text)
        assignment.open_count -= 1
        assignment.check_idle()

    def _failed(self, assignment: Assignment, message: Message, error: BaseException) -> None:
        """Answer with what the handler raised; log it, but not every time."""
        self._counts.handler_failures += 1
        now_ms = time.monotonic_ns() // 1_000_000
        if now_ms >= self._log_after_ms:
            self._log_after_ms = now_ms + limits.FAILURE_LOG_EVERY_MS
            logger.error(
                "handler failed for partition %d (failure %d of this worker)",
                message.partition,
                self._counts.handler_failures,
                exc_info=error,
            )
        text = f"{type(error).__name__}: {error}"
        assignment.outbox.fail(message.id, Reason.HANDLER_FAILED, Executed.YES, text)

    def _interrupted(self, lane: Lane, message: Message, error: asyncio.CancelledError) -> None:
        """Tell our cancellation of a cut epoch from the loop's end and the handler's own doing."""
        assert lane.runner is not None
        if not lane.runner.cancelling():
            self._failed(lane.assignment, message, error)
            return
        if not lane.assignment.cut:
            raise error
        forget_cancellation(lane)
        text = "its epoch was cut off while it ran"
        lane.assignment.outbox.fail(message.id, Reason.OWNER_LOST, Executed.UNKNOWN, text)

    def _finish(self, assignment: Assignment, message: Message, result: HandlerResult) -> None:
        """Answer with a result that is not plain bytes of a good size."""
        payload = result.encode() if isinstance(result, str) else result
        if payload is None:
            payload = b""
        if not isinstance(payload, bytes):
            text = f"the handler must return bytes, str or None, not {type(result).__name__}"
            self._failed(assignment, message, TypeError(text))
        elif len(payload) > self.payload_bytes_max:
            text = f"a reply of {len(payload)} bytes, the limit is {self.payload_bytes_max}"
            self._failed(assignment, message, ValueError(text))
        else:
            assignment.outbox.succeed(message.id, payload)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.crash.watch(task)


def _leave(lane: Lane) -> None:
    """A lane without messages is forgotten."""
    if lane.assignment.cut:
        forget_cancellation(lane)
    lane.runner = None
    lane.scheduled = False
    lane.assignment.lanes.pop(lane.name, None)


def forget_cancellation(lane: Lane) -> None:
    """Make a runner usable again after its lane was cut."""
    assert lane.runner is not None
    while lane.runner.cancelling():
        lane.runner.uncancel()
