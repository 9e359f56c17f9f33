"""gRPC calls over the simulated network, as far as the sidecar uses them.

A server runs the real services inside the real guard. `SimChannel` is what `open_channel` gives to
whatever dials in a task: it knows its program by the loop that runs. A call that breaks has no
status of the other side, and is then UNAVAILABLE, as gRPC has it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Self

import grpc
import grpc.aio

from tests.sim.loops import ActorLoop
from tests.sim.network import End

if TYPE_CHECKING:
    from tests.sim.actors import Actor
    from tests.sim.process import Process

Metadata = Sequence[tuple[str, Any]]
_HALF_CLOSED: Final = object()


class Call(NamedTuple):
    """What a client says first. It is also what gRPC calls the details of a call."""

    method: str
    invocation_metadata: Metadata
    timeout_s: float | None


class Status(NamedTuple):
    """What a server says last."""

    code: grpc.StatusCode
    text: str = ""
    trailing: Metadata = ()


_BROKEN: Final = Status(grpc.StatusCode.UNAVAILABLE, "the connection is lost")
_LATE: Final = Status(grpc.StatusCode.DEADLINE_EXCEEDED, "too late")


class _Side:
    """One end of a call: frames are awaited, writes wait for room."""

    def __init__(self, loop: ActorLoop, end: End) -> None:
        self._loop = loop
        self.end = end
        self._came: deque[Any] = deque()
        self._wakers: list[asyncio.Future[None]] = []
        self.on_closed: Callable[[], object] | None = None
        end.on_frame, end.on_closed = self._take, self._closed

    async def next(self) -> Any:
        """What came next; None behind the end."""
        while not self._came and self.end.open:
            await self._woken()
        return self._came.popleft() if self._came else None

    async def send(self, frame: Any) -> None:
        while self.end.open and self.end.full:
            self.end.on_room = self._wake
            await self._woken()
        if not self.end.open:
            raise ConnectionError("the call is over")
        self.end.send(frame)

    async def _woken(self) -> None:
        waker = self._loop.create_future()
        self._wakers.append(waker)
        await waker

    def _wake(self) -> None:
        wakers, self._wakers = self._wakers, []
        for waker in wakers:
            if not waker.done():
                waker.set_result(None)

    def _take(self, frame: Any) -> None:
        self._came.append(frame)
        self._wake()

    def _closed(self) -> None:
        self._wake()
        if self.on_closed is not None:
            self.on_closed()


# -- serving


class _AbortedError(Exception):
    """A handler has ended its call with a status."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.text)
        self.status = status


class _Context:
    """What a handler sees of its call."""

    def __init__(self, loop: ActorLoop, side: _Side, call: Call, handler: Any) -> None:
        self._loop = loop
        self._side = side
        self._call = call
        self._handler = handler
        self._until = None if call.timeout_s is None else loop.time() + call.timeout_s

    async def read(self) -> object:
        data = await self._side.next()
        if data is None or data is _HALF_CLOSED:
            return grpc.aio.EOF
        return self._handler.request_deserializer(data)

    async def write(self, message: Any) -> None:
        await self._side.send(self._handler.response_serializer(message))

    async def abort(self, code: grpc.StatusCode, text: str, trailing: Metadata) -> NoReturn:
        raise _AbortedError(Status(code, text, trailing))

    def invocation_metadata(self) -> Metadata:
        return self._call.invocation_metadata

    def time_remaining(self) -> float | None:
        return None if self._until is None else max(0.0, self._until - self._loop.time())

    async def handle(self) -> Status:
        handler = self._handler
        try:
            if handler.request_streaming:
                run = handler.stream_stream if handler.response_streaming else handler.stream_unary
                reply = await run(None, self)
            else:
                run = handler.unary_stream if handler.response_streaming else handler.unary_unary
                reply = await run(await self.read(), self)
        except _AbortedError as error:
            return error.status
        if not handler.response_streaming:
            await self.write(reply)
        return Status(grpc.StatusCode.OK)


def serve_call(
    process: Process, services: Sequence[grpc.GenericRpcHandler], call: Call, end: End
) -> None:
    """Run the handler of a call in a task; the end of the stream cancels it."""
    handlers = (service.service(call) for service in services)
    handler = next(handler for handler in handlers if handler is not None)
    side = _Side(process.loop, end)
    task = process.loop.create_task(_Context(process.loop, side, call, handler).handle())
    side.on_closed = task.cancel

    def done(ended: asyncio.Task[Status]) -> None:
        assert not process.meter.bugs, f"a handler of {call.method} failed"
        if end.open:
            if not ended.cancelled() and ended.exception() is None:
                end.send(ended.result())
            end.close_behind()

    task.add_done_callback(done)


# -- calling


class SimChannel:
    """What dials from a task of a simulated program."""

    def __init__(self, actor: Actor, loop: ActorLoop, address: str) -> None:
        self._actor = actor
        self._loop = loop
        self._address = address
        self._ends: list[End] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        for end in self._ends:
            end.close()

    def get_state(self, *, try_to_connect: bool) -> grpc.ChannelConnectivity:
        """Whether somebody answers is found out by the call itself."""
        assert try_to_connect
        return grpc.ChannelConnectivity.READY

    def unary_unary(
        self,
        method: str,
        *,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
    ) -> Callable[..., Awaitable[Any]]:
        async def ask(request: Any, *, timeout: float, metadata: Metadata = ()) -> Any:  # noqa: ASYNC109
            running = self._begin(Call(method, metadata, timeout), response_deserializer)
            return await running.reply_to(request_serializer(request))

        return ask

    def stream_unary(
        self,
        method: str,
        *,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
    ) -> Callable[[], SimCall]:
        def begin() -> SimCall:
            call = self._begin(Call(method, (), None), response_deserializer)
            call.serialize = request_serializer
            return call

        return begin

    def _begin(self, call: Call, deserialize: Callable[[bytes], Any]) -> SimCall:
        return SimCall(self._actor, self._loop, self._address, call, deserialize, self._ends)


class SimCall:
    """One call of a client."""

    serialize: Callable[[Any], bytes]

    def __init__(
        self,
        actor: Actor,
        loop: ActorLoop,
        address: str,
        call: Call,
        deserialize: Callable[[bytes], Any],
        ends: list[End],
    ) -> None:
        self._loop = loop
        self._call = call
        self._deserialize = deserialize
        self._ends = ends
        self._opened: asyncio.Future[_Side | None] = loop.create_future()
        self._status: Status | None = None
        world = actor.world
        world.network.connect(
            actor,
            world.listening(address),
            lambda server, end: server.accept_call(call, end),
            self._open,
            self._failed,
        )

    def _failed(self, _refused: bool) -> None:  # noqa: FBT001 - a callback
        if not self._opened.done():
            self._opened.set_result(None)

    def _open(self, end: End) -> None:
        if self._opened.done():
            end.close()
        else:
            self._ends.append(end)
            self._opened.set_result(_Side(self._loop, end))

    async def reply_to(self, request: bytes) -> Any:
        """Ask and wait for the one answer. Raises AioRpcError."""
        reply: Any = None
        try:
            async with asyncio.timeout(self._call.timeout_s):
                side = await self._side()
                await side.send(request)
                reply = await side.next()
                status = reply if isinstance(reply, Status) else await self.status()
        except TimeoutError:
            status = _LATE
        except ConnectionError:
            status = _BROKEN
        if status.code is not grpc.StatusCode.OK:
            empty = grpc.aio.Metadata()
            trailing = grpc.aio.Metadata(*status.trailing)
            raise grpc.aio.AioRpcError(status.code, empty, trailing, status.text)
        return self._deserialize(reply)

    async def write(self, message: Any) -> None:
        side = await self._side()
        await side.send(self.serialize(message))

    async def done_writing(self) -> None:
        side = await self._side()
        await side.send(_HALF_CLOSED)

    async def status(self) -> Status:
        """The last word of the server."""
        while self._status is None:
            try:
                came = await (await self._side()).next()
            except ConnectionError:
                came = _BROKEN
            if came is None or isinstance(came, Status):
                self._status = came or _BROKEN
        return self._status

    async def code(self) -> grpc.StatusCode:
        return (await self.status()).code

    async def details(self) -> str:
        return (await self.status()).text

    async def trailing_metadata(self) -> Metadata:
        return (await self.status()).trailing

    def done(self) -> bool:
        return self._status is not None

    def cancel(self) -> None:
        if self._opened.done():
            side = self._opened.result()
            if side is not None:
                side.end.close()

    async def _side(self) -> _Side:
        side = await asyncio.shield(self._opened)
        if side is None:
            raise ConnectionError("nobody answers")
        return side


def open_sim_channel(address: str, _purpose: object) -> SimChannel:
    """Stand in for `open_channel` in a task of a simulated program."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ActorLoop)
    return SimChannel(loop.actor, loop, address)
