"""One open stream of frames between two processes, without a task or a waiting call per frame.

What is received goes to the user of the stream in the turn of the event loop that read it. What is
to be sent is taken from the user when he says that there is something: at once, if nothing was
taken in this turn of the loop; otherwise in the next one, so that what comes up meanwhile shares a
frame. Who is about to have more in the same turn says `wake_soon`. While the transport holds more
than it should nothing is taken, so what is hidden below here is bounded and batches form by
themselves under load.

A stream ends once, with a reason, which its user is told. If this side has the reason the other one
is told in a last frame; then nothing is heard any more, but the bytes are still read for a moment:
unread bytes would make the kernel destroy the last frame on its way.

A peer that is gone, frozen or cut off looks like a silent one: whoever hears nothing for a while
asks, and gives the stream up if there is no answer. Time is counted in looks and not by the clock,
because a process that was stopped itself finds its peers' answers only after it has looked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Protocol, cast

from google.protobuf.message import DecodeError

from parti_proto import errors_pb2
from parti_wire.errors import BadFrameError, Side, WireError, broken
from parti_wire.framing import FrameKind, FrameSplitter, framed
from parti_wire.sockets import tune

LOOK_EVERY_MS = 1_000
PING_AFTER_MS = 5_000  # of silence
WRITE_STALL_MS = 10_000  # a peer that takes nothing for so long is given up
LINGER_MS = 1_000  # a last frame and the peer's end of the connection may take so long


class StreamUser(Protocol):
    """Who a stream is for. What a method raises ends the stream; `ended` is the last call."""

    def connected(self, stream: FrameStream) -> None:
        """The connection is there; nothing was said yet."""
        ...

    def said(self, kind: FrameKind, body: bytes) -> None:
        """A HELLO, ACCEPTED or DONE was received."""
        ...

    def received(self, body: bytes) -> None:
        """A DATA frame was received."""
        ...

    def take(self) -> bytes | None:
        """Give the body of the next DATA frame; None for nothing now."""
        ...

    def ended(self, error: Exception) -> None:
        """The stream is over: an error of this side's own, or the bug a method above raised."""
        ...


class FrameStream(asyncio.Protocol):
    """One side of a stream. `closed` is done when nothing of the connection is left."""

    def __init__(self, user: StreamUser, side: Side, *, bytes_max: int) -> None:
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.ended_silently = False  # without a word; a killed process does the same
        self._user = user
        self._side = side
        self._splitter = FrameSplitter(bytes_max)
        self._frames: Iterator[tuple[FrameKind, bytes]] = iter(())  # received, not looked at
        self._held = False  # what comes in is left alone
        self._deaf = False  # nothing comes in
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

    def wake_soon(self) -> None:
        """Say that there is something to take, once this turn of the loop has added its rest."""
        if not self._pumped:
            self._pumped = True
            self._loop.call_soon(self._turn_over)
        self._woken = True

    def hold(self) -> None:
        """Take no more frames in until `go_on`; the other side will notice."""
        if not self._held and not self._over:
            assert self._transport is not None
            self._held = True
            if not self._deaf:
                self._deaf = True
                self._transport.pause_reading()

    def go_on(self) -> None:
        """Take frames in again."""
        if self._held:
            self._held = False
            self._loop.call_soon(self._read_on)

    def end(self, error: Exception) -> None:
        """Tell the other side why the stream ends, and end it."""
        self._fail(error)

    def finish(self) -> None:
        """End the stream without a word; what was said arrives."""
        if not self._over:
            self._conclude_silently()
            self._half_close()

    def close(self) -> None:
        """End the stream without a word, and the connection with it."""
        self._conclude_silently()
        self._hang_up()

    # -- for the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has other ancestors
        tune(self._transport, self._side.unconfirmed_ms)
        self._timer = self._loop.call_later(LOOK_EVERY_MS / 1000, self._look)
        try:
            self._user.connected(self)
        except Exception as error:  # noqa: BLE001 - `ended` tells what it was
            self._fail(error)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if not self._over:
            self._frames = self._splitter.feed(data)
            self._take_in_all()

    def eof_received(self) -> bool:
        """Have the transport closed, with what it still holds."""
        self._conclude_silently()
        self._hang_up()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if error is None:
            self._conclude_silently()
        else:
            self._conclude(self._side.error_from(broken(f"broken: {error}")))
        self._disarm()
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.wake()

    # -- reading

    @property
    def _listening(self) -> bool:
        return not self._held and not self._over

    def _take_in_all(self) -> None:
        try:
            for kind, body in self._frames:
                self._take_in(kind, body)
                if not self._listening:
                    return
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)

    def _read_on(self) -> None:
        """What was received before the pause comes first."""
        if self._listening:
            self._take_in_all()
        if self._listening:
            assert self._transport is not None
            self._deaf = False
            self._transport.resume_reading()

    def _take_in(self, kind: FrameKind, body: bytes) -> None:
        if kind is FrameKind.DATA:
            self._user.received(body)
        elif kind is FrameKind.PING:
            if not self._paused:  # whoever asks and does not listen gets no heap of answers
                self.say(FrameKind.PONG)
        elif kind is FrameKind.END:
            self._conclude(self._side.error_from(_detail(body)))
            self._hang_up()
        elif kind is not FrameKind.PONG:
            self._user.said(kind, body)

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
        heard = self._heard or self._held  # who is not listened to is not silent
        self._silent_ms = 0 if heard else self._silent_ms + LOOK_EVERY_MS
        if self._silent_ms >= PING_AFTER_MS + self._side.answer_ms:
            self._give_up(f"nothing was heard for {self._silent_ms} ms")
        elif self._silent_ms >= PING_AFTER_MS:
            self.say(FrameKind.PING)

    def _give_up(self, text: str) -> None:
        self._conclude(self._side.error_from(broken(text)))
        assert self._transport is not None
        self._transport.abort()

    # -- the end

    def _fail(self, error: Exception) -> None:
        """End the stream for a reason of this side."""
        if self._over:
            return
        if isinstance(error, WireError):
            error = self._side.error_from(error.detail)
        self.say(FrameKind.END, self._side.detail_of(error).SerializeToString())
        self._conclude(error)
        self._half_close()

    def _conclude_silently(self) -> None:
        self.ended_silently |= not self._over
        self._conclude(self._side.error_from(broken("the other side ended the stream")))

    def _conclude(self, error: Exception) -> None:
        if not self._over:
            self._over = True
            self._disarm()
            self._user.ended(error)

    def _half_close(self) -> None:
        """Say no more, and read on for a while."""
        assert self._transport is not None
        self._transport.write_eof()
        if self._deaf and not self._transport.is_closing():
            self._transport.resume_reading()
        self._arm_abort()

    def _hang_up(self) -> None:
        """Close the connection; what is still to be written has a moment to go out."""
        if self._transport is not None and not self.closed.done():
            self._transport.close()
            self._arm_abort()

    def _arm_abort(self) -> None:
        self._disarm()
        self._timer = self._loop.call_later(LINGER_MS / 1000, self._abort)

    def _abort(self) -> None:
        """Whoever waits for the end is released here at the latest.

        uvloop tells nobody of the end of a connection whose making was cancelled.
        """
        assert self._transport is not None
        self._transport.abort()
        if not self.closed.done():
            self.closed.set_result(None)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _detail(body: bytes) -> errors_pb2.ErrorDetail:
    try:
        return errors_pb2.ErrorDetail.FromString(body)
    except DecodeError as error:
        raise BadFrameError("an end whose reason cannot be read") from error
