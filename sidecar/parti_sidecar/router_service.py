"""`parti.v1.Router`: how messages of applications enter, and where partitions live."""

from __future__ import annotations

import asyncio

import grpc.aio

from parti_proto import app_pb2
from parti_shard.errors import PartiError, Reason, refuse
from parti_shard.ids import BY_KEY
from parti_shard.limits import PROTOCOL_VERSION, RouterLimits
from parti_sidecar.app_streams import GrpcWire, Wire
from parti_sidecar.call_deadlines import timeout_ms_of
from parti_sidecar.client_stream import LEAVING, ClientStream
from parti_sidecar.host import Host
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.table_views import member_name, partition_state, table_of, target_partition
from parti_sidecar.table_watch import TableWatch
from parti_sidecar.unary_sends import NOT_READY, Message, UnarySends

WATCHERS_MAX = 64


class RouterService:
    """Serves the applications of this pod; `address` is where their streams are dialled."""

    def __init__(
        self,
        host: Host,
        meter: RpcMeter,
        sends: UnarySends,
        limits: RouterLimits,
        address: app_pb2.StreamAddressReply,
    ) -> None:
        self._host = host
        self._meter = meter
        self._sends = sends
        self._limits = limits
        self._address = address
        self._watchers = 0
        self._streams: set[ClientStream] = set()
        self._sending = 0  # unary calls
        self._leaving = False
        self._left = asyncio.Event()

    async def leave(self) -> None:
        """Take no more messages and wait until all that were taken are answered."""
        self._leaving = True
        for stream in self._streams:
            stream.leave()
        self._check_left()
        await self._left.wait()

    async def send(
        self, request: app_pb2.SendRequest, context: grpc.aio.ServicerContext
    ) -> app_pb2.SendReply:
        """Route one message and wait for its answer."""
        partition = target_partition(request, table_of(self._host))
        message = Message(
            partition=BY_KEY if request.key else partition,
            key=request.key,
            payload=request.payload,
            timeout_ms=timeout_ms_of(context.time_remaining()),
            headers=request.headers.SerializeToString(),
            idempotent=request.idempotent,
        )
        self._require_staying()
        self._sending += 1
        try:
            outcome = await self._sends.send(message)
        finally:
            self._sending -= 1
            self._check_left()
        return app_pb2.SendReply(payload=outcome.payload, partition=partition, epoch=outcome.epoch)

    async def send_stream(self, context: grpc.aio.ServicerContext) -> None:
        """Route the messages of one client stream."""
        wire = GrpcWire(context)
        await wire.run(self.open_stream(wire))

    def open_stream(self, wire: Wire) -> ClientStream:
        """Begin a client stream, whatever carries it."""
        router = self._host.router
        if router is None:
            raise PartiError(NOT_READY)
        welcome = make_welcome(self._host, self._limits)
        self._require_staying()
        stream = ClientStream(
            self._host, router, self._meter, wire, welcome, closed=self._stream_closed
        )
        self._streams.add(stream)
        return stream

    async def stream_address(
        self, _request: app_pb2.StreamAddressRequest, _context: grpc.aio.ServicerContext
    ) -> app_pb2.StreamAddressReply:
        """Tell where streams are dialled without gRPC."""
        return self._address

    async def locate(
        self, request: app_pb2.LocateRequest, _context: grpc.aio.ServicerContext
    ) -> app_pb2.LocateReply:
        """Tell where a partition or key lives now."""
        table = table_of(self._host)
        state = partition_state(table, target_partition(request, table))
        return app_pb2.LocateReply(
            partition=state,
            owner_name=member_name(table, table.owner[state.partition]),
            table_index=table.applied_index,
        )

    async def watch_table(
        self, _request: app_pb2.WatchTableRequest, context: grpc.aio.ServicerContext
    ) -> None:
        """Send the whole table, then its changes for as long as the watcher stays."""
        table = table_of(self._host)
        if self._watchers >= WATCHERS_MAX:
            text = f"{WATCHERS_MAX} watchers of the table, no more are taken"
            refuse(Reason.OVERLOADED, text)
        watch = TableWatch(self._host, table)
        self._watchers += 1
        try:
            while True:
                await context.write(await watch.next_event())
        finally:
            self._watchers -= 1
            watch.close()

    def _require_staying(self) -> None:
        if self._leaving:
            raise PartiError(LEAVING)

    def _stream_closed(self, stream: ClientStream) -> None:
        self._streams.remove(stream)
        self._check_left()

    def _check_left(self) -> None:
        if self._leaving and not self._streams and not self._sending:
            self._left.set()


def make_welcome(host: Host, limits: RouterLimits) -> app_pb2.Welcome:
    """The first words of the sidecar on a stream. Raises PartiError before there is a member."""
    table = table_of(host)
    member = host.member
    assert member is not None, "there is a table"
    return app_pb2.Welcome(
        protocol_version=PROTOCOL_VERSION,
        cluster_id=table.cluster_id,
        member_id=member.me,
        member_name=member_name(table, member.me),
        partitions=table.partitions,
        payload_bytes_max=limits.payload_bytes_max,
        in_flight_max=limits.client_in_flight_max,
    )
