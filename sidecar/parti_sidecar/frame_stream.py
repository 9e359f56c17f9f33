"""One open stream of frames between two members, without a task or a waiting call per frame.

What is received goes to the user of the stream in the turn of the event loop that read it. What is
to be sent is taken from the user when he says that there is something: at once, if nothing was
taken in this turn of the loop; otherwise in the next one, so that what comes up meanwhile shares a
frame. While the transport holds more than it should nothing is taken, so what is hidden below here
is bounded and batches form by themselves under load.

A stream ends once, with a reason, which its user is told. If this side has the reason the other one
is told in a last frame; then nothing is heard any more, but the bytes are still read for a moment:
unread bytes would make the kernel destroy the last frame on its way.

A peer that is gone, frozen or cut off looks like a silent one: whoever hears nothing for a while
asks, and gives the stream up if there is no answer. Time is counted in looks and not by the clock,
because a process that was stopped itself finds its peers' answers only after it has looked.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from parti_proto import errors_pb2
from parti_shard.errors import Executed, Failure, PartiError, Reason
from parti_sidecar.framing import FrameKind, FrameSplitter, framed
from parti_sidecar.status import INTERNAL_TEXT, detail_of, failure_from
from parti_sidecar.streams import WRITE_STALL_MS, StreamBrokenError, decoded
from parti_sidecar.transport import tune_stream

LOOK_EVERY_MS = 1_000
PING_AFTER_MS = 5_000  # of silence
PING_ANSWER_MS = 2_000
LINGER_MS = 1_000  # a last frame and the peer's end of the connection may take so long


class StreamEndedError(StreamBrokenError):
    """The other side ended the stream without a word; a killed process does the same."""

    def __init__(self) -> None:
        super().__init__("the other side ended the stream")


class StreamUser(Protocol):
    """Who a stream is for. What a method raises ends the stream; `ended` is the last call."""

    def connected(self, stream: FrameStream) -> None:
        """The connection is there; nothing was said yet."""
        ...

    def introduced(self, kind: FrameKind, body: bytes) -> None:
        """A HELLO or ACCEPTED was received."""
        ...

    def received(self, body: bytes) -> None:
        """A DATA frame was received."""
        ...

    def take(self) -> bytes | None:
        """Give the body of the next DATA frame; None for nothing now."""
        ...

    def ended(self, error: Exception) -> None:
        """The stream is over: a PartiError, or the bug that one of these methods raised."""
        ...


class FrameStream(asyncio.Protocol):
    """One side of a stream. `closed` is done when nothing of the connection is left."""

    def __init__(self, user: StreamUser, *, bytes_max: int) -> None:
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._user = user
        self._splitter = FrameSplitter(bytes_max)
        self._transport: asyncio.Transport | None = None
        self._over = False
        self._timer: asyncio.TimerHandle | None = None  # the next look; after the end: the last act
        self._paused = False
        self._pumped = False  # in this turn of the loop
        self._woken = False  # after that
        self._heard = False  # since the last look
        self._silent_ms = 0
        self._stalled_ms = 0
        self._unwritten_bytes = 0  # at the last look

    # -- for the user

    def say(self, kind: FrameKind, body: bytes = b"") -> None:
        """Send one frame that is not taken, at once."""
        if not self._over and self._transport is not None:
            self._transport.write(framed(kind, body))

    def accept_frames_of(self, bytes_max: int) -> None:
        """Take frames up to this size from now on."""
        self._splitter.bytes_max = bytes_max

    def wake(self) -> None:
        """Say that there may be something to take."""
        if self._pumped:
            self._woken = True
        else:
            self._pump()

    def end(self, failure: Failure) -> None:
        """Tell the other side why the stream ends, and end it."""
        self._fail(PartiError(failure))

    def close(self) -> None:
        """End the stream without a word."""
        self._conclude(StreamEndedError())
        self._hang_up()

    # -- for the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has other ancestors
        tune_stream(self._transport)
        self._timer = self._loop.call_later(LOOK_EVERY_MS / 1000, self._look)
        try:
            self._user.connected(self)
        except Exception as error:  # noqa: BLE001 - `ended` tells what it was
            self._fail(error)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._over:
            return
        try:
            for kind, body in self._splitter.feed(data):
                self._take_in(kind, body)
                if self._over:
                    return
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)

    def eof_received(self) -> bool:
        """Have the transport closed, with what it still holds."""
        self._conclude(StreamEndedError())
        self._hang_up()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        lost = StreamEndedError() if error is None else StreamBrokenError(f"broken: {error}")
        self._conclude(lost)
        self._disarm()
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.wake()

    # -- reading

    def _take_in(self, kind: FrameKind, body: bytes) -> None:
        if kind is FrameKind.DATA:
            self._user.received(body)
        elif kind is FrameKind.PING:
            if not self._paused:  # whoever asks and does not listen gets no heap of answers
                self.say(FrameKind.PONG)
        elif kind is FrameKind.END:
            self._conclude(PartiError(failure_from(decoded(errors_pb2.ErrorDetail, body))))
            self._hang_up()
        elif kind is not FrameKind.PONG:
            self._user.introduced(kind, body)

    # -- writing

    def _pump(self) -> None:
        """Take and write as long as there is something and the transport wants it."""
        transport = self._transport
        if self._over or self._paused or transport is None:
            return
        self._pumped = True
        self._loop.call_soon(self._turn_over)
        try:
            while not self._paused:
                body = self._user.take()
                if body is None:
                    return
                transport.write(framed(FrameKind.DATA, body))
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)

    def _turn_over(self) -> None:
        self._pumped = False
        if self._woken:
            self._woken = False
            self._pump()

    # -- liveness

    def _look(self) -> None:
        self._timer = self._loop.call_later(LOOK_EVERY_MS / 1000, self._look)
        if self._paused:
            self._look_for_stall()
        else:
            self._look_for_silence()
        self._heard = False

    def _look_for_stall(self) -> None:
        """A ping would stand behind what the other side does not take."""
        assert self._transport is not None
        unwritten_bytes = self._transport.get_write_buffer_size()
        stuck = unwritten_bytes >= self._unwritten_bytes
        self._silent_ms = 0
        self._stalled_ms = self._stalled_ms + LOOK_EVERY_MS if stuck else 0
        self._unwritten_bytes = unwritten_bytes
        if self._stalled_ms >= WRITE_STALL_MS:
            self._give_up("the other side takes no frames")

    def _look_for_silence(self) -> None:
        self._stalled_ms = self._unwritten_bytes = 0
        self._silent_ms = 0 if self._heard else self._silent_ms + LOOK_EVERY_MS
        if self._silent_ms >= PING_AFTER_MS + PING_ANSWER_MS:
            self._give_up(f"nothing was heard for {self._silent_ms} ms")
        elif self._silent_ms >= PING_AFTER_MS:
            self.say(FrameKind.PING)

    def _give_up(self, text: str) -> None:
        self._conclude(StreamBrokenError(text))
        assert self._transport is not None
        self._transport.abort()

    # -- the end

    def _fail(self, error: Exception) -> None:
        """End the stream for a reason of this side."""
        if self._over:
            return
        failure = Failure(Reason.INTERNAL, Executed.UNKNOWN, INTERNAL_TEXT)
        if isinstance(error, PartiError):
            failure = error.failure
        self.say(FrameKind.END, detail_of(failure).SerializeToString())
        self._conclude(error)
        assert self._transport is not None
        self._transport.write_eof()
        self._arm_abort()

    def _conclude(self, error: Exception) -> None:
        if not self._over:
            self._over = True
            self._disarm()
            self._user.ended(error)

    def _hang_up(self) -> None:
        """Close the connection; what is still to be written has a moment to go out."""
        if self._transport is not None and not self.closed.done():
            self._transport.close()
            self._arm_abort()

    def _arm_abort(self) -> None:
        self._disarm()
        assert self._transport is not None
        self._timer = self._loop.call_later(LINGER_MS / 1000, self._transport.abort)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
