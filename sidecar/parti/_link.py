"""The one stream of a client: dials, writes frames, reads results, dials again.

One writer and one reader task per stream. The writer wakes and sends everything queued as one
frame, so batches form by themselves while a frame is being written; nothing lingers. One timer
serves the deadlines of all messages.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
import grpc.aio

from parti import _limits as limits
from parti import _transport as transport
from parti._errors import NotExecuted, PartiError, Reason, UnknownOutcome
from parti._pending import NEVER, Item, Pending
from parti_proto import app_pb2

logger = logging.getLogger("parti.client")


class Link:
    """Keeps one `Router.SendStream` open as long as the client lives."""

    def __init__(self, channel: Any, *, retry: bool) -> None:
        self.loop = asyncio.get_running_loop()
        self.pending = Pending(retry=retry)
        self.welcome: app_pb2.Welcome | None = None  # of the open stream
        self.connects_count = 0
        self._draining = False  # the open stream takes nothing more; the next one does
        self._channel = channel
        self._refusal: PartiError | None = None  # why sending is pointless now
        self._changed = asyncio.Event()  # welcome or refusal changed
        self._wake: asyncio.Future[None] | None = None  # the writer waits for work
        self._sweep_at = NEVER
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._task = self.loop.create_task(self._run(), name="parti-client-link")
        self._task.add_done_callback(self._ended)

    def offer(self, item: Item) -> None:
        """Take a message over; its outcome reaches the item."""
        if self._refusal is not None:
            raise NotExecuted(self._refusal.message, self._refusal.reason)
        self.pending.offer(item)
        if item.deadline < self._sweep_at:
            self._arm_sweep(item.deadline)
        if self._wake is not None:
            self._wake_writer()

    async def wait_ready(self, timeout_s: float) -> app_pb2.Welcome:
        """Wait until a sidecar has welcomed this client."""
        deadline = self.loop.time() + timeout_s
        while self.welcome is None:
            if self._refusal is not None:
                raise NotExecuted(self._refusal.message, self._refusal.reason)
            self._changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                text = f"no sidecar answered within {timeout_s:.3g} s"
                raise NotExecuted(text, Reason.NOT_READY) from None
        return self.welcome

    async def close(self) -> None:
        """End the stream; what has no outcome yet gets one now."""
        closed = NotExecuted("the client is closed", Reason.DRAINING)
        self._refuse(closed)
        self._task.cancel()
        await asyncio.wait({self._task})
        self._refuse(closed)  # also what came back from the stream
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()

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
                    logger.warning("link to the sidecar is down: %s", error)
                await asyncio.sleep(pause_s)

    async def _run_stream(self, backoff: transport.Backoff) -> None:
        """Serve one stream until it ends, which is always by an exception."""
        call = transport.send_stream(self._channel)
        lost: PartiError = UnknownOutcome("the client was closed", Reason.CONNECTION_LOST)
        try:
            self._welcomed(await self._first_frame(call))
            backoff.reset()
            await transport.serve(call, self._write(call), self._read(call))
        except PartiError as error:
            lost = error
            raise
        finally:
            call.cancel()
            self.welcome = None
            self._wake = None
            self.pending.stream_lost(lost)

    async def _first_frame(self, call: Any) -> app_pb2.ResultFrame:
        frame: app_pb2.ResultFrame = await transport.first_frame(call)
        if not frame.HasField("welcome"):
            raise UnknownOutcome("the first frame has no welcome", Reason.MALFORMED_FRAME)
        return frame

    def _welcomed(self, frame: app_pb2.ResultFrame) -> None:
        transport.check_welcome(frame.welcome)
        assert frame.welcome.in_flight_max > 0
        self.welcome = frame.welcome
        self.pending.payload_bytes_max = frame.welcome.payload_bytes_max
        self.connects_count += 1
        self._draining = False
        self._refusal = None
        self._changed.set()

    async def _write(self, call: Any) -> None:
        assert self.welcome is not None
        in_flight_max = self.welcome.in_flight_max
        while not self._draining:
            frame = self.pending.take_frame(self.loop.time(), in_flight_max)
            if frame is not None:
                await call.write(frame)
                continue
            self._wake = self.loop.create_future()
            await self._wake
        await call.done_writing()
        await self.loop.create_future()  # the sidecar ends the stream when all is answered

    async def _read(self, call: Any) -> None:
        while (frame := await call.read()) is not grpc.aio.EOF:
            for item, pause_s in self.pending.answer(frame, self.loop.time()):
                self.loop.call_later(pause_s, self._requeue, item)
            self._draining |= frame.draining
            if self.pending.queued or self._draining:
                self._wake_writer()

    def _requeue(self, item: Item) -> None:
        self.pending.requeue(item)
        self._wake_writer()

    def _wake_writer(self) -> None:
        if self._wake is not None:
            wake, self._wake = self._wake, None
            if not wake.done():
                wake.set_result(None)

    def _refuse(self, error: PartiError) -> None:
        self._refusal = error
        self.pending.refuse_unsent(error)
        self._changed.set()

    def _arm_sweep(self, when: float) -> None:
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        self._sweep_at = when
        self._sweep_timer = self.loop.call_at(when, self._sweep) if when != NEVER else None

    def _sweep(self) -> None:
        now = self.loop.time()
        due = self.pending.expire(now)
        self._arm_sweep(max(due, now + limits.SWEEP_EVERY_MS_MIN / 1000))

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Fail whatever waits if the link died of a bug: nobody may wait for ever."""
        if task.cancelled():
            return
        error = task.exception()
        logger.critical("the link of the client died", exc_info=error)
        self._refuse(NotExecuted(f"the client is broken: {error!r}", Reason.INTERNAL))
