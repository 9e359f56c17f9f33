"""One attachment of a worker: the stream from Hello until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from parti import _limits as limits
from parti import _transport as transport
from parti._assignments import Assignments, Concurrency, Ownership
from parti._errors import NotExecuted, PartiError, Reason, UnknownOutcome
from parti._handler import AsyncHandler
from parti._lanes import Runners
from parti._outbox import Outbox
from parti_proto import app_pb2


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
        self.outbox = Outbox()
        self.runners = Runners(handler, ownership.counts)
        self.assignments = Assignments(
            ownership, self.outbox, self.runners, concurrency, hello.credits
        )
        self._hello = hello

    async def serve(self, channel: Any, on_welcome: Callable[[], None]) -> None:
        """Serve until everything was handed over; raises when the stream ends before that."""
        call = transport.attach_stream(channel)
        try:
            await self._greet(call)
            on_welcome()
            crash = self.runners.crash.wait()
            await transport.serve(call, self._write(call), self._read(call), crash)
        except PartiError:
            if self._handed_over():
                return
            raise
        finally:
            call.cancel()
            self.welcomed = False
            self.assignments.cut_all()
            self.runners.close()

    def close(self) -> None:
        """Ask the sidecar to take everything back; `serve` returns when it has."""
        if self.welcomed and not self.assignments.closing:
            self.outbox.close()
            self.assignments.close()

    def _handed_over(self) -> bool:
        return self.assignments.closing and not self.assignments.by_partition

    async def _greet(self, call: Any) -> None:
        greeting = asyncio.ensure_future(call.write(app_pb2.WorkerFrame(hello=self._hello)))
        try:
            frame = await transport.first_frame(call)
        finally:
            await transport.settle(greeting)
        if not frame.HasField("welcome"):
            raise UnknownOutcome("the first frame has no welcome", Reason.MALFORMED_FRAME)
        transport.check_welcome(frame.welcome)
        self.runners.payload_bytes_max = frame.welcome.payload_bytes_max
        self.welcomed = True
        self._handle(frame)

    async def _write(self, call: Any) -> None:
        while True:
            frame = self.outbox.take()
            if frame is not None:
                await call.write(frame)
            elif self._handed_over():
                await call.done_writing()
                await asyncio.sleep(limits.CLOSE_MS_MAX / 1000)  # the sidecar ends the stream
                return
            else:
                await self.outbox.wait()

    async def _read(self, call: Any) -> None:
        while (frame := await call.read()) is not grpc.aio.EOF:
            self._handle(frame)

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
