"""The gRPC side of the fake sidecar: streams in, calls of the fake."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.rpc import status_pb2

from parti._transport import STATUS_DETAILS_KEY
from parti.testing._streams import Routed, Stream, UnaryReply
from parti_proto import app_pb2, errors_pb2

if TYPE_CHECKING:
    from parti.testing._fake import FakeSidecar

SERVER_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class Server:
    """Serves `Router`, `Worker` and `KV` on one loopback port, also again after `stop`."""

    def __init__(self, fake: FakeSidecar) -> None:
        self.port = 0
        self._fake = fake
        self._server: Any = None
        self._calls: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Listen, at the former port if there was one."""
        assert self._server is None
        server = grpc.aio.server(options=SERVER_OPTIONS)
        server.add_generic_rpc_handlers(
            (self._router(), self._worker(), self._fake.store.service())
        )
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """End all calls and stop listening."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(0)
            await self._fake.store.end_calls()
            for call in self._calls:
                call.cancel()
            if self._calls:
                await asyncio.wait(self._calls)

    def _router(self) -> Any:
        return grpc.method_handlers_generic_handler(
            "parti.v1.Router",
            {
                "Send": grpc.unary_unary_rpc_method_handler(
                    self._send,
                    app_pb2.SendRequest.FromString,
                    app_pb2.SendReply.SerializeToString,
                ),
                "SendStream": grpc.stream_stream_rpc_method_handler(
                    self._send_stream,
                    app_pb2.SendFrame.FromString,
                    app_pb2.ResultFrame.SerializeToString,
                ),
                "Locate": grpc.unary_unary_rpc_method_handler(
                    self._locate,
                    app_pb2.LocateRequest.FromString,
                    app_pb2.LocateReply.SerializeToString,
                ),
                "WatchTable": grpc.unary_stream_rpc_method_handler(
                    self._watch_table,
                    app_pb2.WatchTableRequest.FromString,
                    app_pb2.TableEvent.SerializeToString,
                ),
            },
        )

    def _worker(self) -> Any:
        handler = grpc.stream_stream_rpc_method_handler(
            self._attach,
            app_pb2.WorkerFrame.FromString,
            app_pb2.SidecarFrame.SerializeToString,
        )
        return grpc.method_handlers_generic_handler("parti.v1.Worker", {"Attach": handler})

    async def _send_stream(self, _: Any, context: Any) -> None:
        client = self._fake.client_joined()

        async def read() -> None:
            while (frame := await context.read()) is not grpc.aio.EOF:
                self._fake.take(client, frame)

        try:
            await self._serve(context, client, read())
        finally:
            self._fake.client_left(client)

    async def _attach(self, _: Any, context: Any) -> None:
        first = await context.read()
        if first is grpc.aio.EOF or not first.HasField("hello"):
            await abort(context, errors_pb2.REASON_MALFORMED_FRAME)
        worker = self._fake.worker_joined(first.hello)

        async def read() -> None:
            while (frame := await context.read()) is not grpc.aio.EOF:
                self._fake.worker_said(worker, frame)

        try:
            await self._serve(context, worker, read())
        finally:
            self._fake.worker_left(worker)

    async def _serve(self, context: Any, stream: Stream[Any], read: Any) -> None:
        """Read and write until either side ends."""
        reading = asyncio.ensure_future(read)
        writing = asyncio.ensure_future(stream.write_all(context))
        self._calls |= {reading, writing}
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stream.end()
            for task in (reading, writing):
                task.cancel()
            await asyncio.wait({reading, writing})
            self._calls -= {reading, writing}

    async def _send(self, request: app_pb2.SendRequest, context: Any) -> app_pb2.SendReply:
        reply = UnaryReply()
        remaining = context.time_remaining()
        deadline = asyncio.get_running_loop().time() + (30.0 if remaining is None else remaining)
        headers = request.headers.SerializeToString()
        partition, key = request.partition, request.key
        self._fake.route(Routed(reply, 0, partition, key, request.payload, headers, deadline))
        epoch, payload, detail = await reply.outcome
        if detail is not None:
            await abort_with(context, detail)
        if key:
            partition = self._fake.partition_of(key)
        return app_pb2.SendReply(payload=payload, partition=partition, epoch=epoch)

    async def _locate(self, request: app_pb2.LocateRequest, context: Any) -> app_pb2.LocateReply:
        partition = request.partition
        if request.key:
            partition = self._fake.partition_of(request.key)
        if partition >= self._fake.partitions:
            await abort(context, errors_pb2.REASON_BAD_PARTITION)
        state = self._fake.locate(partition)
        return app_pb2.LocateReply(
            partition=state,
            owner_name="fake-0" if state.owner else "",
            table_index=self._fake.table_index,
        )

    async def _watch_table(self, _: app_pb2.WatchTableRequest, context: Any) -> None:
        seen_index, known = 0, list[app_pb2.PartitionState]()
        while True:
            seen_index = await self._fake.wait_table(seen_index)
            states = [self._fake.locate(one) for one in range(self._fake.partitions)]
            changed = [one for one in states if one not in known]
            event = app_pb2.TableEvent(
                table_index=seen_index,
                partitions=self._fake.partitions,
                whole=not known,
                changed=changed,
                member_names={1: "fake-0"},
            )
            await context.write(event)
            known = states


async def abort(context: Any, reason: errors_pb2.Reason) -> None:
    """End a call with a reason; it was not executed."""
    await abort_with(context, errors_pb2.ErrorDetail(reason=reason))


async def abort_with(context: Any, detail: errors_pb2.ErrorDetail) -> None:
    """End a call with an error detail, as the real sidecar does."""
    packed = any_pb2.Any()
    packed.Pack(detail)
    code = grpc.StatusCode.FAILED_PRECONDITION
    status = status_pb2.Status(code=code.value[0], message=detail.message, details=[packed])
    metadata = ((STATUS_DETAILS_KEY, status.SerializeToString()),)
    await context.abort(code, detail.message, trailing_metadata=metadata)
