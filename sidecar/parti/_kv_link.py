"""The stream of a client to the key-value store: operations go out as frames, answers come back.

What calls come together in one turn of the loop share a frame. What was not answered when a stream
breaks is sent again on the next.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sized

from parti import _limits as limits
from parti._errors import NotExecuted, PartiError, Reason, UnknownOutcome
from parti._kv_pending import Answer, Pending, Write, Writes
from parti._sidecar import Sidecar, decoded
from parti._stream_keeper import StreamKeeper
from parti_proto import kv_pb2, stream_pb2


class KvLink(StreamKeeper):
    """Keeps one `KV.Stream` open from the first operation on."""

    kind = stream_pb2.APP_STREAM_KIND_KV
    logger = logging.getLogger("parti.kv")

    def __init__(self, sidecar: Sidecar) -> None:
        super().__init__(sidecar)
        self.pending = Pending()
        self._resume: asyncio.TimerHandle | None = None  # after a pause that the store asked for
        self._sweep = self.loop.create_task(self._expire(), name="parti-kv-sweep")

    def check_open(self, queue: Sized) -> None:
        """Raise if asking is pointless, or too much waits in the queue already."""
        self.check_usable()
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
        self.wake()
        return future

    async def close(self) -> None:
        """End the stream; what has no outcome yet gets one now."""
        self._sweep.cancel()
        await asyncio.wait({self._sweep})
        await super().close()
        if self._resume is not None:
            self._resume.cancel()

    # -- of the stream

    def welcomed(self, greeting: bytes) -> None:
        frame = decoded(kv_pb2.KvAnswers, greeting)
        if not frame.HasField("welcome"):
            raise UnknownOutcome("the first frame has no welcome", Reason.MALFORMED_FRAME)
        if frame.welcome.protocol_version != limits.PROTOCOL_VERSION:
            text = f"the sidecar speaks protocol {frame.welcome.protocol_version}"
            raise NotExecuted(text, Reason.PROTOCOL_VERSION)
        self.pending.window = frame.welcome.window
        self.pending.reads_max = frame.welcome.reads_max

    def take(self) -> bytes | None:
        now = self.loop.time()
        frame = self.pending.take_frame(now)
        if frame is not None:
            return frame.SerializeToString()
        if self.pending.paused_until > now and self._resume is None:
            self._resume = self.loop.call_at(self.pending.paused_until, self._pause_over)
        return None

    def received(self, body: bytes) -> None:
        self.pending.answer(decoded(kv_pb2.KvAnswers, body), self.loop.time())
        self.wake()

    def lost(self, error: PartiError) -> None:  # noqa: ARG002 - the next stream may be better
        self.pending.stream_lost()

    def refuse(self, error: PartiError) -> None:
        self.pending.refuse_all(error)

    # -- inside

    def _pause_over(self) -> None:
        self._resume = None
        self.wake()

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(limits.KV_SWEEP_MS / 1000)
            self.pending.expire(self.loop.time())
