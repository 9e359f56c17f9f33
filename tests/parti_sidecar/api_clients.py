"""Plain gRPC clients for the tests of the adapters."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Self

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from parti_proto import admin_pb2, app_pb2, kv_pb2, peer_pb2
from parti_shard.errors import Failure
from parti_sidecar.status import failure_of, failure_of_call

LIMIT_S = 5.0  # nothing in these tests may take longer

_METHODS: dict[str, MethodDescriptor] = {
    f"{service.name}.{method.name}": method
    for module in (app_pb2, kv_pb2, peer_pb2, admin_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


class Client:
    """A channel whose calls are named like `Router.Send`."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.channel.close()

    def open(self, name: str, *arguments: object, **options: Any) -> Any:
        """Begin a call."""
        method = _METHODS[name]
        kind = "_".join(
            "stream" if streams else "unary"
            for streams in (method.client_streaming, method.server_streaming)
        )
        make = getattr(self.channel, kind)(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=GetMessageClass(method.input_type).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        return make(*arguments, **{"timeout": LIMIT_S, **options})

    async def fails(self, name: str, request: object, **options: Any) -> Failure:
        """Make a unary call that must fail."""
        try:
            reply = await self.open(name, request, **options)
        except grpc.aio.AioRpcError as error:
            return failure_of(error)
        raise AssertionError(f"{name} gave {reply}")


async def ends_with(call: Any) -> Failure:
    """Read a stream to its end, which hides behind unread frames; gives its failure."""

    async def drained() -> Failure:
        with contextlib.suppress(grpc.aio.AioRpcError):
            while hasattr(call, "read") and await call.read() is not grpc.aio.EOF:
                pass
        return await failure_of_call(call)

    return await asyncio.wait_for(drained(), LIMIT_S)


async def until(condition: Callable[[], object], what: str = "condition") -> None:
    """Let the loop run until the condition holds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LIMIT_S
    while not condition():
        assert loop.time() < deadline, f"{what} did not come about in {LIMIT_S} s"
        await asyncio.sleep(0.005)


class EchoWorker:
    """A worker that answers each message with its payload, until it is told otherwise."""

    def __init__(self, client: Client, *, name: str = "echo", answers: bool = True) -> None:
        self.call = client.open("Worker.Attach", timeout=None)
        self.name = name
        self.answers = answers
        self.started: set[int] = set()
        self.delivered: list[bytes] = []
        self.headers: list[bytes] = []
        self.closed = ""
        self.welcome: app_pb2.Welcome | None = None
        self._unanswered = app_pb2.Results()
        self._task = asyncio.create_task(self._run())

    async def answer_all(self) -> None:
        """Answer what was delivered meanwhile, and from now on at once."""
        self.answers = True
        await self.call.write(app_pb2.WorkerFrame(results=self._unanswered))

    async def stop(self) -> None:
        self.call.cancel()
        self._task.cancel()
        await asyncio.wait({self._task})

    async def ended(self) -> None:
        await asyncio.wait_for(self._task, LIMIT_S)

    async def _run(self) -> None:
        hello = app_pb2.Hello(protocol_version=1, name=self.name, credits=64, partition_credits=64)
        await self.call.write(app_pb2.WorkerFrame(hello=hello))
        self.welcome = (await self.call.read()).welcome
        while (frame := await self.call.read()) is not grpc.aio.EOF:
            answer = self._answer(frame)
            if answer.ByteSize():
                await self.call.write(answer)

    def _answer(self, frame: app_pb2.SidecarFrame) -> app_pb2.WorkerFrame:
        answer = app_pb2.WorkerFrame()
        for assign in frame.assign:
            self.started.add(assign.partition)
            answer.started.add(partition=assign.partition, epoch=assign.epoch)
        self.delivered.extend(frame.deliver.payload)
        self.headers.extend(frame.deliver.headers)
        if self.answers and frame.deliver.id:
            answer.results.id.extend(frame.deliver.id)
            answer.results.payload.extend(frame.deliver.payload)
        else:
            self._unanswered.id.extend(frame.deliver.id)
            self._unanswered.payload.extend(frame.deliver.payload)
        for revoke in frame.revoke:
            answer.released.add(partition=revoke.partition, epoch=revoke.epoch)
        self.closed = frame.closed or self.closed
        return answer
