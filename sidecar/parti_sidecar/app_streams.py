"""The streams of applications, whatever carries them.

What a stream means is a machine (`AppStream`): frames in, frames out. It asks the carrier (`Wire`)
to take more, to end, or to read no further for a while. There are two carriers, a gRPC call and a
socket, and nothing of a machine knows which one it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import grpc.aio
from google.protobuf.message import Message

from parti_proto import app_pb2, kv_pb2, stream_pb2
from parti_shard.errors import Failure, MalformedFrameError, PartiError
from parti_sidecar.stream_sides import TO_APPLICATIONS
from parti_sidecar.streams import StreamWriter, decoded, read_frame, run_stream
from parti_wire.frame_stream import FrameStream

HALF_CLOSED_MS = 30_000  # how long answers still go to an application that sends no more
UNNAMED = "App.Stream"
SEND_STREAM = "Router.SendStream"
ATTACH = "Worker.Attach"
KV_STREAM = "KV.Stream"


class Wire(Protocol):
    """What carries a stream."""

    def wake(self) -> None:
        """There is something to take."""
        ...

    def finish(self, failure: Failure | None = None) -> None:
        """End the stream when nothing is left to take, for this reason or without one."""
        ...

    def hold(self) -> None:
        """Take no more frames in until `go_on`."""
        ...

    def go_on(self) -> None:
        """Take frames in again."""
        ...


class AppStream(Protocol):
    """What runs on a stream; the first frame it gives is there at once."""

    def received(self, frame: Any) -> None:
        """Take a frame. Raises PartiError: the stream must end."""
        ...

    def half_closed(self) -> None:
        """The application sends nothing more."""
        ...

    def take(self) -> Message | None:
        """Give the next frame; None for nothing now."""
        ...

    def close(self) -> None:
        """Put things in order: the stream is over."""
        ...


class GrpcWire:
    """A stream on a gRPC call."""

    def __init__(self, context: grpc.aio.ServicerContext) -> None:
        self._context = context
        self._stream: AppStream | None = None
        self._writer: StreamWriter[Message] = StreamWriter(context.write, self._take)
        self._failure: Failure | None = None
        self._listening = asyncio.Event()
        self._listening.set()

    def wake(self) -> None:
        self._writer.wake()

    def finish(self, failure: Failure | None = None) -> None:
        self._failure = failure
        self._writer.end()

    def hold(self) -> None:
        self._listening.clear()

    def go_on(self) -> None:
        self._listening.set()

    async def run(self, stream: AppStream) -> None:
        """Carry a stream to its end. Raises PartiError with its reason, if it has one."""
        self._stream = stream
        try:
            await run_stream(self._read(stream), self._writer, linger_ms=HALF_CLOSED_MS)
        finally:
            stream.close()
        if self._failure is not None:
            raise PartiError(self._failure)

    async def _read(self, stream: AppStream) -> None:
        while (frame := await read_frame(self._context)) is not None:
            stream.received(frame)
            await self._listening.wait()
        stream.half_closed()

    def _take(self) -> Message | None:
        assert self._stream is not None
        return self._stream.take()


class SocketWire:
    """A stream on a socket (an `InboundStream`)."""

    def __init__(self, stream: FrameStream, frames: type[Message]) -> None:
        self._frames = frames
        self._carrier = stream
        self._stream: AppStream | None = None
        self._finishing = False
        self._failure: Failure | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self.wake = stream.wake
        self.hold = stream.hold
        self.go_on = stream.go_on

    def carry(self, stream: AppStream) -> None:
        """Carry this stream from now on."""
        self._stream = stream

    def finish(self, failure: Failure | None = None) -> None:
        self._finishing = True
        self._failure = failure
        self._carrier.wake()

    # -- for the listener

    def greeting(self) -> bytes:
        assert self._stream is not None
        frame = self._stream.take()
        assert frame is not None, "the first frame is there at once"
        return frame.SerializeToString()

    def received(self, body: bytes) -> None:
        assert self._stream is not None
        if self._lingering is not None:
            raise MalformedFrameError("a frame after the last")
        self._stream.received(decoded(self._frames, body))

    def done(self) -> None:
        assert self._stream is not None
        if self._lingering is not None:
            raise MalformedFrameError("a frame DONE out of turn")
        loop = asyncio.get_running_loop()
        self._lingering = loop.call_later(HALF_CLOSED_MS / 1000, self._carrier.finish)
        self._stream.half_closed()

    def take(self) -> bytes | None:
        assert self._stream is not None
        frame = self._stream.take()
        if frame is not None:
            return frame.SerializeToString()
        if self._finishing:
            # Not from inside: whoever takes may be in the middle of settling other streams.
            asyncio.get_running_loop().call_soon(self._end)
        return None

    def close(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
        if self._stream is not None:
            self._stream.close()

    def _end(self) -> None:
        if self._failure is not None:
            self._carrier.end(PartiError(self._failure))
        else:
            self._carrier.finish()


class OpensStreams(Protocol):
    """A service with a stream that needs no first frame."""

    def open_stream(self, wire: Wire) -> AppStream:
        """Begin a stream. Raises PartiError when it is refused."""
        ...


class AttachesWorkers(Protocol):
    """The service for workers."""

    def open_stream(self, first: app_pb2.WorkerFrame, wire: Wire) -> AppStream:
        """Begin a stream with the worker's first frame. Raises PartiError when it is refused."""
        ...


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of stream."""

    rpc: str
    frames: type[Message]
    open_stream: Callable[[bytes, Wire], AppStream]


class Applications:
    """The reception for applications on this machine (see `stream_listener`)."""

    unnamed = UNNAMED
    side = TO_APPLICATIONS

    def __init__(self, router: OpensStreams, worker: AttachesWorkers, kv: OpensStreams) -> None:
        def attach(first: bytes, wire: Wire) -> AppStream:
            return worker.open_stream(decoded(app_pb2.WorkerFrame, first), wire)

        self._kinds: Mapping[int, _Kind] = {
            stream_pb2.APP_STREAM_KIND_SEND: _Kind(
                SEND_STREAM, app_pb2.SendFrame, lambda _, wire: router.open_stream(wire)
            ),
            stream_pb2.APP_STREAM_KIND_WORKER: _Kind(ATTACH, app_pb2.WorkerFrame, attach),
            stream_pb2.APP_STREAM_KIND_KV: _Kind(
                KV_STREAM, kv_pb2.KvFrame, lambda _, wire: kv.open_stream(wire)
            ),
        }

    def introduced(self, hello: bytes) -> AppIntroduction:
        """Read a hello."""
        said = decoded(stream_pb2.AppStreamHello, hello)
        kind = self._kinds.get(said.kind)
        if kind is None:
            raise MalformedFrameError(f"there is no kind {said.kind} of streams")
        return AppIntroduction(kind, said.first)


@dataclass(frozen=True, slots=True)
class AppIntroduction:
    """What a stream of an application said first."""

    kind: _Kind
    first: bytes

    @property
    def rpc(self) -> str:
        """What it counts as."""
        return self.kind.rpc

    def accept(self, stream: FrameStream) -> SocketWire:
        """Begin what was asked for."""
        wire = SocketWire(stream, self.kind.frames)
        wire.carry(self.kind.open_stream(self.first, wire))
        return wire
