"""`parti.v1.Router`: how messages of applications enter, and where partitions live.

A client stream is a pair of one reader and one writer around the router: a frame that was read is
fed and settled in the same turn, which wakes the writers that have something to take. A client that
half-closes still gets the answers to what it sent; one that is gone is found out by the first
write, or by keepalive.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio

from parti_proto import app_pb2
from parti_shard.errors import Executed, Failure, PartiError, Reason
from parti_shard.ids import BY_KEY, StreamId
from parti_shard.limits import PROTOCOL_VERSION, RouterLimits
from parti_shard.router import Router
from parti_shard.streams import CLIENT, Destination
from parti_sidecar.call_deadlines import timeout_ms_of
from parti_sidecar.frames import result_frame, send_batch
from parti_sidecar.host import Host
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.streams import StreamWriter, read_frame, run_stream
from parti_sidecar.table_views import member_name, partition_state, table_of, target_partition
from parti_sidecar.table_watch import TableWatch
from parti_sidecar.unary_sends import NOT_READY, Message, UnarySends

WATCHERS_MAX = 64
_LEAVING = Failure(
    Reason.DRAINING, Executed.NO, "this sidecar ends; what it has not answered was not executed"
)
LEAVING_MS = 1_000  # a client that does not half-close in this time is not heard any more
HALF_CLOSED_MS = 30_000  # how long answers still go to a client that sends no more

SEND_STREAM = "Router.SendStream"


class RouterService:
    """Serves the applications of this pod."""

    def __init__(
        self, host: Host, meter: RpcMeter, sends: UnarySends, limits: RouterLimits
    ) -> None:
        self._host = host
        self._meter = meter
        self._sends = sends
        self._limits = limits
        self._watchers = 0
        self._streams: set[_ClientStream] = set()
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
        router = self._host.router
        if router is None:
            raise PartiError(NOT_READY)
        welcome = make_welcome(self._host, self._limits)
        await context.write(app_pb2.ResultFrame(welcome=welcome))
        self._require_staying()
        stream = _ClientStream(self._host, router, self._meter, context)
        self._streams.add(stream)
        try:
            await stream.run()
        finally:
            self._streams.remove(stream)
            self._check_left()

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
            raise PartiError(Failure(Reason.OVERLOADED, Executed.NO, text))
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
            raise PartiError(_LEAVING)

    def _check_left(self) -> None:
        if self._leaving and not self._streams and not self._sending:
            self._left.set()


class _ClientStream:
    """One open client stream."""

    def __init__(
        self, host: Host, router: Router, meter: RpcMeter, context: grpc.aio.ServicerContext
    ) -> None:
        self._host = host
        self._router = router
        self._meter = meter
        self._context = context
        self._stream: StreamId = host.new_stream_id()
        self._unanswered = 0
        self._writer: StreamWriter[Any] = StreamWriter(context.write, self._take)
        self._half_closed = False
        self._leaving = False
        self._told = False  # that it is leaving
        self._taking = True

    async def run(self) -> None:
        destination = Destination(CLIENT, self._stream)
        self._router.open_client(self._stream)
        self._host.add_writer(destination, self._writer.wake)
        try:
            await run_stream(self._read(), self._writer, linger_ms=HALF_CLOSED_MS)
        finally:
            self._host.remove_writer(destination)
            self._router.close_client(self._stream, self._host.now_ms())
            self._host.settle()
        if self._leaving and self._unanswered == 0:
            raise PartiError(_LEAVING)

    def leave(self) -> None:
        """Ask the client to half-close; end with DRAINING as soon as everything is answered.

        The status promises that what has no answer was not executed. A client that goes on
        writing may miss it, for gRPC then fails the write and forgets the status.
        """
        self._leaving = True
        self._writer.wake()
        asyncio.get_running_loop().call_later(LEAVING_MS / 1000, self._take_no_more)

    def _take_no_more(self) -> None:
        self._taking = False
        self._end_when_answered()

    async def _read(self) -> None:
        while (frame := await read_frame(self._context)) is not None:
            if not self._taking:
                continue
            batch = send_batch(frame)
            self._unanswered += len(batch.ids)
            self._meter.frame_in(SEND_STREAM, len(batch.ids))
            self._router.client_frame(self._stream, batch, self._host.now_ms())
            self._host.settle()
        self._half_closed = True
        self._end_when_answered()

    def _take(self) -> app_pb2.ResultFrame | None:
        if self._leaving and not self._told:
            self._told = True
            return app_pb2.ResultFrame(draining=True)
        batch = self._router.take_client(self._stream)
        if batch is None:
            return None
        self._unanswered -= len(batch.ids)
        self._meter.frame_out(SEND_STREAM, len(batch.ids))
        if self._half_closed or not self._taking:
            self._end_when_answered()
        return result_frame(batch)

    def _end_when_answered(self) -> None:
        if self._unanswered == 0:
            self._writer.end()


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
