"""One attachment of a worker: the stream from Hello until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from parti import _limits as limits
from parti import _transport as transport
from parti._assignments import Assignments, Concurrency, Ownership
from parti._errors import NotExecuted, PartiError, Reason, UnknownOutcome
from parti._handler import AsyncHandler
from parti._lanes import Runners
from parti._outbox import Outbox
from parti._sidecar import Sidecar, decoded
from parti_proto import app_pb2, stream_pb2
from parti_wire.frame_stream import FrameStream
from parti_wire.framing import FrameKind


class Attachment:
    """Connects one stream with the assignments it brings. When it ends, all of them are cut."""

    def __init__(
        self,
        handler: AsyncHandler,
        ownership: Ownership,
        hello: app_pb2.Hello,
        concurrency: Concurrency,
    ) -> None:
        self.welcomed = False
        self.outbox = Outbox(self._wake)
        self.runners = Runners(handler, ownership.counts)
        self.assignments = Assignments(
            ownership, self.outbox, self.runners, concurrency, hello.credits
        )
        self._hello = hello
        self._on_welcome: Callable[[], None] = lambda: None
        self._stream: FrameStream | None = None
        self._done = False  # this side says nothing more
        self._late: asyncio.TimerHandle | None = None

    async def serve(self, sidecar: Sidecar, on_welcome: Callable[[], None]) -> None:
        """Serve until everything was handed over; raises when the stream ends before that."""
        self._on_welcome = on_welcome
        first = app_pb2.WorkerFrame(hello=self._hello).SerializeToString()
        kind = stream_pb2.APP_STREAM_KIND_WORKER
        tasks = {
            asyncio.ensure_future(sidecar.run_stream(self, kind, first)),
            asyncio.ensure_future(self.runners.crash.wait()),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self.assignments.cut_all()
            self.runners.close()
        for task in done:
            self._conclude(task)

    def close(self) -> None:
        """Ask the sidecar to take everything back; `serve` returns when it has."""
        if self.welcomed and not self.assignments.closing:
            self.outbox.close()
            self.assignments.close()

    # -- of the stream

    def opened(self, stream: FrameStream, greeting: bytes) -> None:
        frame = decoded(app_pb2.SidecarFrame, greeting)
        if not frame.HasField("welcome"):
            raise UnknownOutcome("the first frame has no welcome", Reason.MALFORMED_FRAME)
        transport.check_welcome(frame.welcome)
        self.runners.payload_bytes_max = frame.welcome.payload_bytes_max
        self.welcomed = True
        self._stream = stream
        self._handle(frame)
        self._on_welcome()

    def received(self, body: bytes) -> None:
        self._handle(decoded(app_pb2.SidecarFrame, body))
        self._wake()

    def take(self) -> bytes | None:
        frame = self.outbox.take()
        if frame is not None:
            return frame.SerializeToString()
        if self._handed_over() and not self._done:
            assert self._stream is not None
            self._done = True
            self._stream.say(FrameKind.DONE)  # the sidecar ends the stream
            self._late = asyncio.get_running_loop().call_later(
                limits.CLOSE_MS_MAX / 1000, self._stream.close
            )
        return None

    def closed(self) -> None:
        self.welcomed = False
        self._stream = None
        if self._late is not None:
            self._late.cancel()

    # -- inside

    def _wake(self) -> None:
        if self._stream is not None:
            self._stream.wake_soon()

    def _conclude(self, task: asyncio.Future[None]) -> None:
        try:
            task.result()
        except PartiError:
            if not self._handed_over():
                raise

    def _handed_over(self) -> bool:
        return self.assignments.closing and not self.assignments.by_partition

    def _handle(self, frame: app_pb2.SidecarFrame) -> None:
        """Take the parts of a frame in the order of their fields."""
        assignments = self.assignments
        if frame.HasField("lease"):
            self.runners.prolong(frame.lease.until_boottime_ms)
        for assign in frame.assign:
            assignments.assign(assign.partition, assign.epoch)
        if frame.HasField("deliver"):
            assignments.deliver(frame.deliver)
        for cancel in frame.cancel:
            assignments.cancel(cancel.partition, cancel.epoch)
        for revoke in frame.revoke:
            assignments.revoke(revoke.partition, revoke.epoch)
        if frame.closed and not assignments.closing:
            # Attaching again would take the partitions from whoever replaced this worker.
            raise NotExecuted(f"the sidecar lets this worker go: {frame.closed}", Reason.CONFLICT)
