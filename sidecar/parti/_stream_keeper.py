"""Keeps one stream to the sidecar open: serves it, and after its end another one, until closed.

After a failure it pauses, longer each time and by a random share. While the sidecar refuses this
client for what it is, whatever wants to use the stream is refused at once, and it goes on trying.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import ClassVar

from parti._errors import NotExecuted, PartiError, Reason, UnknownOutcome
from parti._sidecar import Sidecar
from parti._transport import Backoff, lasting
from parti_proto import stream_pb2
from parti_wire.frame_stream import FrameStream


class StreamKeeper(ABC):
    """Kinds say what runs on the stream."""

    kind: ClassVar[stream_pb2.AppStreamKind]
    logger: ClassVar[logging.Logger]

    def __init__(self, sidecar: Sidecar) -> None:
        self.loop = asyncio.get_running_loop()
        self.stream: FrameStream | None = None  # accepted, and not over
        self.refusal: PartiError | None = None  # why using the stream is pointless now
        self._sidecar = sidecar
        self._backoff = Backoff()
        self._task = self.loop.create_task(self._run(), name="parti-stream")
        self._task.add_done_callback(self._ended)

    # -- what a kind says

    @abstractmethod
    def welcomed(self, greeting: bytes) -> None:
        """Read the sidecar's first words; may raise why it cannot be spoken with."""

    @abstractmethod
    def received(self, body: bytes) -> None:
        """Take a frame."""

    @abstractmethod
    def take(self) -> bytes | None:
        """Give the next frame; None for nothing now."""

    @abstractmethod
    def lost(self, error: PartiError) -> None:
        """A stream has ended, or none could be opened: what was sent has no answer."""

    @abstractmethod
    def refuse(self, error: PartiError) -> None:
        """Nothing can be sent: what waits has this outcome."""

    # -- for a kind

    def wake(self) -> None:
        """There is something to send; what else comes up in this turn of the loop goes along."""
        if self.stream is not None:
            self.stream.wake_soon()

    def check_usable(self) -> None:
        """Raise if using the stream is pointless."""
        if self.refusal is not None:
            raise NotExecuted(self.refusal.message, self.refusal.reason)

    async def close(self) -> None:
        """End the stream; what has no outcome yet gets one now."""
        closed = NotExecuted("the client is closed", Reason.DRAINING)
        self._refuse(closed)
        self._task.cancel()
        await asyncio.wait({self._task})
        self._refuse(closed)  # also what came back from the stream

    # -- what the stream tells

    def opened(self, stream: FrameStream, greeting: bytes) -> None:
        self.refusal = None
        self.welcomed(greeting)
        self._backoff.reset()
        self.stream = stream
        stream.wake_soon()

    def closed(self) -> None:
        self.stream = None

    # -- inside

    async def _run(self) -> None:
        while True:
            lost: PartiError = UnknownOutcome("the client ended it", Reason.CONNECTION_LOST)
            try:
                await self._sidecar.run_stream(self, self.kind)
            except PartiError as error:
                lost = error
            finally:
                self.lost(lost)
            if lasting(lost):
                self._refuse(lost)
            pause_s = self._backoff.next_s()
            if self._backoff.failures == 1:
                self.logger.warning("the stream to the sidecar is down: %s", lost)
            await asyncio.sleep(pause_s)

    def _refuse(self, error: PartiError) -> None:
        self.refusal = error
        self.refuse(error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Fail whatever waits if the stream died of a bug: nobody may wait for ever."""
        if task.cancelled():
            return
        error = task.exception()
        self.logger.critical("the stream to the sidecar died of a bug", exc_info=error)
        self._refuse(NotExecuted(f"the client is broken: {error!r}", Reason.INTERNAL))
