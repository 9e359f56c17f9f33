"""The API of the fake sidecar: the sidecar's own sockets of streams, and calls by gRPC."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.rpc import status_pb2

from parti._transport import STATUS_DETAILS_KEY
from parti.testing._streams import ClientStream, Routed, UnaryReply, WorkerStream
from parti_proto import app_pb2, errors_pb2
from parti_sidecar.app_streams import Applications, Wire
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.stream_listener import StreamListener
from parti_sidecar.transport import split_address
from parti_sidecar.worker_service import checked_hello

if TYPE_CHECKING:
    from parti.testing._fake import FakeSidecar

SERVER_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class Clients:
    """Begins the streams of clients."""

    def __init__(self, fake: FakeSidecar) -> None:
        self._fake = fake

    def open_stream(self, wire: Wire) -> ClientStream:
        """Begin one."""
        return self._fake.client_joined(wire)


class Workers:
    """Begins the streams of workers."""

    def __init__(self, fake: FakeSidecar) -> None:
        self._fake = fake

    def open_stream(self, first: app_pb2.WorkerFrame, wire: Wire) -> WorkerStream:
        """Begin one."""
        return self._fake.worker_joined(checked_hello(first), wire)


class Server:
    """Serves `Router`, `KV` and all streams on loopback ports, also again after `stop`."""

    def __init__(self, fake: FakeSidecar) -> None:
        self.port = 0
        self._fake = fake
        self._server: Any = None
        self._streams: StreamListener | None = None
        self._streams_port = 0

    async def start(self) -> None:
        """Listen, at the former port if there was one."""
        assert self._server is None
        fake = self._fake
        reception = Applications(Clients(fake), Workers(fake), fake.store.kv_service)
        self._streams = StreamListener(reception, RpcMeter())
        _, self._streams_port = split_address(await self._streams.start("127.0.0.1:0"))
        server = grpc.aio.server(options=SERVER_OPTIONS)
        server.add_generic_rpc_handlers((self._router(), fake.store.handlers()))
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """End all calls and stop listening."""
        server, self._server = self._server, None
        if server is not None:
            assert self._streams is not None
            await server.stop(0)
            await self._fake.store.end_calls()
            await self._streams.stop()

    def _router(self) -> Any:
        return grpc.method_handlers_generic_handler(
            "parti.v1.Router",
            {
                "Send": grpc.unary_unary_rpc_method_handler(
                    self._send,
                    app_pb2.SendRequest.FromString,
                    app_pb2.SendReply.SerializeToString,
                ),
                "StreamAddress": grpc.unary_unary_rpc_method_handler(
                    self._stream_address,
                    app_pb2.StreamAddressRequest.FromString,
                    app_pb2.StreamAddressReply.SerializeToString,
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

    async def _stream_address(
        self, _: app_pb2.StreamAddressRequest, _context: Any
    ) -> app_pb2.StreamAddressReply:
        return app_pb2.StreamAddressReply(port=self._streams_port)

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
