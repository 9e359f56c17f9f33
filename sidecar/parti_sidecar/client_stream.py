"""`Router.SendStream`: one open stream of a client.

A frame that was read is fed and settled in the same turn, which wakes the writers that have
something to take. A client that half-closes still gets the answers to what it sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from parti_proto import app_pb2
from parti_shard.errors import Executed, Failure, Reason
from parti_shard.ids import StreamId
from parti_shard.router import Router
from parti_shard.streams import CLIENT, Destination
from parti_sidecar.app_streams import SEND_STREAM, Wire
from parti_sidecar.frames import result_frame, send_batch
from parti_sidecar.host import Host
from parti_sidecar.rpc_meter import RpcMeter

LEAVING = Failure(
    Reason.DRAINING, Executed.NO, "this sidecar ends; what it has not answered was not executed"
)
LEAVING_MS = 1_000  # a client that does not half-close in this time is not heard any more


class ClientStream:
    """An `AppStream`."""

    def __init__(
        self,
        host: Host,
        router: Router,
        meter: RpcMeter,
        wire: Wire,
        welcome: app_pb2.Welcome,
        *,
        closed: Callable[[ClientStream], None],
    ) -> None:
        self._host = host
        self._router = router
        self._meter = meter
        self._wire = wire
        self._closed = closed
        self._stream: StreamId = host.new_stream_id()
        self._welcome: app_pb2.Welcome | None = welcome
        self._unanswered = 0
        self._half_closed = False
        self._leaving = False
        self._told = False  # that it is leaving
        self._taking = True
        self._destination = Destination(CLIENT, self._stream)
        router.open_client(self._stream)
        host.add_writer(self._destination, wire.wake)

    def leave(self) -> None:
        """Ask the client to half-close; end with DRAINING as soon as everything is answered.

        The reason promises that what has no answer was not executed. A client that goes on
        writing to a gRPC call may miss it: the write fails, and gRPC forgets the status.
        """
        self._leaving = True
        self._wire.wake()
        asyncio.get_running_loop().call_later(LEAVING_MS / 1000, self._take_no_more)

    def received(self, frame: app_pb2.SendFrame) -> None:
        """Route the messages of a frame."""
        if not self._taking:
            return
        batch = send_batch(frame)
        self._unanswered += len(batch.ids)
        self._meter.frame_in(SEND_STREAM, len(batch.ids))
        self._router.client_frame(self._stream, batch, self._host.now_ms())
        self._host.settle()

    def half_closed(self) -> None:
        """Answer what was sent, then end."""
        self._half_closed = True
        self._end_when_answered()

    def take(self) -> app_pb2.ResultFrame | None:
        """Give the welcome, the notice of leaving, or results."""
        if self._welcome is not None:
            welcome, self._welcome = self._welcome, None
            return app_pb2.ResultFrame(welcome=welcome)
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

    def close(self) -> None:
        """The stream is over."""
        self._host.remove_writer(self._destination)
        self._router.close_client(self._stream, self._host.now_ms())
        self._host.settle()
        self._closed(self)

    def _take_no_more(self) -> None:
        self._taking = False
        self._end_when_answered()

    def _end_when_answered(self) -> None:
        if self._unanswered == 0:
            self._wire.finish(LEAVING if self._leaving else None)
