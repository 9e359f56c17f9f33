"""Reads and writes the frames of a stream: one writer, one reader, one operation of each in flight.

The writer takes frames until none is left and then waits for a wake. What is queued when it takes
goes out as one frame, so batches form by themselves under load and nothing lingers without it.
Waking is a plain function call that costs nothing while the writer is busy.

A write is never cancelled by its own timer: gRPC would end the whole call. A stall is noticed from
outside instead, and then the stream is given up as a whole. The end of a stream says nothing about
why it ended: a frozen, killed and a satisfied peer look alike, so what has to be known is said
in frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from parti_shard.errors import Executed, Failure, MalformedFrameError, PartiError, Reason
from parti_wire.frame_stream import WRITE_STALL_MS

FIRST_FRAME_MS = 5_000  # a stream has to say who it is in this time

_UNDECODABLE = "these bytes are no message of this call"

Frame = TypeVar("Frame")
Decoded = TypeVar("Decoded", bound=Message)


class StreamBrokenError(PartiError):
    """The other side is gone, or takes nothing any more."""

    def __init__(self, message: str) -> None:
        super().__init__(Failure(Reason.CONNECTION_LOST, Executed.UNKNOWN, message))


class StreamWriter(Generic[Frame]):
    """The writer of one stream. `take` gives the next frame, or None for nothing now."""

    def __init__(
        self,
        write: Callable[[Frame], Awaitable[Any]],
        take: Callable[[], Frame | None],
        *,
        stall_ms: int = WRITE_STALL_MS,
    ) -> None:
        self._write = write
        self._take = take
        self._stall_s = stall_ms / 1000
        self._idle: asyncio.Future[None] | None = None
        self._ending = False
        self._writing = False
        self._stalled = False
        self._frames = 0

    def wake(self) -> None:
        """Say that there may be something to take."""
        idle = self._idle
        if idle is not None:
            self._idle = None
            if not idle.done():
                idle.set_result(None)

    def end(self) -> None:
        """Let `run` return as soon as nothing is left to take."""
        self._ending = True
        self.wake()

    async def run(self) -> None:
        """Write until `end`. Raises StreamBrokenError when a write fails or stalls."""
        task = asyncio.current_task()
        assert task is not None
        watch = asyncio.get_running_loop().create_task(self._watch(task))
        try:
            await self._pump()
        except asyncio.CancelledError:
            if not self._stalled:
                raise
            raise StreamBrokenError("the other side takes no frames") from None
        finally:
            watch.cancel()

    async def _pump(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            frame = self._take()
            if frame is not None:
                self._writing = True
                try:
                    await self._write(frame)
                except Exception as error:
                    # gRPC raises internal classes here, so that only the base can be named.
                    raise StreamBrokenError("the stream is closed") from error
                self._writing = False
                self._frames += 1
            elif self._ending:
                return
            else:
                self._idle = loop.create_future()
                await self._idle

    async def _watch(self, task: asyncio.Task[Any]) -> None:
        """Give the stream up when one write takes a whole period; costs nothing per frame."""
        while True:
            before = self._frames if self._writing else -1
            await asyncio.sleep(self._stall_s)
            if self._writing and self._frames == before:
                self._stalled = True
                task.cancel()
                return


async def run_stream(
    read: Coroutine[Any, Any, None], writer: StreamWriter[Frame], *, linger_ms: int = 0
) -> None:
    """Run both directions; when one ends the other is stopped.

    With `linger_ms` the writer may finish by itself after the reader, for so long. The first
    exception of the two is raised.
    """
    reading = asyncio.create_task(read)
    writing = asyncio.create_task(writer.run())
    tasks = (reading, writing)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if linger_ms and reading.done() and reading.exception() is None:
            await asyncio.wait({writing}, timeout=linger_ms / 1000)
    finally:
        await stop_tasks(tasks)
    for task in tasks:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            raise error


async def stop_tasks(tasks: tuple[asyncio.Task[Any], ...]) -> None:
    """Cancel tasks and wait until they have ended; their outcomes stay with them."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


class Undecodable:
    """Stands for bytes that are no message: gRPC takes what a deserializer raises for our bug."""


def decoded_or_stand_in(message: type[Message]) -> Callable[[bytes], Message | Undecodable]:
    """A deserializer of bytes that strangers sent."""

    def decode(data: bytes) -> Message | Undecodable:
        try:
            return message.FromString(data)
        except DecodeError:
            return Undecodable()

    return decode


def require_decoded(message: Any) -> Any:
    """The message. Raises MalformedFrameError for the stand-in."""
    if isinstance(message, Undecodable):
        raise MalformedFrameError(_UNDECODABLE)
    return message


def decoded(message: type[Decoded], data: bytes) -> Decoded:
    """Read a message that a stranger sent. Raises MalformedFrameError."""
    try:
        return message.FromString(data)
    except DecodeError as error:
        raise MalformedFrameError(_UNDECODABLE) from error


async def read_frame(source: Any) -> Any | None:
    """Read the next frame of a call or handler context; None when the stream is over."""
    frame = await source.read()
    return None if frame is grpc.aio.EOF else require_decoded(frame)


async def read_within(source: Any, limit_ms: int) -> Any | None:
    """Read the next frame. Raises StreamBrokenError when none comes in time."""
    reading = asyncio.ensure_future(read_frame(source))
    try:
        done, _ = await asyncio.wait({reading}, timeout=limit_ms / 1000)
    finally:
        reading.cancel()
    if not done:
        raise StreamBrokenError(f"no frame within {limit_ms} ms")
    return reading.result()


async def first_frame(context: grpc.aio.ServicerContext) -> Any:
    """Read the frame that says who speaks. Raises MalformedFrameError when none comes in time."""
    try:
        frame = await read_within(context, FIRST_FRAME_MS)
    except StreamBrokenError as error:
        raise MalformedFrameError(f"no first frame within {FIRST_FRAME_MS} ms") from error
    if frame is None:
        raise MalformedFrameError("the stream ended before its first frame")
    return frame
