"""The stream of a client to the key-value store: dials, writes frames, reads answers, dials again.

One writer and one reader task; what calls come together while a frame is being written share the
next one. What was not answered when a stream breaks is sent again on the next.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sized
from typing import Any

import grpc
import grpc.aio

from parti import _limits as limits
from parti import _transport as transport
from parti._errors import NotExecuted, PartiError, Reason, UnknownOutcome
from parti._kv_pending import Answer, Pending, Write, Writes
from parti_proto import kv_pb2

logger = logging.getLogger("parti.kv")


class KvLink:
    """Keeps one `KV.Stream` open from the first operation on."""

    def __init__(self, channel: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.pending = Pending()
        self.channel = channel
        self._refusal: PartiError | None = None  # why asking is pointless now
        self._wake: asyncio.Future[None] | None = None  # the writer waits for work
        self._sweep = self.loop.create_task(self._expire(), name="parti-kv-sweep")
        self._task = self.loop.create_task(self._run(), name="parti-kv-link")
        self._task.add_done_callback(self._ended)

    def wake(self) -> None:
        """There is something to send."""
        wake = self._wake
        if wake is not None:
            self._wake = None
            if not wake.done():
                wake.set_result(None)

    def check_open(self, queue: Sized) -> None:
        """Raise if asking is pointless, or too much waits in the queue already."""
        if self._refusal is not None:
            raise NotExecuted(self._refusal.message, self._refusal.reason)
        if len(queue) >= limits.UNSETTLED_ITEMS_MAX:
            text = f"this client already waits for {limits.UNSETTLED_ITEMS_MAX} operations"
            raise NotExecuted(text, Reason.OVERLOADED, retry_after_ms=limits.RETRY_DELAY_MS)

    def offer(
        self, writes: Writes, op: int, key: bytes, value: bytes, expect: int, timeout_s: float
    ) -> asyncio.Future[Answer]:
        """Take a write of a session over; gives its answer."""
        self.check_open(writes.queued)
        loop = self.loop
        future: asyncio.Future[Answer] = loop.create_future()
        writes.queued.append(Write(op, key, value, expect, loop.time() + timeout_s, future))
        if self._wake is not None:
            self.wake()
        return future

    async def close(self) -> None:
        """End the stream; what has no outcome yet gets one now."""
        self._refuse(NotExecuted("the client is closed", Reason.DRAINING))
        tasks = {self._task, self._sweep}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        self._refuse(NotExecuted("the client is closed", Reason.DRAINING))

    async def _run(self) -> None:
        backoff = transport.Backoff()
        while True:
            try:
                await self._run_stream(backoff)
            except PartiError as error:
                if transport.lasting(error):
                    self._refuse(error)
                pause_s = backoff.next_s()
                if backoff.failures == 1:
                    logger.warning("link to the store is down: %s", error)
                await asyncio.sleep(pause_s)

    async def _run_stream(self, backoff: transport.Backoff) -> None:
        """Serve one stream until it ends, which is always by an exception."""
        call = transport.kv_stream(self.channel)
        try:
            self._welcomed(await transport.first_frame(call))
            backoff.reset()
            await transport.serve(call, self._write(call), self._read(call))
        finally:
            call.cancel()
            self._wake = None
            self.pending.stream_lost()

    def _welcomed(self, frame: kv_pb2.KvAnswers) -> None:
        if not frame.HasField("welcome"):
            raise UnknownOutcome("the first frame has no welcome", Reason.MALFORMED_FRAME)
        if frame.welcome.protocol_version != limits.PROTOCOL_VERSION:
            text = f"the sidecar speaks protocol {frame.welcome.protocol_version}"
            raise NotExecuted(text, Reason.PROTOCOL_VERSION)
        self.pending.window = frame.welcome.window
        self.pending.reads_max = frame.welcome.reads_max
        self._refusal = None

    async def _write(self, call: Any) -> None:
        pending = self.pending
        while True:
            now = self.loop.time()
            frame = pending.take_frame(now)
            if frame is not None:
                await call.write(frame)
                continue
            self._wake = self.loop.create_future()
            if pending.paused_until > now:
                self.loop.call_at(pending.paused_until, self.wake)
            await self._wake

    async def _read(self, call: Any) -> None:
        pending = self.pending
        while (frame := await call.read()) is not grpc.aio.EOF:
            pending.answer(frame, self.loop.time())
            if self._wake is not None:
                self.wake()

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(limits.KV_SWEEP_MS / 1000)
            self.pending.expire(self.loop.time())

    def _refuse(self, error: PartiError) -> None:
        self._refusal = error
        self.pending.refuse_all(error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Fail whatever waits if the link died of a bug: nobody may wait for ever."""
        if task.cancelled():
            return
        error = task.exception()
        logger.critical("the link to the store died", exc_info=error)
        self._refuse(NotExecuted(f"the client is broken: {error!r}", Reason.INTERNAL))
