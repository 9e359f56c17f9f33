"""The one stream of a client: what waits goes out as frames, results come back.

All `send`s of one turn of the loop share a frame; nothing lingers. One timer serves the deadlines
of all messages.
"""

from __future__ import annotations

import asyncio
import logging

from parti import _limits as limits
from parti import _transport as transport
from parti._errors import NotExecuted, PartiError, Reason, UnknownOutcome
from parti._pending import NEVER, Item, Pending
from parti._sidecar import Sidecar, decoded
from parti._stream_keeper import StreamKeeper
from parti_proto import app_pb2, stream_pb2
from parti_wire.framing import FrameKind


class Link(StreamKeeper):
    """Keeps one `Router.SendStream` open as long as the client lives."""

    kind = stream_pb2.APP_STREAM_KIND_SEND
    logger = logging.getLogger("parti.client")

    def __init__(self, sidecar: Sidecar, *, retry: bool) -> None:
        super().__init__(sidecar)
        self.pending = Pending(retry=retry)
        self.welcome: app_pb2.Welcome | None = None  # of the open stream
        self.connects_count = 0
        self._draining = False  # the open stream takes nothing more; the next one does
        self._changed = asyncio.Event()  # welcome or refusal changed
        self._sweep_at = NEVER
        self._sweep_timer: asyncio.TimerHandle | None = None

    def offer(self, item: Item) -> None:
        """Take a message over; its outcome reaches the item."""
        if self.refusal is not None:
            self.check_usable()
        self.pending.offer(item)
        if item.deadline < self._sweep_at:
            self._arm_sweep(item.deadline)
        if self.stream is not None:
            self.stream.wake_soon()

    async def wait_ready(self, timeout_s: float) -> app_pb2.Welcome:
        """Wait until a sidecar has welcomed this client."""
        deadline = self.loop.time() + timeout_s
        while self.welcome is None:
            self.check_usable()
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
        await super().close()
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()

    # -- of the stream

    def welcomed(self, greeting: bytes) -> None:
        frame = decoded(app_pb2.ResultFrame, greeting)
        if not frame.HasField("welcome"):
            raise UnknownOutcome("the first frame has no welcome", Reason.MALFORMED_FRAME)
        transport.check_welcome(frame.welcome)
        assert frame.welcome.in_flight_max > 0
        self.welcome = frame.welcome
        self.pending.payload_bytes_max = frame.welcome.payload_bytes_max
        self.connects_count += 1
        self._draining = False
        self._changed.set()

    def take(self) -> bytes | None:
        if self._draining or self.welcome is None:
            return None
        frame = self.pending.take_frame(self.loop.time(), self.welcome.in_flight_max)
        return None if frame is None else frame.SerializeToString()

    def received(self, body: bytes) -> None:
        frame = decoded(app_pb2.ResultFrame, body)
        for item, pause_s in self.pending.answer(frame, self.loop.time()):
            self.loop.call_later(pause_s, self._requeue, item)
        if frame.draining and not self._draining:
            self._draining = True
            assert self.stream is not None
            self.stream.say(FrameKind.DONE)  # the sidecar ends the stream when all is answered
        elif self.pending.queued:
            self.wake()

    def lost(self, error: PartiError) -> None:
        self.welcome = None
        self.pending.stream_lost(error)

    def refuse(self, error: PartiError) -> None:
        self.pending.refuse_unsent(error)
        self._changed.set()

    # -- inside

    def _requeue(self, item: Item) -> None:
        self.pending.requeue(item)
        self.wake()

    def _arm_sweep(self, when: float) -> None:
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        self._sweep_at = when
        self._sweep_timer = self.loop.call_at(when, self._sweep) if when != NEVER else None

    def _sweep(self) -> None:
        now = self.loop.time()
        due = self.pending.expire(now)
        self._arm_sweep(max(due, now + limits.SWEEP_EVERY_MS_MIN / 1000))
